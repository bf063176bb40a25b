"""Receives commands; hands them to the torch process, and hands back what it reports of each."""

import asyncio
import multiprocessing
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

from inferneo_core.errors import ApiError, EngineUnavailable, InvalidRequest, ServerError
from inferneo_server.engines.base import EngineStartError
from inferneo_server.engines.torch_messages import (
    Command,
    Failed,
    Loaded,
    NotLoaded,
    Options,
    Report,
    Unpacker,
    packed,
)
from inferneo_server.engines.torch_process import main

RESTARTING = "The engine has died; it is being restarted"
DIED = "the torch process has died"
EXIT_SECONDS = 10.0

Receiver = Callable[[Report | ApiError], None]


class Link(asyncio.Protocol):
    """A torch process, and the socket to it.

    Attributes:
        failed: done when the process has ended, with the reason.
    """

    def __init__(self) -> None:
        # Lives as long as the process: see lifeline.py.
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="torch-start")
        self._process: Any = None
        self._socket: socket.socket | None = None
        self._transport: asyncio.Transport | None = None
        self._unpacker = Unpacker()
        self._receivers: dict[int, Receiver] = {}
        self._keys = 0
        self._loaded: asyncio.Future[Loaded] | None = None
        self._closed = False
        self.failed: asyncio.Future[str] | None = None

    @property
    def alive(self) -> bool:
        """Whether it takes commands."""
        return self.failed is not None and not self.failed.done()

    async def start(self, options: Options) -> Loaded:
        """Start the process and have it load the model.

        Raises:
            EngineStartError: it cannot.
        """
        loop = asyncio.get_running_loop()
        self.failed = loop.create_future()
        self._loaded = loop.create_future()
        self._socket, theirs = socket.socketpair()
        # A spawned process inherits neither the server's sockets nor its locks.
        self._process = multiprocessing.get_context("spawn").Process(
            target=main, args=(theirs, options), name="inferneo-torch", daemon=True
        )
        await loop.run_in_executor(self._thread, _start, self._process, theirs)
        if self._closed:
            raise EngineStartError("the engine was closed while it started")
        await loop.create_unix_connection(lambda: self, sock=self._socket)
        return await self._loaded

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        # uvloop's is none by inheritance.
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Hand each report to whoever waits for it."""
        for report in self._unpacker.reports(data):
            if isinstance(report, Loaded | NotLoaded):
                self._started(report)
            elif receiver := self._receivers.get(report.key):
                receiver(_error(report) if isinstance(report, Failed) else report)

    def _started(self, report: Loaded | NotLoaded) -> None:
        assert self._loaded is not None
        if self._loaded.done():
            return
        if isinstance(report, Loaded):
            self._loaded.set_result(report)
        else:
            self._loaded.set_exception(EngineStartError(report.reason))

    def connection_lost(self, exc: Exception | None) -> None:
        """The process has ended: so has all that it worked on."""
        if self._loaded is not None and not self._loaded.done():
            self._loaded.set_exception(EngineStartError(f"{DIED} while it loaded the model"))
            # Whoever started it may be gone.
            self._loaded.exception()
        if self.failed is not None and not self.failed.done():
            self.failed.set_result(DIED)
        for receiver in list(self._receivers.values()):
            receiver(EngineUnavailable(RESTARTING))
        self._receivers.clear()

    def register(self, receiver: Receiver) -> int:
        """Give a number to a new request, whose reports go to the receiver.

        Raises:
            EngineUnavailable: the process has ended.
        """
        if not self.alive:
            raise EngineUnavailable(RESTARTING)
        self._keys += 1
        self._receivers[self._keys] = receiver
        return self._keys

    def forget(self, key: int) -> None:
        """Nobody waits for a request's reports any more."""
        self._receivers.pop(key, None)

    def send(self, command: Command) -> None:
        """Send a command; it is lost where the process has ended."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(packed([command]))

    async def aclose(self) -> None:
        """End the process. Idempotent."""
        self._closed = True
        process, self._process = self._process, None
        if process is not None:
            # In the thread that started it: after that, where it is starting still.
            await asyncio.get_running_loop().run_in_executor(self._thread, _end, process)
        if self._transport is not None:
            self._transport.abort()
        elif self._socket is not None:
            self._socket.close()
        self._thread.shutdown(wait=False)


def _start(process: Any, theirs: socket.socket) -> None:
    try:
        process.start()
    finally:
        theirs.close()


def _end(process: Any) -> None:
    if process.pid is not None:
        process.kill()
        process.join(EXIT_SECONDS)


def _error(report: Failed) -> ApiError:
    if report.param is not None:
        return InvalidRequest(report.message, param=report.param or None)
    return ServerError(report.message)
