"""Receives requests; hands on answers by pyreqwest: HTTP outside of the interpreter's lock.

Chosen for the extra `fast` by measurement: docs/benchmarks-client.md. Its async side is asyncio's.
"""

import atexit
import contextlib
import time
from collections.abc import Mapping
from datetime import timedelta
from functools import cache
from threading import Lock
from typing import Any, Generic, TypeVar

from pyreqwest import exceptions
from pyreqwest.client import Client, ClientBuilder, SyncClient, SyncClientBuilder

from inferneo_client._errors import ConnectionFailed, TimedOut
from inferneo_client._transport import AsyncResponse, SyncResponse, WholeResponse, WireRequest
from inferneo_client.transports.waiting import AsyncioWait

K = TypeVar("K")

# The library bounds silence by client, not by request: a silence is rounded up to one of these
# seconds, so that the remains of total times do not each make a client.
_SILENCES = (0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 3600)


# The thread that told of the last answer may still be on its way back. Where it finds that Python
# has gone meanwhile, it aborts the process: https://github.com/python/cpython/issues/87135
_EXIT_SECONDS = 0.02


@cache
def _wait_at_exit() -> None:
    atexit.register(time.sleep, _EXIT_SECONDS)


def _is_unsent(error: Exception) -> bool:
    """Whether no connection was made. `ConnectError` alone also tells of one that broke later."""
    details = getattr(error, "details", None) or {}
    causes = details.get("causes") or ()
    return any(cause["message"] == "client error (Connect)" for cause in causes)


def _failure(error: Exception) -> ConnectionFailed:
    text = f"{type(error).__name__}: {error}"
    if isinstance(error, exceptions.PoolTimeoutError):
        return TimedOut(f"No connection was free in time ({text})", phase="pool", sent=False)
    if isinstance(error, TimeoutError) and _is_unsent(error):
        return TimedOut(f"No connection was made in time ({text})", phase="connect", sent=False)
    if isinstance(error, TimeoutError):
        return TimedOut(f"The server was silent for too long ({text})", phase="ttft")
    unsent = _is_unsent(error)
    advice = "Is it running, and base_url right?" if unsent else "It may have seen the request."
    return ConnectionFailed(
        f"The connection to the server {'was not made' if unsent else 'broke'} ({text}). {advice}",
        sent=not unsent,
    )


class _Clients(Generic[K]):
    """One client of the library for each set of waits; nearly always that is one."""

    def __init__(self, builder: Any) -> None:
        self._builder = builder
        self._made: dict[tuple[float | None, ...], K] = {}
        self._lock = Lock()

    def of(self, request: WireRequest) -> K:
        silence = request.silence and next((s for s in _SILENCES if s >= request.silence), None)
        key = (request.connect, request.pool, silence)
        found = self._made.get(key)
        if found is None:
            with self._lock:
                found = self._made.get(key) or self._made.setdefault(key, self._make(*key))
        return found

    def _make(self, connect: float | None, pool: float | None, silence: float | None) -> K:
        builder = self._builder().follow_redirects(False).max_connections(1000)
        if connect is not None:
            builder = builder.connect_timeout(timedelta(seconds=connect))
        if pool is not None:
            builder = builder.pool_timeout(timedelta(seconds=pool))
        if silence is not None:
            builder = builder.read_timeout(timedelta(seconds=silence))
        made: K = builder.build()
        return made

    def all(self) -> list[K]:
        made = list(self._made.values())
        self._made.clear()
        return made


def _built(client: Any, request: WireRequest) -> Any:
    builder = client.request(request.method, request.url).headers(request.headers)
    return builder.body_bytes(request.content) if request.content else builder


def _streamed(client: Any, request: WireRequest) -> Any:
    # With a buffer the head would wait until it is full.
    return _built(client, request).streamed_read_buffer_limit(0).build_streamed()


class PyreqwestResponse:
    """See `SyncResponse`."""

    def __init__(self, opened: Any, response: Any) -> None:
        self.status: int = response.status
        self.headers: Mapping[str, str] = dict(response.headers)
        self._opened = opened
        self._read = response.body_reader.read_chunk
        self._aborted = False

    def receive(self) -> bytes:
        try:
            data = bytes(self._read() or b"")
        except exceptions.PyreqwestError as error:
            raise _failure(error) from error
        if self._aborted:
            raise ConnectionFailed("The stream was aborted")
        return data

    def close(self) -> None:
        opened, self._opened = self._opened, None
        if opened is not None:
            with contextlib.suppress(exceptions.PyreqwestError):
                opened.__exit__(None, None, None)

    def abort(self) -> None:
        # The library has no way to wake its reader: that notices with the next piece, which our
        # server sends at once when it is told of the cancellation.
        self._aborted = True


class PyreqwestTransport:
    """See `SyncTransport`."""

    def __init__(self) -> None:
        self._clients: _Clients[SyncClient] = _Clients(SyncClientBuilder)

    def exchange(self, request: WireRequest) -> WholeResponse:
        builder = _built(self._clients.of(request), request)
        if request.head is not None:
            builder = builder.timeout(timedelta(seconds=request.head))
        try:
            response = builder.build().send()
            return WholeResponse(response.status, dict(response.headers), bytes(response.bytes()))
        except exceptions.PyreqwestError as error:
            raise _failure(error) from error

    def open(self, request: WireRequest) -> SyncResponse:
        opened = _streamed(self._clients.of(request), request)
        try:
            return PyreqwestResponse(opened, opened.__enter__())
        except exceptions.PyreqwestError as error:
            raise _failure(error) from error

    def close(self) -> None:
        for client in self._clients.all():
            client.close()


class _Errors:
    """See `Errors` of the waits."""

    kinds: tuple[type[Exception], ...] = (exceptions.PyreqwestError,)

    def ours(self, error: Exception) -> ConnectionFailed:
        return _failure(error)


_ERRORS = _Errors()


class AsyncPyreqwestResponse:
    """See `AsyncResponse`."""

    def __init__(self, opened: Any, response: Any, wait: AsyncioWait) -> None:
        self.status: int = response.status
        self.headers: Mapping[str, str] = dict(response.headers)
        self._opened = opened
        self._read = response.body_reader.read_chunk
        self._wait = wait

    async def receive(self, timeout: float | None) -> bytes:
        return bytes(await self._wait.of(self._read, timeout) or b"")

    async def aclose(self) -> None:
        self._wait.close()
        opened, self._opened = self._opened, None
        if opened is not None:
            with contextlib.suppress(exceptions.PyreqwestError):
                await opened.__aexit__(None, None, None)

    def abort(self) -> None:
        self._wait.abort()


class AsyncPyreqwestTransport:
    """See `AsyncTransport`."""

    def __init__(self) -> None:
        self._clients: _Clients[Client] = _Clients(ClientBuilder)
        _wait_at_exit()

    async def exchange(self, request: WireRequest) -> WholeResponse:
        builder = _built(self._clients.of(request), request)
        if request.head is not None:
            builder = builder.timeout(timedelta(seconds=request.head))
        wait = AsyncioWait(_ERRORS)
        response: Any = await wait.of(builder.build().send, None)
        body = bytes(await wait.of(response.bytes, None))
        return WholeResponse(response.status, dict(response.headers), body)

    async def open(self, request: WireRequest) -> AsyncResponse:
        opened = _streamed(self._clients.of(request), request)
        wait = AsyncioWait(_ERRORS)
        return AsyncPyreqwestResponse(opened, await wait.of(opened.__aenter__, None), wait)

    async def aclose(self) -> None:
        for client in self._clients.all():
            await client.close()
