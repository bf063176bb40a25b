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

    Over sockets of its own, without asyncio's streams: it closes every one, whenever it is left.

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
        self._server = (address.hostname, address.port)
        self._tasks: set[asyncio.Task[None]] = set()
        self._sockets: set[socket.socket] = set()
        self.url = ""
        self.cuts = iter(cuts)
        self.done: Counter[Manner] = Counter()

    async def __aenter__(self) -> Self:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.setblocking(False)
        self.url = "http://{}:{}".format(*self._listener.getsockname())
        asyncio.get_running_loop().add_reader(self._listener, self._accept)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        asyncio.get_running_loop().remove_reader(self._listener)
        self._listener.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for each in self._sockets:
            each.close()

    def _accept(self) -> None:
        client, _ = self._listener.accept()
        task = asyncio.create_task(self._serve(self._own(client)))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _own(self, endpoint: socket.socket) -> socket.socket:
        endpoint.setblocking(False)
        endpoint.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._sockets.add(endpoint)
        return endpoint

    def _close(self, *endpoints: socket.socket) -> None:
        for endpoint in endpoints:
            endpoint.close()
            self._sockets.discard(endpoint)

    async def _serve(self, client: socket.socket) -> None:
        cut = next(self.cuts, None)
        server = self._own(socket.socket())
        try:
            await asyncio.get_running_loop().sock_connect(server, self._server)
        except OSError:
            self._close(client, server)
            return
        up = _Pump(client, server, cut if cut and cut.direction == "up" else None)
        down = _Pump(server, client, cut if cut and cut.direction == "down" else None)
        pumps = [asyncio.create_task(up.run()), asyncio.create_task(down.run())]
        try:
            while pumps and not (up.cut or down.cut or up.broken or down.broken):
                _, pending = await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
                pumps = [*pending]
            if cut and (up.cut or down.cut):
                self.done[cut.manner] += 1
                await self._end(cut, pumps, client, server)
        finally:
            await _cancel(pumps)
            if not (cut and cut.manner == "vanish" and (up.cut or down.cut)):
                self._close(client, server)

    async def _end(
        self,
        cut: Cut,
        pumps: list[asyncio.Task[None]],
        client: socket.socket,
        server: socket.socket,
    ) -> None:
        if cut.manner == "half-close":
            with contextlib.suppress(OSError):
                (client if cut.direction == "down" else server).shutdown(socket.SHUT_WR)
            await asyncio.gather(*pumps)
        elif cut.manner == "reset":
            for endpoint in (client, server):
                endpoint.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
        elif cut.manner != "close":
            await _cancel(pumps)
            with contextlib.suppress(OSError):
                while await asyncio.get_running_loop().sock_recv(client, 65536):
                    pass


async def _cancel(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


class _Pump:
    """One direction of a connection.

    Attributes:
        cut: whether its cut has been made.
        broken: whether one of its ends was reset.
    """

    def __init__(self, source: socket.socket, target: socket.socket, cut: Cut | None) -> None:
        self._source = source
        self._target = target
        self._place = cut.place if cut else None
        self._seen = b""
        self.cut = False
        self.broken = False

    async def run(self) -> None:
        """Pass bytes on until the cut, or the end."""
        loop = asyncio.get_running_loop()
        try:
            while data := await loop.sock_recv(self._source, 65536):
                await loop.sock_sendall(self._target, self._passing(data))
                if self.cut:
                    return
            self._target.shutdown(socket.SHUT_WR)
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
