"""Receives a Generation; hands on its answer over HTTP, in one piece or as server-sent events."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from litestar.types import Receive, Scope, Send

from inferneo_core.codec import encode
from inferneo_core.sse import DONE, KEEP_ALIVE, encode_data
from inferneo_server.generation import Generation
from inferneo_server.telemetry import RAW_SEND
from inferneo_server.transports.errors import to_api_error

T = TypeVar("T")

_JSON_HEADERS = [(b"content-type", b"application/json")]
_SSE_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    # Proxies neither keep nor gather what streams (the last one is nginx's).
    (b"cache-control", b"no-cache, no-transform"),
    (b"x-accel-buffering", b"no"),
]
_END = encode_data(DONE)


class ClientDisconnected(Exception):
    """The client has hung up; there is nobody to tell."""


class JsonAnswer:
    """An ASGI application that answers with a generation in one piece."""

    def __init__(self, generation: Generation) -> None:
        self._generation = generation

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        generation = self._generation
        try:
            body = await _while_connected(generation.answer(), receive)
        except ClientDisconnected:
            return
        finally:
            await generation.aclose()
        headers = [*_JSON_HEADERS, (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body, "more_body": False})


class EventStream:
    """An ASGI application that answers with a generation's events as they come.

    Args:
        generation: read to its end, or aborted when the client hangs up.
        keep_alive_seconds: silence after which a comment is sent.
    """

    def __init__(self, generation: Generation, keep_alive_seconds: float) -> None:
        self._generation = generation
        self._keep_alive_seconds = keep_alive_seconds
        self._silent = True

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": _SSE_HEADERS})
        # The wrappers of `send` look at an answer's head alone; each token would pass them all.
        send = scope["state"].get(RAW_SEND, send)

        async def keep_alive() -> None:
            if self._silent:
                await _send_body(send, KEEP_ALIVE)
            self._silent = True

        try:
            await _while_connected(
                self._send_events(send),
                receive,
                tick=keep_alive,
                tick_seconds=self._keep_alive_seconds,
            )
        except ClientDisconnected:
            return
        finally:
            await self._generation.aclose()

    async def _send_events(self, send: Send) -> None:
        try:
            async for events in self._generation.events():
                # Before the write and not after it: a write that waits for a slow reader is no
                # silence.
                self._silent = False
                body = b"".join([encode_data(event) for event in events])
                await send({"type": "http.response.body", "body": body, "more_body": True})
            last = _END
        except Exception as error:
            # The status has been sent: the error is the stream's last event, and no [DONE] follows.
            last = encode_data(encode(to_api_error(error).body()))
        await send({"type": "http.response.body", "body": last, "more_body": False})


async def _send_body(send: Send, body: bytes) -> None:
    await send({"type": "http.response.body", "body": body, "more_body": True})


async def _while_connected(
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
