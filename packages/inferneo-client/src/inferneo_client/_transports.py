"""Receives a caller's choice of HTTP client, or none; hands on the transport that carries calls."""

import asyncio
import importlib.util
from functools import cache
from typing import Any, cast

from inferneo_client._transport import AsyncTransport, SyncTransport


@cache
def has_fast() -> bool:
    """Whether the extra `fast` is installed."""
    return importlib.util.find_spec("pyreqwest") is not None


def new_transport(base_url: str, client: Any) -> SyncTransport:
    """The transport of a sync client."""
    if client is not None and hasattr(client, "exchange"):
        return cast("SyncTransport", client)
    if client is None and has_fast():
        from inferneo_client.transports.pyreqwest import PyreqwestTransport

        return PyreqwestTransport()
    from inferneo_client.transports.httpx import HttpxTransport

    return HttpxTransport(base_url, client)


def new_async_transport(base_url: str, client: Any) -> AsyncTransport:
    """The transport of an async client, for the event loop that runs."""
    if client is not None and hasattr(client, "exchange"):
        return cast("AsyncTransport", client)
    if client is None and has_fast() and on_asyncio():
        from inferneo_client.transports.pyreqwest import AsyncPyreqwestTransport

        return AsyncPyreqwestTransport()
    from inferneo_client.transports.httpx import AsyncHttpxTransport

    return AsyncHttpxTransport(base_url, client)


def on_asyncio() -> bool:
    """Whether the running event loop is asyncio's: else it is trio's."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
