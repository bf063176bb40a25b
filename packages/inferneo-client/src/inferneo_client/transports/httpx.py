"""Receives requests; hands on answers by httpx, or by httpx2, which has the same interface.

The only module that imports httpx. Its transports are used directly: what `httpx.Client` does
beyond them (redirects, cookies, hooks) is not needed here and costs as much as the rest. A client
of the caller's own is used as a client.
"""

import contextlib
import ssl
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from functools import cache, lru_cache
from socket import SHUT_RDWR
from typing import Any, Self
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import anyio
import httpx

from inferneo_client._errors import ConnectionFailed, TimedOut
from inferneo_client._transport import AsyncResponse, SyncResponse, WholeResponse, WireRequest

_LIMITS = httpx.Limits(max_connections=1000, max_keepalive_connections=100)


def _library(client: Any, wanted: str) -> Any:
    """The module whose client that is: httpx or httpx2."""
    for kind in type(client).__mro__:
        root = kind.__module__.partition(".")[0]
        if root in ("httpx", "httpx2") and kind.__name__ == wanted:
            return sys.modules[root]
    raise TypeError(
        f"http_client takes a {wanted} of httpx or httpx2 here, not {type(client).__name__}"
    )


def _own(kind: Any, base_url: str) -> Any:
    """A transport for one host, through the proxy that the environment names for it."""
    address = urlsplit(base_url)
    proxies = {} if proxy_bypass(address.hostname or "") else getproxies()
    proxy = proxies.get(address.scheme) or proxies.get("all")
    # Loading the certificates takes a third of a client's start; without them TLS would fail.
    plain = address.scheme == "http" and not proxy
    verify = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT) if plain else httpx.create_ssl_context()
    return kind(verify=verify, limits=_LIMITS, proxy=proxy)


@lru_cache(maxsize=64)
def _url(url: str) -> httpx.URL:
    return httpx.URL(url)


def _timeouts(request: WireRequest, read: float | None) -> dict[str, float | None]:
    return {"connect": request.connect, "pool": request.pool, "read": read, "write": read}


def _failure(library: Any, error: Exception) -> ConnectionFailed:
    """Our error for one of the library's."""
    text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    if isinstance(error, library.ConnectTimeout):
        return TimedOut(f"No connection was made in time ({text})", phase="connect", sent=False)
    if isinstance(error, library.PoolTimeout):
        return TimedOut(f"No connection was free in time ({text})", phase="pool", sent=False)
    if isinstance(error, library.TimeoutException):
        return TimedOut(f"The server was silent for too long ({text})", phase="ttft")
    unsent = isinstance(error, library.ConnectError | library.UnsupportedProtocol)
    advice = "Is it running, and base_url right?" if unsent else "It may have seen the request."
    return ConnectionFailed(
        f"The connection to the server {'was not made' if unsent else 'broke'} ({text}). {advice}",
        sent=not unsent,
    )


class HttpxResponse:
    """See `SyncResponse`."""

    def __init__(self, library: Any, response: Any) -> None:
        self.status: int = response.status_code
        self.headers: Mapping[str, str] = dict(response.headers)
        self._library = library
        self._response = response
        self._pieces: Iterator[bytes] = _pieces(response)

    def receive(self) -> bytes:
        try:
            return next(self._pieces, b"")
        except self._library.HTTPError as error:
            raise _failure(self._library, error) from error
        except (self._library.StreamError, OSError, RuntimeError) as error:
            # Closed by another thread.
            raise ConnectionFailed(f"The connection was closed ({error})") from error

    def close(self) -> None:
        self._response.close()

    def abort(self) -> None:
        stream = self._response.extensions.get("network_stream")
        socket = stream and stream.get_extra_info("socket")
        if socket:
            with contextlib.suppress(OSError):
                socket.shutdown(SHUT_RDWR)


def _pieces(response: Any) -> Iterator[bytes]:
    if "content-encoding" in response.headers:
        return iter(response.iter_bytes())
    # Not `iter_raw`, which counts and measures what nobody here asks for.
    return iter(response.stream)


class HttpxTransport:
    """See `SyncTransport`."""

    def __init__(self, base_url: str, client: httpx.Client | None = None) -> None:
        self._client: Any = client
        self._library: Any = _library(client, "Client") if client is not None else httpx
        self._transport: Any = None if client else _own(httpx.HTTPTransport, base_url)

    def _send(self, request: WireRequest, read: float | None) -> Any:
        timeouts = _timeouts(request, read)
        try:
            if self._client is not None:
                return self._client.send(_theirs(self._client, request, timeouts), stream=True)
            return self._transport.handle_request(_ours(request, timeouts))
        except self._library.HTTPError as error:
            raise _failure(self._library, error) from error

    def exchange(self, request: WireRequest) -> WholeResponse:
        response = self._send(request, request.head)
        try:
            body = response.read()
        except self._library.HTTPError as error:
            raise _failure(self._library, error) from error
        finally:
            response.close()
        return WholeResponse(response.status_code, dict(response.headers), body)

    def open(self, request: WireRequest) -> SyncResponse:
        return HttpxResponse(self._library, self._send(request, request.silence))

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


def _ours(request: WireRequest, timeouts: dict[str, float | None]) -> httpx.Request:
    return httpx.Request(
        request.method,
        _url(request.url),
        headers=request.headers,
        content=request.content or None,
        extensions={"timeout": timeouts},
    )


def _theirs(client: Any, request: WireRequest, timeouts: dict[str, float | None]) -> Any:
    made = client.build_request(
        request.method,
        request.url,
        headers=request.headers,
        content=request.content or None,
    )
    made.extensions = {**made.extensions, "timeout": timeouts}
    return made


class _Once:
    """Gives a body in one piece; no async generator, which a broken connection would leave open."""

    def __init__(self, content: bytes) -> None:
        self._left = [content]

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if not self._left:
            raise StopAsyncIteration
        return self._left.pop()


@cache
def _body_of(library: Any) -> Any:
    """The class of request bodies, as a library knows its own."""

    class Body(library.AsyncByteStream):  # type: ignore[misc]
        def __init__(self, content: bytes) -> None:
            self._content = content

        def __aiter__(self) -> _Once:
            return _Once(self._content)

    return Body


def _with_body(library: Any, made: Any, content: bytes) -> Any:
    """A request with a body that is no async generator."""
    if content:
        made.stream = _body_of(library)(content)
    return made


class AsyncHttpxResponse:
    """See `AsyncResponse`."""

    def __init__(self, library: Any, response: Any) -> None:
        self.status: int = response.status_code
        self.headers: Mapping[str, str] = dict(response.headers)
        self._library = library
        self._response = response
        self._pieces: AsyncIterator[bytes] = _async_pieces(response)
        self._scope: anyio.CancelScope | None = None
        self._aborted = False

    async def receive(self, timeout: float | None) -> bytes:
        if self._aborted:
            raise ConnectionFailed("The stream was aborted")
        try:
            with anyio.move_on_after(timeout) as self._scope:
                return await anext(self._pieces, b"")
        except self._library.HTTPError as error:
            raise _failure(self._library, error) from error
        except (self._library.StreamError, RuntimeError) as error:
            raise ConnectionFailed(f"The connection was closed ({error})") from error
        if self._aborted:
            raise ConnectionFailed("The stream was aborted")
        raise TimedOut("The server was silent for too long", phase="idle")

    async def aclose(self) -> None:
        # Under a cancelled scope nothing could be awaited, and the connection would stay.
        with anyio.CancelScope(shield=True):
            await self._response.aclose()
            # The library's generators hold each other: an error in the innermost ends them all,
            # where the garbage collector would have to, some time later and perhaps with no loop.
            with contextlib.suppress(self._library.HTTPError, RuntimeError, StopAsyncIteration):
                while True:
                    await anext(self._pieces)

    def abort(self) -> None:
        self._aborted = True
        if self._scope is not None:
            self._scope.cancel()


def _async_pieces(response: Any) -> AsyncIterator[bytes]:
    pieces = (
        response.aiter_bytes()
        if "content-encoding" in response.headers
        else response.stream.__aiter__()
    )
    return pieces  # type: ignore[no-any-return]


class AsyncHttpxTransport:
    """See `AsyncTransport`."""

    def __init__(self, base_url: str, client: httpx.AsyncClient | None = None) -> None:
        self._client: Any = client
        self._library: Any = _library(client, "AsyncClient") if client is not None else httpx
        self._transport: Any = None if client else _own(httpx.AsyncHTTPTransport, base_url)

    async def _send(self, request: WireRequest, read: float | None) -> Any:
        timeouts = _timeouts(request, read)
        try:
            if self._client is not None:
                made = _theirs(self._client, request, timeouts)
                made = _with_body(self._library, made, request.content)
                return await self._client.send(made, stream=True)
            made = _with_body(httpx, _ours(request, timeouts), request.content)
            return await self._transport.handle_async_request(made)
        except self._library.HTTPError as error:
            raise _failure(self._library, error) from error

    async def exchange(self, request: WireRequest) -> WholeResponse:
        response = await self._send(request, request.head)
        try:
            body = await response.aread()
        except self._library.HTTPError as error:
            raise _failure(self._library, error) from error
        finally:
            with anyio.CancelScope(shield=True):
                await response.aclose()
        return WholeResponse(response.status_code, dict(response.headers), body)

    async def open(self, request: WireRequest) -> AsyncResponse:
        return AsyncHttpxResponse(self._library, await self._send(request, request.silence))

    async def aclose(self) -> None:
        if self._transport is not None:
            await self._transport.aclose()
