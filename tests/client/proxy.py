"""Receives connections; hands them on to a server, with the faults that networks have."""

import asyncio
import contextlib
import socket
import struct
from collections import deque
from collections.abc import Iterator
from typing import Literal, NamedTuple

from tests.client.scripted import LoopThread, read_head, stop, whole

FaultKind = Literal["refuse", "lose", "swallow", "status", "late status", "cut", "stall"]


class Fault(NamedTuple):
    """What happens to one connection.

    `refuse` resets it before anything is read. `lose` reads the request and resets, `swallow` hands
    it on first. `status` answers with one in the server's place, `late status` once the server has
    the request. `cut` breaks, and `stall` keeps silent, behind so many bytes of the answer.
    """

    kind: FaultKind
    at: int = 0
    reset: bool = True
    status: int = 503

    @property
    def begins(self) -> bool:
        """Whether the server gets the request all the same."""
        return self.kind not in ("refuse", "lose", "status")


class FaultyProxy:
    """A TCP proxy on a free port; each connection takes the next fault, or none is left.

    Attributes:
        faults: of the connections to come.
        taken: how many connections have come.
    """

    def __init__(self, target: int) -> None:
        self.target = target
        self.faults: deque[Fault] = deque()
        self.taken = 0
        self.port = 0
        # The event loop itself keeps no task alive.
        self._tasks: set[asyncio.Task[None] | None] = set()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}/v1"

    async def start(self) -> asyncio.Server:
        """Listen."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        return server

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.taken += 1
        self._tasks.add(asyncio.current_task())
        fault = self.faults.popleft() if self.faults else None
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                await self._pass_on(fault, reader, writer)
        finally:
            writer.close()
            self._tasks.discard(asyncio.current_task())

    async def _pass_on(
        self, fault: Fault | None, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        if fault is not None and fault.kind == "refuse":
            _reset(writer)
            return
        if fault is not None and not fault.begins:
            await _read_request(reader)
            if fault.kind == "status":
                writer.write(_refusal(fault.status))
                await writer.drain()
            else:
                _reset(writer)
            return
        upstream_reader, upstream = await asyncio.open_connection("127.0.0.1", self.target)
        forward = asyncio.create_task(_forward(reader, upstream))
        try:
            await self._answer(fault, upstream_reader, writer, forward)
        finally:
            forward.cancel()
            upstream.close()

    async def _answer(
        self,
        fault: Fault | None,
        answer: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        forward: asyncio.Task[None],
    ) -> None:
        if fault is None:
            await _copy(answer, writer)
            return
        if fault.kind in ("swallow", "late status"):
            # The server has the request once it begins to answer.
            await answer.read(1)
            if fault.kind == "swallow":
                _reset(writer)
            else:
                writer.write(_refusal(fault.status))
                await writer.drain()
            return
        if not await _copy(answer, writer, fault.at):
            return
        if fault.kind == "stall":
            # Until the client gives up.
            await asyncio.wait([forward])
        elif fault.reset:
            _reset(writer)


async def _read_request(reader: asyncio.StreamReader) -> None:
    head = await read_head(reader)
    await reader.readexactly(int(head.headers.get("content-length", "0")))


async def _forward(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    """Copy until the end; a client that breaks its connection ends the server's as well."""
    try:
        await _copy(source, target)
    except ConnectionError:
        target.close()


async def _copy(
    source: asyncio.StreamReader, target: asyncio.StreamWriter, limit: int | None = None
) -> bool:
    """Copy until the end, or so many bytes; True where the limit was reached."""
    left = limit
    while left is None or left > 0:
        data = await source.read(65536 if left is None else left)
        if not data:
            with contextlib.suppress(OSError, RuntimeError):
                target.write_eof()
            return False
        target.write(data)
        await target.drain()
        left = None if left is None else left - len(data)
    return True


def _reset(writer: asyncio.StreamWriter) -> None:
    """End a connection with RST instead of FIN (socket(7), SO_LINGER)."""
    writer.get_extra_info("socket").setsockopt(
        socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
    )
    writer.transport.abort()


def _refusal(status: int) -> bytes:
    body = b'{"error": {"message": "no", "type": "server_error", "code": null}}'
    return whole(status, body, retry_after_ms="1", connection="close")


@contextlib.contextmanager
def faulty_proxy(target: int) -> Iterator[FaultyProxy]:
    """A proxy before a server's port, for as long as the block lasts."""
    proxy = FaultyProxy(target)
    with LoopThread() as thread:
        listening = thread.run(proxy.start())
        yield proxy
        thread.run(stop(listening))
