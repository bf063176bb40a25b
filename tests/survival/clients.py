"""Receives a server's address; hands on a generation's text, however often connections break.

Written from docs/protocol.md over plain sockets, and over a WebSocket library: it shares nothing
with the server, nor with our own client.
"""

import asyncio
import itertools
import json
import socket
from collections.abc import AsyncIterator, Iterable
from typing import Any, Literal
from urllib.parse import urlsplit

import websockets

Way = Literal["sse", "sse by header", "ws", "ws deflated"]
WAYS: tuple[Way, ...] = ("sse", "sse by header", "ws", "ws deflated")

# Silence after which a connection counts as dead, and the next one is opened.
PATIENCE_SECONDS = 1.0
MAX_CONNECTIONS = 60
RESUME_SECONDS = 6.0


class Broken(Exception):
    """The connection was cut."""


class Refused(Exception):
    """The server said no, by an error: there is no use in trying again."""


class Progress:
    """What has arrived of one generation, over all its connections.

    Args:
        body: the request, as it is sent by POST.
        key: the idempotency key.
        patience: silence, in seconds, after which a connection counts as dead.
        resume_for: seconds that the generation outlives a cut.

    Attributes:
        numbers: those of all events that arrived, in the order of their arrival; the end is one.
    """

    def __init__(
        self,
        body: dict[str, Any],
        key: str,
        *,
        patience: float = PATIENCE_SECONDS,
        resume_for: float = RESUME_SECONDS,
    ) -> None:
        self.body = {**body, "stream": True}
        self.path = "/v1/chat/completions" if "messages" in body else "/v1/completions"
        self.key = key
        self.patience = patience
        self.resume_for = resume_for
        self.id: str | None = None
        self.numbers: list[int] = []
        self.text = ""
        self.finish_reasons: list[str] = []
        self.ended = False

    @property
    def last(self) -> int:
        """The last event that arrived; -1 before the first."""
        return self.numbers[-1] if self.numbers else -1

    def take(self, number: int, chunk: dict[str, Any]) -> None:
        """A chunk has arrived."""
        assert self.id in (None, chunk["id"]), "the answer has become another one"
        self.id = chunk["id"]
        self.numbers.append(number)
        for choice in chunk["choices"]:
            self.text += choice["text"] if "text" in choice else choice["delta"].get("content", "")
            if choice["finish_reason"]:
                self.finish_reasons.append(choice["finish_reason"])

    def end(self, number: int) -> None:
        """The end has arrived."""
        self.numbers.append(number)
        self.ended = True


async def receive(url: str, progress: Progress, ways: Iterable[Way]) -> Progress:
    """Read a generation to its end, by one way after another, as often as it takes."""
    for way in itertools.islice(itertools.cycle(ways), MAX_CONNECTIONS):
        await receive_once(url, progress, way)
        if progress.ended:
            return progress
    raise AssertionError(f"not whole after {MAX_CONNECTIONS} connections: {progress.numbers}")


async def receive_once(url: str, progress: Progress, way: Way) -> None:
    """Read a generation until its end, or until the connection breaks.

    Raises:
        Refused: the server said no.
    """
    try:
        if way in ("ws", "ws deflated"):
            await _read_socket(url, progress, deflated=way == "ws deflated")
        else:
            await _read_events(url, progress, by_header=way == "sse by header")
    except (Broken, OSError, EOFError, TimeoutError, websockets.WebSocketException):
        return


async def _read_events(url: str, progress: Progress, *, by_header: bool) -> None:
    async with asyncio.timeout(progress.patience):
        reader, writer = await _connect(url)
    try:
        writer.write(_sse_request(progress, by_header=by_header))
        async with asyncio.timeout(progress.patience):
            status, headers = await read_head(reader)
        if status != 200:
            raise Refused(status, await reader.read(65536))
        # It may be known before the first event is: then nothing need be sent again.
        progress.id = headers["inferneo-stream"].removeprefix("/v1/streams/")
        async for number, data in read_events(reader, progress.patience):
            if data == "[DONE]":
                progress.end(number)
                return
            chunk = json.loads(data)
            if "error" in chunk:
                raise Refused(chunk)
            progress.take(number, chunk)
        raise Broken
    finally:
        # Nothing waits for what a dead connection has not sent.
        writer.transport.abort()


async def _connect(url: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Open a connection; whoever loses patience meanwhile leaves no socket behind."""
    address = urlsplit(url)
    endpoint = socket.socket()
    try:
        endpoint.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(endpoint, (address.hostname, address.port))
        return await asyncio.open_connection(sock=endpoint)
    except BaseException:
        endpoint.close()
        raise


def _sse_request(progress: Progress, *, by_header: bool) -> bytes:
    if progress.id is None:
        headers = [
            f"Idempotency-Key: {progress.key}",
            f"Inferneo-Resume-For: {progress.resume_for}",
            "Content-Type: application/json",
        ]
        return http_request("POST", progress.path, headers, json.dumps(progress.body).encode())
    path, headers = f"/v1/streams/{progress.id}", ["Accept: text/event-stream"]
    if progress.last >= 0 and by_header:
        headers.append(f"Last-Event-ID: {progress.id}:{progress.last}")
    elif progress.last >= 0:
        path += f"?after={progress.last}"
    return http_request("GET", path, headers)


def http_request(method: str, path: str, headers: Iterable[str] = (), body: bytes = b"") -> bytes:
    """A request as it goes over the wire."""
    lines = [f"{method} {path} HTTP/1.1", "Host: test", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


async def read_head(reader: asyncio.StreamReader) -> tuple[int, dict[str, str]]:
    """The status of an answer, and its headers."""
    first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")[:-2]
    headers = dict(line.lower().split(": ", 1) for line in lines)
    return int(first.split(" ")[1]), headers


async def read_events(
    reader: asyncio.StreamReader, patience: float
) -> AsyncIterator[tuple[int, str]]:
    """The numbers and the data of an answer's events."""
    text = b""
    while True:
        async with asyncio.timeout(patience):
            data = await _read_chunk(reader)
        if not data:
            return
        *events, text = (text + data).split(b"\n\n")
        for event in events:
            fields = dict(
                line.split(": ", 1) for line in event.decode().split("\n") if line[:1] != ":"
            )
            if "data" in fields:
                yield int(fields["id"].rpartition(":")[2]), fields["data"]


async def _read_chunk(reader: asyncio.StreamReader) -> bytes:
    """The next piece of a chunked body, or what came of it; nothing at the end."""
    size = int(await reader.readuntil(b"\r\n"), 16)
    try:
        return (await reader.readexactly(size + 2))[:-2]
    except asyncio.IncompleteReadError as cut:
        # What came counts: the next reading finds the end.
        return cut.partial[:size]


async def _read_socket(url: str, progress: Progress, *, deflated: bool) -> None:
    address = url.replace("http", "ws", 1) + progress.path
    connecting = websockets.connect(
        address,
        compression="deflate" if deflated else None,
        open_timeout=progress.patience,
        close_timeout=progress.patience / 4,
        ping_interval=None,
        proxy=None,
    )
    async with connecting as connection:
        await connection.send(json.dumps(_frame(progress)))
        while not progress.ended:
            async with asyncio.timeout(progress.patience):
                frame = json.loads(await connection.recv())
            assert frame["request_id"] == progress.key
            if "error" in frame:
                raise Refused(frame)
            if "choices" in frame:
                progress.take(frame["seq"], frame)
            else:
                assert frame["object"].endswith(".done") and not frame.get("cancelled")
                progress.end(frame["seq"])


def _frame(progress: Progress) -> dict[str, Any]:
    if progress.id is None:
        terms = {"idempotency_key": progress.key, "resume_for": progress.resume_for}
        return {**progress.body, **terms, "request_id": progress.key}
    resume = {"type": "resume", "id": progress.id, "request_id": progress.key}
    return {**resume, "after": progress.last} if progress.last >= 0 else resume
