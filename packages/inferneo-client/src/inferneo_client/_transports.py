"""Receives a caller's choice of HTTP client, or none; hands on the transport that carries calls."""

import importlib.util
import os
import sys
from functools import cache
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

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
    if client is None:
        return plain_transport(base_url)
    from inferneo_client.transports.httpx import HttpxTransport

    return HttpxTransport(client)


def plain_transport(base_url: str) -> SyncTransport:
    """The transport that has Python's own sockets, with or without the extra `fast`."""
    if proxy := proxy_of(base_url):
        from inferneo_client.transports.httpx import HttpxTransport

        return HttpxTransport(proxy=proxy)
    from inferneo_client.transports.httpcore import HttpcoreTransport

    return HttpcoreTransport(base_url)


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
    proxy = None if client is not None else proxy_of(base_url)
    if client is not None or proxy:
        from inferneo_client.transports.httpx import AsyncHttpxTransport

        return AsyncHttpxTransport(client, proxy)
    from inferneo_client.transports.httpcore import AsyncHttpcoreTransport

    return AsyncHttpcoreTransport(base_url)


def proxy_of(base_url: str) -> str | None:
    """The proxy that the environment or the system names for the way there, if any."""
    named = any(name.lower().endswith("_proxy") for name in os.environ)
    if not named and sys.platform not in ("darwin", "win32"):
        # The next line costs as much as all of the client's own modules.
        return None
    from urllib.request import getproxies, proxy_bypass

    address = urlsplit(base_url)
    if proxy_bypass(address.hostname or ""):
        return None
    proxies = getproxies()
    return proxies.get(address.scheme) or proxies.get("all")


def on_asyncio() -> bool:
    """Whether the running event loop is asyncio's: else it is trio's."""
    # Late: a sync client has no other need of it, and it takes its time to load.
    import asyncio

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
