"""Receives a caller's choice of HTTP client, or none; hands on the transport that carries calls."""

import importlib.util
from functools import cache
from typing import TYPE_CHECKING, Any, cast

from inferneo_client._transport import AsyncTransport, SyncTransport

if TYPE_CHECKING:
    from inferneo_client._cache import Cache


@cache
def has_fast() -> bool:
    """Whether the extra `fast` is installed."""
    return importlib.util.find_spec("pyreqwest") is not None


def new_transport(base_url: str, client: Any, cache: "Cache | None" = None) -> SyncTransport:
    """The transport of a sync client, behind its cache where it has one."""
    transport = _transport(base_url, client)
    if cache is None:
        return transport
    from inferneo_client.transports.cached import CachedTransport

    return CachedTransport(transport, cache)


def _transport(base_url: str, client: Any) -> SyncTransport:
    if client is not None and hasattr(client, "exchange"):
        return cast("SyncTransport", client)
    if client is None and has_fast():
        from inferneo_client.transports.pyreqwest import PyreqwestTransport

        return PyreqwestTransport()
    from inferneo_client.transports.httpx import HttpxTransport

    return HttpxTransport(base_url, client)


def new_async_transport(base_url: str, client: Any, cache: "Cache | None" = None) -> AsyncTransport:
    """The transport of an async client, behind its cache where it has one."""
    transport = _async_transport(base_url, client)
    if cache is None:
        return transport
    from inferneo_client.transports.cached import AsyncCachedTransport

    return AsyncCachedTransport(transport, cache)


def _async_transport(base_url: str, client: Any) -> AsyncTransport:
    if client is not None and hasattr(client, "exchange"):
        return cast("AsyncTransport", client)
    if client is None and has_fast() and on_asyncio():
        from inferneo_client.transports.pyreqwest import AsyncPyreqwestTransport

        return AsyncPyreqwestTransport()
    from inferneo_client.transports.httpx import AsyncHttpxTransport

    return AsyncHttpxTransport(base_url, client)


def on_asyncio() -> bool:
    """Whether the running event loop is asyncio's: else it is trio's."""
    # Late: a sync client has no other need of it, and it takes its time to load.
    import asyncio

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
