"""Receives requests; hands on answers by httpcore: the connections beneath httpx, without the rest.

Where the client makes its own connections and the extra `fast` is not there. To load httpx, and to
turn each request and answer into objects of its own, would cost more than to send them.
"""

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

import httpcore

from inferneo_client._transport import AsyncResponse, SyncResponse, WholeResponse, WireRequest
from inferneo_client.transports.pieces import (
    AsyncOpenAnswer,
    LibraryErrors,
    Once,
    OpenAnswer,
    timeouts,
)

# Idle connections are kept for as many seconds as httpx keeps them.
_LIMITS = {"max_connections": 1000, "max_keepalive_connections": 100, "keepalive_expiry": 5.0}
_PORTS = {b"http": 80, b"https": 443}
_HAS_BODY = ("POST", "PUT", "PATCH")
_VISIBLE = re.compile(r"[!-~]*")
_ERRORS = LibraryErrors(httpcore)


def _pool(kind: Any, base_url: str) -> Any:
    """Connections to one host."""
    certificates = None
    if urlsplit(base_url).scheme == "https":
        from inferneo_client.transports.httpx import certificates_of_environment

        certificates = certificates_of_environment()
    return kind(ssl_context=certificates, **_LIMITS)


@lru_cache(maxsize=64)
def _address(url: str) -> tuple[httpcore.URL, str]:
    """Where a URL leads, and what it calls the host."""
    if not _VISIBLE.fullmatch(url):
        from inferneo_client.transports.httpx import visible_url

        url = visible_url(url)
    address = httpcore.URL(url)
    host = address.host.decode()
    if ":" in host:
        host = f"[{host}]"
    if address.port not in (None, _PORTS.get(address.scheme)):
        host += f":{address.port}"
    return address, host


def _request(request: WireRequest, read: float | None, content: Any) -> httpcore.Request:
    address, host = _address(request.url)
    headers = {"host": host, **request.headers}
    if request.content or request.method in _HAS_BODY:
        headers["content-length"] = str(len(request.content))
    return httpcore.Request(
        request.method,
        address,
        headers=[(name.encode(), value.encode("latin-1")) for name, value in headers.items()],
        content=content,
        extensions={"timeout": timeouts(request, read)},
    )


def _headers(pairs: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    headers: dict[str, str] = {}
    for name, value in pairs:
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        headers[key] = f"{headers[key]}, {text}" if key in headers else text
    return headers


class HttpcoreTransport:
    """See `SyncTransport`."""

    def __init__(self, base_url: str) -> None:
        self._pool = _pool(httpcore.ConnectionPool, base_url)

    def _send(self, request: WireRequest, read: float | None) -> OpenAnswer:
        made = _request(request, read, request.content)
        try:
            response = self._pool.handle_request(made)
        except _ERRORS.own as error:
            raise _ERRORS.ours(error) from error
        headers = _headers(response.headers)
        pieces, errors = iter(response.stream), _ERRORS
        if "content-encoding" in headers:
            from inferneo_client.transports.httpx import decoding

            decoded, undecodable = decoding(headers, response.stream)
            pieces, errors = decoded.iter_bytes(), LibraryErrors(httpcore, undecodable)
        return OpenAnswer(response, response.status, headers, pieces, errors)

    def exchange(self, request: WireRequest) -> WholeResponse:
        return self._send(request, request.head).whole()

    def open(self, request: WireRequest) -> SyncResponse:
        return self._send(request, request.silence)

    def close(self) -> None:
        self._pool.close()


class _Body:
    """A request's body."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def __aiter__(self) -> Once:
        return Once(self._content)


class AsyncHttpcoreTransport:
    """See `AsyncTransport`."""

    def __init__(self, base_url: str) -> None:
        self._pool = _pool(httpcore.AsyncConnectionPool, base_url)

    async def _send(self, request: WireRequest, read: float | None) -> AsyncOpenAnswer:
        made = _request(request, read, _Body(request.content))
        try:
            response = await self._pool.handle_async_request(made)
        except _ERRORS.own as error:
            raise _ERRORS.ours(error) from error
        headers = _headers(response.headers)
        pieces, errors = response.stream.__aiter__(), _ERRORS
        if "content-encoding" in headers:
            from inferneo_client.transports.httpx import decoding

            decoded, undecodable = decoding(headers, response.stream)
            pieces, errors = decoded.aiter_bytes(), LibraryErrors(httpcore, undecodable)
        return AsyncOpenAnswer(response, response.status, headers, pieces, errors)

    async def exchange(self, request: WireRequest) -> WholeResponse:
        return await (await self._send(request, request.head)).whole()

    async def open(self, request: WireRequest) -> AsyncResponse:
        return await self._send(request, request.silence)

    async def aclose(self) -> None:
        await self._pool.aclose()
