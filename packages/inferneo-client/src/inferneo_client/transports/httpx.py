"""Receives requests; hands on answers by httpx, or by httpx2, which has the same interface.

For a client of the caller's own, and for connections through a proxy. Without a client the
library's transports are used directly: what `httpx.Client` does beyond them (redirects, cookies,
hooks) is not needed here and costs as much as the rest.
"""

import ssl
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from functools import cache, lru_cache
from typing import Any

import httpx

from inferneo_client._transport import AsyncResponse, SyncResponse, WholeResponse, WireRequest
from inferneo_client.transports.pieces import (
    AsyncOpenAnswer,
    LibraryErrors,
    Once,
    OpenAnswer,
    timeouts,
)

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


def _own(kind: Any, proxy: str | None) -> Any:
    """A transport of the library itself."""
    return kind(verify=certificates_of_environment(), limits=_LIMITS, proxy=proxy)


@lru_cache(maxsize=64)
def _url(url: str) -> httpx.URL:
    return httpx.URL(url)


def certificates_of_environment() -> ssl.SSLContext:
    """Whom to trust, as the variables of the environment say, else the certificates of certifi."""
    return httpx.create_ssl_context()


def visible_url(url: str) -> str:
    """A URL whose characters beyond ASCII are escaped."""
    return str(httpx.URL(url))


def decoding(headers: Mapping[str, str], stream: Any) -> tuple[httpx.Response, type[Exception]]:
    """The answer of a server that compresses what nobody asked it to, and the error of a body that
    cannot be decoded."""
    encoding = {"content-encoding": headers["content-encoding"]}
    return httpx.Response(200, headers=encoding, content=stream), httpx.DecodingError


def _opened(response: Any, errors: LibraryErrors) -> OpenAnswer:
    headers = dict(response.headers)
    return OpenAnswer(response, response.status_code, headers, _pieces(response), errors)


def _pieces(response: Any) -> Iterator[bytes]:
    if "content-encoding" in response.headers:
        return iter(response.iter_bytes())
    # Not `iter_raw`, which counts and measures what nobody here asks for.
    return iter(response.stream)


class HttpxTransport:
    """See `SyncTransport`."""

    def __init__(self, client: httpx.Client | None = None, proxy: str | None = None) -> None:
        self._client: Any = client
        self._errors = LibraryErrors(_library(client, "Client") if client is not None else httpx)
        self._transport: Any = None if client else _own(httpx.HTTPTransport, proxy)

    def _send(self, request: WireRequest, read: float | None) -> OpenAnswer:
        waits = timeouts(request, read)
        try:
            if self._client is not None:
                made = _theirs(self._client, request, waits)
                return _opened(self._client.send(made, stream=True), self._errors)
            return _opened(self._transport.handle_request(_ours(request, waits)), self._errors)
        except self._errors.own as error:
            raise self._errors.ours(error) from error

    def exchange(self, request: WireRequest) -> WholeResponse:
        return self._send(request, request.head).whole()

    def open(self, request: WireRequest) -> SyncResponse:
        return self._send(request, request.silence)

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


@cache
def _body_of(library: Any) -> Any:
    """The class of request bodies, as a library knows its own."""

    class Body(library.AsyncByteStream):  # type: ignore[misc]
        def __init__(self, content: bytes) -> None:
            self._content = content

        def __aiter__(self) -> Once:
            return Once(self._content)

    return Body


def _with_body(library: Any, made: Any, content: bytes) -> Any:
    """A request with a body that is no async generator."""
    if content:
        made.stream = _body_of(library)(content)
    return made


def _async_opened(response: Any, errors: LibraryErrors) -> AsyncOpenAnswer:
    headers = dict(response.headers)
    return AsyncOpenAnswer(response, response.status_code, headers, _async_pieces(response), errors)


def _async_pieces(response: Any) -> AsyncIterator[bytes]:
    pieces = (
        response.aiter_bytes()
        if "content-encoding" in response.headers
        else response.stream.__aiter__()
    )
    return pieces  # type: ignore[no-any-return]


class AsyncHttpxTransport:
    """See `AsyncTransport`."""

    def __init__(self, client: httpx.AsyncClient | None = None, proxy: str | None = None) -> None:
        self._client: Any = client
        self._library: Any = _library(client, "AsyncClient") if client is not None else httpx
        self._errors = LibraryErrors(self._library)
        self._transport: Any = None if client else _own(httpx.AsyncHTTPTransport, proxy)

    async def _send(self, request: WireRequest, read: float | None) -> AsyncOpenAnswer:
        waits = timeouts(request, read)
        try:
            if self._client is not None:
                made = _theirs(self._client, request, waits)
                made = _with_body(self._library, made, request.content)
                return _async_opened(await self._client.send(made, stream=True), self._errors)
            made = _with_body(httpx, _ours(request, waits), request.content)
            response = await self._transport.handle_async_request(made)
            return _async_opened(response, self._errors)
        except self._errors.own as error:
            raise self._errors.ours(error) from error

    async def exchange(self, request: WireRequest) -> WholeResponse:
        return await (await self._send(request, request.head)).whole()

    async def open(self, request: WireRequest) -> AsyncResponse:
        return await self._send(request, request.silence)

    async def aclose(self) -> None:
        if self._transport is not None:
            await self._transport.aclose()
