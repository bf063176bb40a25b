"""Receives a wait for Redis; hands on what came of it, or that who waits was cancelled."""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

T = TypeVar("T")


async def cancellable(work: Awaitable[T]) -> T:
    """What a call of Redis' client gives.

    Python 3.11's `asyncio.wait_for`, by which the client sends, drops a cancellation that comes
    while a command is sent: who waits would go on, and a task that runs for ever never end.

    Raises:
        CancelledError: who waits was cancelled, even if the client has answered. Redis may have
            done what it was told.
    """
    task = asyncio.current_task()
    cancelled = task.cancelling() if task else 0
    try:
        return await work
    finally:
        if task and task.cancelling() > cancelled:
            raise asyncio.CancelledError
