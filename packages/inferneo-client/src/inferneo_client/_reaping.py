"""Receives streams that were left in the middle; hands each to a task that closes it.

An iterator that is dropped after a `break` cannot wait for anything. It asks here, and the event
loop that it belongs to closes its stream as soon as it gets to it.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

Work = Callable[[], Awaitable[None]]
Spawn = Callable[[Work], None]


def running_loop() -> Any:
    """What the connections of a moment belong to: asyncio's event loop, or a run of trio."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        import trio

        return trio.lowlevel.current_root_task()


class Reapers:
    """The tasks of a client that close what was left."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def spawner(self) -> Spawn:
        """What starts work on the loop that runs now, from wherever it is called."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return _trio_spawner()

        def start(work: Work) -> None:
            task = loop.create_task(_done(work))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

        def spawn(work: Work) -> None:
            # A loop that has ended has taken its sockets with it.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(start, work)

        return spawn

    async def wait(self) -> None:
        """Wait for all of them."""
        if tasks := tuple(self._tasks):
            await asyncio.wait(tasks)


async def _done(work: Work) -> None:
    await work()


def _trio_spawner() -> Spawn:
    import trio

    token = trio.lowlevel.current_trio_token()

    def spawn(work: Work) -> None:
        with contextlib.suppress(trio.RunFinishedError):
            token.run_sync_soon(trio.lowlevel.spawn_system_task, work)

    return spawn
