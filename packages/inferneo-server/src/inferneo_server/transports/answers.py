"""Receives what begins a generation; hands that on over HTTP, whole or as server-sent events."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from typing import Any, TypeVar

from litestar.types import Receive, Scope, Send

from inferneo_core.sse import (
    KEEP_ALIVE,
    encode_data,
    encode_name,
    encode_named,
    encode_numbered,
)
from inferneo_server.streams import Reader
from inferneo_server.telemetry import RAW_SEND
from inferneo_server.transports.errors import to_api_error
from inferneo_server.transports.limits import header_pairs

T = TypeVar("T")
Begin = Callable[[], Coroutine[Any, Any, Reader]]

# A client that takes what it reads for one event has so long to read each: Chromium, on a busy
# machine, reads one in thirty together with another at 2 ms, at 10 ms none. An engine that is
# faster gives what it wrote meanwhile in one delta.
APART_SECONDS = 0.01

_JSON_HEADERS = [(b"content-type", b"application/json")]
SSE_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    # Proxies neither keep nor gather what streams (the last one is nginx's).
    (b"cache-control", b"no-cache, no-transform"),
    (b"x-accel-buffering", b"no"),
]


class ClientDisconnected(Exception):
    """The client has hung up; there is nobody to tell."""


class JsonAnswer:
    """An ASGI application that answers with a generation in one piece.

    Args:
        begin: gives its reader, which may have to wait for its turn; that is read to its end, or
            left when the client hangs up.
        ignored: names of unknown fields of the request.
    """

    def __init__(self, begin: Begin, *, ignored: str = "") -> None:
        self._begin = begin
        self._ignored = ignored

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            reader, body = await while_connected(self._read(), receive)
        except ClientDisconnected:
            return
        length = (b"content-length", str(len(body)).encode())
        headers = [*_JSON_HEADERS, length, *_stream_headers(reader, self._ignored)]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body, "more_body": False})

    async def _read(self) -> tuple[Reader, bytes]:
        reader = await self._begin()
        try:
            return reader, await reader.answer()
        finally:
            await reader.aclose()


class EventStream:
    """An ASGI application that answers with a generation's events as they come.

    Args:
        begin: gives its reader, which may have to wait for its turn; that is read to its end, or
            left when the client hangs up.
        keep_alive_seconds: silence after which a comment is sent; None sends none.
        retry_ms: when a browser's EventSource is to come back after a cut; None says nothing.
        ignored: names of unknown fields of the request.
    """

    def __init__(
        self,
        begin: Begin,
        keep_alive_seconds: float | None,
        *,
        retry_ms: int | None = None,
        ignored: str = "",
    ) -> None:
        self._begin = begin
        self._keep_alive_seconds = keep_alive_seconds
        self._retry_ms = retry_ms
        self._ignored = ignored
        self._silent = True
        # Until the head has been sent, too.
        self._writing = True

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # The wrappers of `send` look at an answer's head alone; each token would pass them all.
        raw_send: Send = scope["state"].get(RAW_SEND, send)

        async def keep_alive() -> None:
            # A write that waits for a slow reader is no silence, and may be the last.
            if self._silent and not self._writing:
                await _send_body(raw_send, KEEP_ALIVE)
            self._silent = True

        with contextlib.suppress(ClientDisconnected):
            await while_connected(
                self._serve(send, raw_send),
                receive,
                tick=keep_alive,
                tick_seconds=self._keep_alive_seconds,
            )

    async def _serve(self, send: Send, raw_send: Send) -> None:
        reader = await self._begin()
        try:
            headers = [*SSE_HEADERS, *_stream_headers(reader, self._ignored)]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            self._writing = False
            await self._send_events(reader, raw_send)
        finally:
            await reader.aclose()

    async def _send_events(self, reader: Reader, send: Send) -> None:
        form = reader.generation.form
        numbered = reader.generation.terms.resume_for > 0
        encode_one = encode_named if form.named else encode_data
        error: Exception | None
        try:
            if self._retry_ms is not None:
                await _send_body(send, b"retry: %d\n\n" % self._retry_ms)
            while events := await reader.read():
                self._silent, self._writing = False, True
                frames = _frames(reader, events) if numbered else map(encode_one, events)
                body = b"".join(frames)
                await send({"type": "http.response.body", "body": body, "more_body": True})
                self._writing = False
            error = reader.generation.error
        except Exception as unforeseen:
            error = unforeseen
        # The status has been sent: an error is the stream's last event.
        last = form.end(None if error is None else to_api_error(error))
        if last:
            last = _frame(reader, last, reader.position) if numbered else encode_one(last)
        self._writing = True
        await send({"type": "http.response.body", "body": last, "more_body": False})


def _frames(reader: Reader, events: list[bytes]) -> Iterator[bytes]:
    first = reader.position - len(events)
    return (_frame(reader, event, first + at) for at, event in enumerate(events))


def _frame(reader: Reader, payload: bytes, number: int) -> bytes:
    generation = reader.generation
    frame = encode_numbered(generation.id.encode(), number, payload)
    return encode_name(payload) + frame if generation.form.named else frame


class SeparateEvents(EventStream):
    """The events of a generation, each in a write of its own, and nothing between them: for clients
    that take what they read at once for one event.

    Args:
        begin: gives its reader, as of an EventStream.
        ignored: names of unknown fields of the request.
    """

    def __init__(self, begin: Begin, *, ignored: str = "") -> None:
        super().__init__(begin, None, ignored=ignored)
        self._sent_at = 0.0

    async def _send_events(self, reader: Reader, send: Send) -> None:
        error: Exception | None
        try:
            while events := await reader.read():
                for event in events:
                    await self._send_apart(send, event)
            error = reader.generation.error
        except Exception as unforeseen:
            error = unforeseen
        if error is not None:
            await self._send_apart(send, reader.generation.form.end(to_api_error(error)))
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _send_apart(self, send: Send, event: bytes) -> None:
        # The loop joins the writes of one round, the system those it cannot send at once, and the
        # other end reads what has come meanwhile: time alone keeps them apart.
        loop = asyncio.get_running_loop()
        early = self._sent_at + APART_SECONDS - loop.time()
        if early > 0:
            await asyncio.sleep(early)
        await _send_body(send, encode_data(event))
        self._sent_at = loop.time()


def _stream_headers(reader: Reader, ignored: str) -> list[tuple[bytes, bytes]]:
    headers = [(b"inferneo-replayed", b"true")] if reader.joined else []
    if ignored:
        headers.append((b"inferneo-ignored", ignored.encode()))
    if (spend := reader.generation.spend) is not None and spend.limited:
        headers += header_pairs(spend.left())
    if reader.generation.terms.resume_for:
        headers.append((b"inferneo-stream", f"/v1/streams/{reader.generation.id}".encode()))
    return headers


async def _send_body(send: Send, body: bytes) -> None:
    await send({"type": "http.response.body", "body": body, "more_body": True})


async def while_connected(
    work: Coroutine[Any, Any, T],
    receive: Receive,
    *,
    tick: Callable[[], Awaitable[None]] | None = None,
    tick_seconds: float | None = None,
) -> T:
    """Do the work, and cancel it as soon as the client hangs up.

    The work gets a task of its own: each token resumes all the coroutines of its task, and those
    that brought the request here are a dozen. Another task waits for the client's end, and ticks.

    Raises:
        ClientDisconnected: the client hung up first.
    """
    worker = asyncio.create_task(work)
    hung_up = False

    async def watch() -> None:
        nonlocal hung_up
        while True:
            try:
                if tick is None:
                    message = await receive()
                else:
                    async with asyncio.timeout(tick_seconds):
                        message = await receive()
            except TimeoutError:
                if tick:
                    await tick()
                continue
            if message["type"] == "http.disconnect":
                hung_up = True
                worker.cancel()
                return

    watcher = asyncio.create_task(watch())
    try:
        # Where this task is cancelled, the worker is, and is waited for.
        return await worker
    except asyncio.CancelledError:
        if hung_up:
            raise ClientDisconnected from None
        raise
    finally:
        watcher.cancel()
