"""Receives a Reader; hands on its generation over HTTP, in one piece or as server-sent events."""

import asyncio
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

_JSON_HEADERS = [(b"content-type", b"application/json")]
_SSE_HEADERS = [
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
        reader: read to its end, or left when the client hangs up.
        ignored: names of unknown fields of the request.
    """

    def __init__(self, reader: Reader, *, ignored: str = "") -> None:
        self._reader = reader
        self._ignored = ignored

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        reader = self._reader
        try:
            body = await while_connected(reader.answer(), receive)
        except ClientDisconnected:
            return
        finally:
            await reader.aclose()
        length = (b"content-length", str(len(body)).encode())
        headers = [*_JSON_HEADERS, length, *_stream_headers(reader, self._ignored)]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body, "more_body": False})


class EventStream:
    """An ASGI application that answers with a generation's events as they come.

    Args:
        reader: read to its end, or left when the client hangs up.
        keep_alive_seconds: silence after which a comment is sent.
        retry_ms: when a browser's EventSource is to come back after a cut; None says nothing.
        ignored: names of unknown fields of the request.
    """

    def __init__(
        self,
        reader: Reader,
        keep_alive_seconds: float,
        *,
        retry_ms: int | None = None,
        ignored: str = "",
    ) -> None:
        self._reader = reader
        self._keep_alive_seconds = keep_alive_seconds
        self._retry_ms = retry_ms
        self._ignored = ignored
        self._silent = True
        self._writing = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = [*_SSE_HEADERS, *_stream_headers(self._reader, self._ignored)]
        try:
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            # The wrappers of `send` look at an answer's head alone; each token would pass them all.
            send = scope["state"].get(RAW_SEND, send)

            async def keep_alive() -> None:
                # A write that waits for a slow reader is no silence, and may be the last.
                if self._silent and not self._writing:
                    await _send_body(send, KEEP_ALIVE)
                self._silent = True

            await while_connected(
                self._send_events(send),
                receive,
                tick=keep_alive,
                tick_seconds=self._keep_alive_seconds,
            )
        except ClientDisconnected:
            return
        finally:
            await self._reader.aclose()

    async def _send_events(self, send: Send) -> None:
        reader = self._reader
        form = reader.generation.form
        numbered = reader.generation.terms.resume_for > 0
        encode_one = encode_named if form.named else encode_data
        error: Exception | None
        try:
            if self._retry_ms is not None:
                await _send_body(send, b"retry: %d\n\n" % self._retry_ms)
            while events := await reader.read():
                self._silent, self._writing = False, True
                body = b"".join(self._frames(events) if numbered else map(encode_one, events))
                await send({"type": "http.response.body", "body": body, "more_body": True})
                self._writing = False
            error = reader.generation.error
        except Exception as unforeseen:
            error = unforeseen
        # The status has been sent: an error is the stream's last event.
        last = form.end(None if error is None else to_api_error(error))
        if last:
            last = self._frame(last, reader.position) if numbered else encode_one(last)
        self._writing = True
        await send({"type": "http.response.body", "body": last, "more_body": False})

    def _frames(self, events: list[bytes]) -> Iterator[bytes]:
        first = self._reader.position - len(events)
        return (self._frame(event, first + at) for at, event in enumerate(events))

    def _frame(self, payload: bytes, number: int) -> bytes:
        generation = self._reader.generation
        frame = encode_numbered(generation.id.encode(), number, payload)
        return encode_name(payload) + frame if generation.form.named else frame


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
