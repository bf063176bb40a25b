"""Receives what other replicas ask of a generation here; hands on readers that stand for theirs."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from inferneo_core.errors import Cancelled
from inferneo_server.generation import Generation
from inferneo_server.sharing.records import LEASE_SECONDS, Ask
from inferneo_server.streams import Reader


class Attendance:
    """The readers of other replicas, each of which counts as one here.

    Args:
        enter: gives a reader of the generation of an id; None where that is kept no longer.
    """

    def __init__(self, enter: Callable[[str], Reader | None]) -> None:
        self._enter = enter
        self._heard: dict[tuple[str, str], float] = {}
        self._tasks: dict[tuple[str, str], asyncio.Task[None]] = {}
        self._works: set[asyncio.Task[None]] = set()

    def take(self, ask: Ask, generation: Generation) -> None:
        """Do what a replica asks of a generation."""
        name = (ask.stream_id, ask.replica)
        match ask.what:
            case "read":
                if name not in self._heard:
                    self._tasks[name] = self._spawn(self._read(ask.stream_id))
                self._heard[name] = asyncio.get_running_loop().time()
            case "left":
                self._leave(name)
            case "cancel":
                self._spawn(_stop(generation, ask.reason))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        self._works.add(task := asyncio.create_task(work))
        task.add_done_callback(self._works.discard)
        return task

    async def _read(self, stream_id: str) -> None:
        """Have the work go on, until cancelled."""
        if (reader := self._enter(stream_id)) is None:
            return
        try:
            while not reader.generation.ended:
                await reader.generation.advance()
            await asyncio.Event().wait()
        finally:
            await reader.aclose()

    def _leave(self, name: tuple[str, str]) -> None:
        if self._heard.pop(name, None) is not None:
            self._tasks.pop(name).cancel()

    def leave_silent(self) -> None:
        """Count no more on replicas that have not been heard of for long."""
        since = asyncio.get_running_loop().time() - LEASE_SECONDS
        for name in [name for name, heard in self._heard.items() if heard < since]:
            self._leave(name)

    async def aclose(self) -> None:
        """End them all."""
        for name in list(self._heard):
            self._leave(name)
        await asyncio.gather(*self._works, return_exceptions=True)


async def _stop(generation: Generation, reason: str) -> None:
    await generation.stop(Cancelled(reason))
