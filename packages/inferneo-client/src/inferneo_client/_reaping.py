"""Receives streams that were left in the middle; hands each to a task that closes it.

An iterator that is dropped after a `break` cannot wait for anything. It asks here, and the event
loop that it belongs to closes its stream as soon as it gets to it.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

import anyio

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
        self._left: list[Work] = []
        self._running: set[anyio.Event] = set()
        # The event loop itself keeps no task alive.
        self._tasks: set[asyncio.Task[None]] = set()

    def spawner(self) -> Spawn:
        """What has work done on the loop that runs now, from wherever it is called."""
        try:
            soon = self._on_asyncio(asyncio.get_running_loop())
        except RuntimeError:
            soon = self._on_trio()

        def spawn(work: Work) -> None:
            self._left.append(work)
            soon()

        return spawn

    def _on_asyncio(self, loop: asyncio.AbstractEventLoop) -> Callable[[], None]:
        def start() -> None:
            task = loop.create_task(self._work())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

        def soon() -> None:
            # A loop that has ended has taken its sockets with it.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(start)

        return soon

    def _on_trio(self) -> Callable[[], None]:
        import trio

        token = trio.lowlevel.current_trio_token()

        def soon() -> None:
            with contextlib.suppress(trio.RunFinishedError):
                token.run_sync_soon(trio.lowlevel.spawn_system_task, self._work)

        return soon

    async def _work(self) -> None:
        while self._left:
            work, done = self._left.pop(), anyio.Event()
            self._running.add(done)
            try:
                # There is nobody left to tell, and on trio an error here would end the program.
                with contextlib.suppress(Exception):
                    await work()
            finally:
                self._running.discard(done)
                done.set()

    async def wait(self) -> None:
        """Do what is left, and wait for what others are at."""
        await self._work()
        for done in tuple(self._running):
            await done.wait()
        if tasks := tuple(self._tasks):
            await asyncio.wait(tasks)
