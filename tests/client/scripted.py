"""Receives requests over real sockets; hands on recorded exchanges, and counts what it began.

It plays two kinds of server: ours, which joins requests of one `Idempotency-Key` and lets streams
be picked up; and any other, for which each POST is a generation.
"""

import asyncio
import contextlib
import json
import threading
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, NamedTuple

from tests.client.recorded import EVENTS, WHOLE
from tests.client.scripted_socket import serve_socket

SECONDS = 20.0


class Head(NamedTuple):
    """A request's line and headers, by lower-case name."""

    method: str
    path: str
    headers: dict[str, str]


class ScriptedServer:
    """A server on a free port of this host, in a thread of its own.

    Attributes:
        ours: plays our server.
        generations: how often a generation was begun.
        cancelled: ids of the generations that were told to end; on a WebSocket, of the requests.
        open: connections that are open now.
        answer: raw bytes to answer each POST with, instead of the recorded exchange.
        requests: all that came.
        hold: a stream stops before this event and waits for its client to leave (on a
            WebSocket, to be picked up again); None never does.
    """

    def __init__(self, *, ours: bool = True) -> None:
        self.ours = ours
        self.events = EVENTS
        self.answer: bytes | None = None
        self.hold: int | None = None
        self.generations = 0
        self.open = 0
        self.cancelled: list[str] = []
        self.requests: list[tuple[Head, bytes]] = []
        self.port = 0
        self._keys: dict[str, str] = {}
        self._changed = threading.Condition()
        # The event loop itself keeps no task alive.
        self._tasks: set[asyncio.Task[None] | None] = set()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}/v1"

    def reset(self) -> None:
        """Forget what came."""
        self.generations = 0
        self.cancelled, self.requests, self._keys = [], [], {}

    def wait(self, condition: Callable[[], bool], seconds: float = SECONDS) -> bool:
        """Wait until something that it counts is so; False where it did not come about."""
        with self._changed:
            return self._changed.wait_for(condition, seconds)

    def _notify(self) -> None:
        with self._changed:
            self._changed.notify_all()

    async def start(self) -> asyncio.Server:
        """Listen."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = server.sockets[0].getsockname()[1]
        return server

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open += 1
        task = asyncio.current_task()
        self._tasks.add(task)
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                while await self._exchange(reader, writer):
                    pass
        finally:
            writer.close()
            self._tasks.discard(task)
            self.open -= 1
            self._notify()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = await read_head(reader)
        body = await reader.readexactly(int(head.headers.get("content-length", "0")))
        self.requests.append((head, body))
        if head.headers.get("upgrade") == "websocket":
            lines = [f"GET {head.path} HTTP/1.1", *(f"{n}: {v}" for n, v in head.headers.items())]
            handshake = "\r\n".join([*lines, "", ""]).encode()
            told = (self._generation, self.cancelled, self.hold)
            await serve_socket(handshake, reader, writer, *told)
            return False
        if self.answer is not None and head.method == "POST":
            self.generations += 1
            writer.write(self.answer)
            await writer.drain()
            return False
        if head.method == "POST":
            await self._generate(head, json.loads(body), reader, writer)
        elif head.method == "DELETE":
            self.cancelled.append(head.path.rpartition("/")[2])
            writer.write(whole(200, b'{"id": "x", "object": "stream.cancelled"}'))
        elif "/streams/" in head.path:
            after = head.headers.get("last-event-id", ":-1").rpartition(":")[2]
            identity = head.path.rpartition("/")[2]
            await self._stream(identity, int(after) + 1, reader, writer)
        else:
            name = b'{"name": "Inferneo"}' if self.ours else b'{"detail": "Not Found"}'
            writer.write(whole(200 if self.ours else 404, name))
        await writer.drain()
        self._notify()
        return True

    async def _generate(
        self,
        head: Head,
        body: dict[str, Any],
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        identity = self._generation(head.headers.get("idempotency-key", ""))
        if body.get("stream"):
            await self._stream(identity, 0, reader, writer)
        else:
            writer.write(whole(200, WHOLE))

    def _generation(self, key: str) -> str:
        identity = self._keys.get(key) if self.ours else None
        if identity is None:
            self.generations += 1
            identity = self._keys[key] = f"chatcmpl-{self.generations}"
        return identity

    async def _stream(
        self,
        identity: str,
        first: int,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        extra = f"inferneo-stream: /v1/streams/{identity}\r\n" if self.ours else ""
        writer.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nx-request-id: req_1\r\n"
            + extra.encode()
            + b"transfer-encoding: chunked\r\n\r\n"
        )
        for number, data in enumerate([*self.events, b"[DONE]"]):
            if number == self.hold:
                await writer.drain()
                await reader.read(1)
                raise ConnectionError
            if number >= first:
                name = f"id: {identity}:{number}\n".encode() if self.ours else b""
                event = name + b"data: " + data + b"\n\n"
                writer.write(b"%x\r\n" % len(event) + event + b"\r\n")
        writer.write(b"0\r\n\r\n")


async def read_head(reader: asyncio.StreamReader) -> Head:
    """Read a request up to its body."""
    lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    method, path, _ = lines[0].split(" ")
    fields = (line.partition(":") for line in lines[1:] if line)
    return Head(method, path, {name.lower(): value.strip() for name, _, value in fields})


def whole(status: int, body: bytes, **headers: str) -> bytes:
    """An answer in one piece."""
    lines = [f"HTTP/1.1 {status} X", f"content-length: {len(body)}"]
    headers = {"content_type": "application/json", **headers}
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


def sse(body: bytes, content_type: str = "text/event-stream") -> bytes:
    """An event stream that ends with its connection."""
    return f"HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\n\r\n".encode() + body


class LoopThread:
    """An event loop in a thread, for servers that live beside sync tests."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)

    def __enter__(self) -> "LoopThread":
        self._thread.start()
        return self

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Run something to its end."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(SECONDS)

    def __exit__(self, *_: object) -> None:
        self.run(self._cancel())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(SECONDS)
        self._loop.close()

    async def _cancel(self) -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        # Transports take two turns of the loop to close.
        await asyncio.sleep(0)
        await asyncio.sleep(0)


async def stop(server: asyncio.Server) -> None:
    """Take no more connections."""
    server.close()


@contextlib.contextmanager
def scripted_server(*, ours: bool = True) -> Iterator[ScriptedServer]:
    """A scripted server, for as long as the block lasts."""
    server = ScriptedServer(ours=ours)
    with LoopThread() as thread:
        listening = thread.run(server.start())
        yield server
        thread.run(stop(listening))
