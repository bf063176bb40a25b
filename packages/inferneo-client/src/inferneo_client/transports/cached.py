"""Receives requests; hands on answers that a cache has, and all others by another transport.

What is kept: whole answers of status 200 to requests that have the same answer each time, because
their temperature is 0 or they give a seed (and embeddings always). An answer that tells of an
error, or ended for no reason of its own, is not; nor a stream that did not come to its `[DONE]`.
A request with the header `cache-control: no-store` is neither answered from the cache nor kept.
"""

from collections.abc import Mapping
from hashlib import sha256
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec
from anyio import to_thread
from msgspec import Struct

from inferneo_client._cache import Cache, MemoryCache
from inferneo_client._transport import (
    AsyncResponse,
    AsyncTransport,
    SyncResponse,
    SyncTransport,
    WholeResponse,
    WireRequest,
)

CACHE_HEADER: Final = "inferneo-cache"

_PATHS: Final = ("/chat/completions", "/completions", "/embeddings")
# These differ between two calls that ask the same.
_FLEETING: Final = frozenset(
    {
        "accept",
        "content-type",
        "idempotency-key",
        "inferneo-resume-for",
        "inferneo-timeout",
        "traceparent",
        "tracestate",
        "user-agent",
        "x-request-id",
    }
)
_SOUND_ENDS: Final = frozenset({"stop", "length", "tool_calls", "function_call", "content_filter"})
_DONE: Final = b"[DONE]"
_KEPT_BYTES: Final = 16 * 2**20


class _Kept(Struct, frozen=True):
    """An answer as it is kept."""

    kind: str
    body: bytes


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Kept).decode


def cache_key(request: WireRequest) -> str | None:
    """What equal requests have in common; None where the answer may be another each time."""
    path = urlsplit(request.url).path
    if request.method != "POST" or not path.endswith(_PATHS):
        return None
    try:
        body = msgspec.json.decode(request.content)
    except ValueError:
        return None
    if not isinstance(body, dict):
        return None
    if "no-" in request.headers.get("cache-control", ""):
        return None
    fixed = body.get("temperature") == 0 or body.get("seed") is not None
    if not fixed and not path.endswith("/embeddings"):
        return None
    headers = {name: text for name, text in request.headers.items() if name not in _FLEETING}
    # With the credentials: what one key is answered is not another one's.
    parts = [request.url, headers, body]
    return sha256(msgspec.json.encode(parts, order="deterministic")).hexdigest()


def _keepable(response: WholeResponse) -> bool:
    """Whether an answer is whole and sound."""
    if response.status != 200:
        return False
    try:
        answer = msgspec.json.decode(response.body)
    except ValueError:
        return False
    if not isinstance(answer, dict) or answer.get("error"):
        return False
    choices = answer.get("choices")
    if isinstance(choices, list) and choices:
        return all(_is_sound(choice) for choice in choices)
    return bool(answer.get("data"))


def _is_sound(choice: Any) -> bool:
    return isinstance(choice, dict) and choice.get("finish_reason") in _SOUND_ENDS


def _whole_stream(body: bytes) -> bool:
    """Whether the events of a stream are all there, and tell of no trouble."""
    events = [line[5:].strip() for line in body.splitlines() if line.startswith(b"data:")]
    if not events or events.pop() != _DONE:
        return False
    ends: list[Any] = []
    for event in events:
        try:
            chunk = msgspec.json.decode(event)
        except ValueError:
            return False
        if not isinstance(chunk, dict) or chunk.get("error"):
            return False
        choices = [choice for choice in chunk.get("choices") or () if isinstance(choice, dict)]
        ends += [choice for choice in choices if choice.get("finish_reason")]
    return bool(ends) and all(_is_sound(choice) for choice in ends)


def _kept(headers: Mapping[str, str], body: bytes) -> bytes:
    return _encode(_Kept(headers.get("content-type", ""), body))


def _recalled(kept: bytes | None) -> WholeResponse | None:
    """The answer that was kept; None where there is none, or none that can be read."""
    if kept is None:
        return None
    try:
        found = _decode(kept)
    except ValueError:
        return None
    return WholeResponse(200, {"content-type": found.kind, CACHE_HEADER: "hit"}, found.body)


class _Recording:
    """The body of a stream as it comes, to be kept once it has come to its end."""

    def __init__(self, response: SyncResponse | AsyncResponse) -> None:
        self.headers = response.headers
        self._pieces: list[bytes] = []
        self._size = 0
        self._on = response.status == 200

    def add(self, piece: bytes) -> None:
        self._size += len(piece)
        if self._size > _KEPT_BYTES:
            self._on, self._pieces = False, []
        if self._on:
            self._pieces.append(piece)

    def ended(self) -> bytes | None:
        """What is to be kept, now that the body is at its end; None where nothing is."""
        body = b"".join(self._pieces)
        whole = self._on and _whole_stream(body)
        self._on = False
        return _kept(self.headers, body) if whole else None


class _Replay:
    """A stream that was kept: both a `SyncResponse` and the state of an `AsyncResponse`."""

    def __init__(self, answer: WholeResponse) -> None:
        self.status = answer.status
        self.headers = answer.headers
        self._body = answer.body

    def take(self) -> bytes:
        body, self._body = self._body, b""
        return body

    def receive(self) -> bytes:
        return self.take()

    def close(self) -> None:
        self._body = b""

    def abort(self) -> None:
        self._body = b""


class _AsyncReplay(_Replay):
    async def receive(self, timeout: float | None) -> bytes:  # type: ignore[override]
        return self.take()

    async def aclose(self) -> None:
        self.close()


class _Recorded:
    """See `SyncResponse`; it is kept once it is whole."""

    def __init__(self, response: SyncResponse, cache: Cache, key: str) -> None:
        self.status, self.headers = response.status, response.headers
        self._response, self._cache, self._key = response, cache, key
        self._recording = _Recording(response)

    def receive(self) -> bytes:
        piece = self._response.receive()
        if piece:
            self._recording.add(piece)
        elif kept := self._recording.ended():
            self._cache.put(self._key, kept)
        return piece

    def close(self) -> None:
        self._response.close()

    def abort(self) -> None:
        self._response.abort()


class _AsyncRecorded:
    """See `AsyncResponse`; it is kept once it is whole."""

    def __init__(self, response: AsyncResponse, cache: Cache, key: str) -> None:
        self.status, self.headers = response.status, response.headers
        self._response, self._cache, self._key = response, cache, key
        self._recording = _Recording(response)

    async def receive(self, timeout: float | None) -> bytes:
        piece = await self._response.receive(timeout)
        if piece:
            self._recording.add(piece)
        elif kept := self._recording.ended():
            await _put(self._cache, self._key, kept)
        return piece

    async def aclose(self) -> None:
        await self._response.aclose()

    def abort(self) -> None:
        self._response.abort()


class CachedTransport:
    """See `SyncTransport`."""

    def __init__(self, transport: SyncTransport, cache: Cache) -> None:
        self._transport = transport
        self._cache = cache

    def exchange(self, request: WireRequest) -> WholeResponse:
        key = cache_key(request)
        if key is None:
            return self._transport.exchange(request)
        if found := _recalled(self._cache.get(key)):
            return found
        response = self._transport.exchange(request)
        if _keepable(response):
            self._cache.put(key, _kept(response.headers, response.body))
        return response

    def open(self, request: WireRequest) -> SyncResponse:
        key = cache_key(request)
        if key is None:
            return self._transport.open(request)
        if found := _recalled(self._cache.get(key)):
            return _Replay(found)
        return _Recorded(self._transport.open(request), self._cache, key)

    def close(self) -> None:
        self._transport.close()


class AsyncCachedTransport:
    """See `AsyncTransport`. Files are read and written by a thread."""

    def __init__(self, transport: AsyncTransport, cache: Cache) -> None:
        self._transport = transport
        self._cache = cache

    async def exchange(self, request: WireRequest) -> WholeResponse:
        key = cache_key(request)
        if key is None:
            return await self._transport.exchange(request)
        if found := _recalled(await _get(self._cache, key)):
            return found
        response = await self._transport.exchange(request)
        if _keepable(response):
            await _put(self._cache, key, _kept(response.headers, response.body))
        return response

    async def open(self, request: WireRequest) -> AsyncResponse:
        key = cache_key(request)
        if key is None:
            return await self._transport.open(request)
        if found := _recalled(await _get(self._cache, key)):
            return _AsyncReplay(found)
        return _AsyncRecorded(await self._transport.open(request), self._cache, key)

    async def aclose(self) -> None:
        await self._transport.aclose()


async def _get(cache: Cache, key: str) -> bytes | None:
    if isinstance(cache, MemoryCache):
        return cache.get(key)
    return await to_thread.run_sync(cache.get, key)


async def _put(cache: Cache, key: str, kept: bytes) -> None:
    if isinstance(cache, MemoryCache):
        cache.put(key, kept)
    else:
        await to_thread.run_sync(cache.put, key, kept)
