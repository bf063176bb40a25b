"""Receives connections for a server; hands on their bytes, and cuts them where the plan says."""

import asyncio
import contextlib
import random
import socket
import struct
from collections import Counter
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Literal, NamedTuple, Self
from urllib.parse import urlsplit

Direction = Literal["up", "down"]
# A half-close ends one direction and leaves the other open. A stall lets nothing pass any more,
# until the client leaves; a client that vanishes leaves, and the server is not told.
Manner = Literal["close", "reset", "half-close", "stall", "vanish"]
MANNERS: tuple[Manner, ...] = ("close", "reset", "half-close", "stall", "vanish")

# How many of the bytes of a direction pass, judged by those that have come; None lets all pass.
Place = Callable[[bytes], int | None]

REQUEST_BYTES = 350  # a request to resume, or an opening handshake and a frame

_AT_ONCE = struct.pack("ii", 1, 0)  # socket(7), SO_LINGER: a close that is a reset


class Cut(NamedTuple):
    """Where a connection ends, and how."""

    direction: Direction
    place: Place
    manner: Manner


def at(offset: int) -> Place:
    """Behind so many bytes."""
    return lambda seen: offset


def behind(mark: bytes, plus: int = 0, *, nth: int = 1) -> Place:
    """So many bytes behind the nth occurrence of a mark."""

    def place(seen: bytes) -> int | None:
        end = 0
        for _ in range(nth):
            found = seen.find(mark, end)
            if found < 0:
                return None
            end = found + len(mark)
        return end + plus

    return place


def random_cuts(chance: random.Random, count: int, reach: int) -> list[Cut]:
    """Cuts anywhere in a request, or in so many bytes of an answer, where most of them fall."""
    directions: tuple[Direction, ...] = ("down", "down", "down", "up")
    return [
        Cut(
            direction := chance.choice(directions),
            at(chance.randrange(reach if direction == "down" else REQUEST_BYTES)),
            # Stalls and vanished clients cost the time that a client waits for bytes.
            chance.choices(MANNERS, weights=[4, 4, 3, 1, 1])[0],
        )
        for _ in range(count)
    ]


class Proxy:
    """Stands between a client and a server. Each connection gets the next cut of the plan; those
    after the last pass whole.

    Args:
        url: the server's.
        cuts: one for each connection, in their order.

    Attributes:
        url: what the client connects to.
        cuts: those that are left.
        done: the cuts that were made, by their manner.
    """

    def __init__(self, url: str, cuts: Iterable[Cut] = ()) -> None:
        address = urlsplit(url)
        self._host, self._port = address.hostname, address.port
        self.cuts = iter(cuts)
        self._tasks: set[asyncio.Task[None]] = set()
        self._vanished: list[asyncio.StreamWriter] = []
        self.url = ""
        self.done: Counter[Manner] = Counter()

    async def __aenter__(self) -> Self:
        self._listener = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.url = "http://{}:{}".format(*self._listener.sockets[0].getsockname())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._listener.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for writer in self._vanished:
            writer.transport.abort()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        cut = next(self.cuts, None)
        try:
            answers, server = await asyncio.open_connection(self._host, self._port)
        except OSError:
            client.transport.abort()
            return
        up = _Pump(reader, server, cut if cut and cut.direction == "up" else None)
        down = _Pump(answers, client, cut if cut and cut.direction == "down" else None)
        pumps = [asyncio.create_task(up.run()), asyncio.create_task(down.run())]
        try:
            while pumps and not (up.cut or down.cut):
                _, pending = await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
                pumps = [*pending]
                if up.broken or down.broken:
                    break
            if cut and (up.cut or down.cut):
                self.done[cut.manner] += 1
                await self._end(cut, pumps, reader, client, server)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            for writer in (client, server):
                if writer not in self._vanished:
                    writer.close()

    async def _end(
        self,
        cut: Cut,
        pumps: list[asyncio.Task[None]],
        reader: asyncio.StreamReader,
        client: asyncio.StreamWriter,
        server: asyncio.StreamWriter,
    ) -> None:
        if cut.manner == "reset":
            for writer in (client, server):
                _reset(writer)
        elif cut.manner == "half-close":
            target = client if cut.direction == "down" else server
            with contextlib.suppress(OSError):
                target.write_eof()
            await asyncio.gather(*pumps)
        elif cut.manner in ("stall", "vanish"):
            if cut.manner == "vanish":
                self._vanished.append(server)
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            with contextlib.suppress(OSError):
                while await reader.read(65536):
                    pass


class _Pump:
    """One direction of a connection.

    Attributes:
        cut: whether its cut has been made.
        broken: whether one of its ends was reset.
    """

    def __init__(
        self, source: asyncio.StreamReader, target: asyncio.StreamWriter, cut: Cut | None
    ) -> None:
        self._source = source
        self._target = target
        self._place = cut.place if cut else None
        self._seen = b""
        self.cut = False
        self.broken = False

    async def run(self) -> None:
        """Pass bytes on until the cut, or the end."""
        try:
            while data := await self._source.read(65536):
                passing = self._passing(data)
                self._target.write(passing)
                await self._target.drain()
                if self.cut:
                    return
            self._target.write_eof()
        except OSError:
            self.broken = True

    def _passing(self, data: bytes) -> bytes:
        if self._place is None:
            return data
        before = len(self._seen)
        self._seen += data
        end = self._place(self._seen)
        if end is None or end > len(self._seen):
            return data
        self.cut = True
        return data[: max(0, end - before)]


def _reset(writer: asyncio.StreamWriter) -> None:
    endpoint: socket.socket | None = writer.get_extra_info("socket")
    if endpoint is not None:
        with contextlib.suppress(OSError):
            endpoint.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
    writer.transport.abort()
