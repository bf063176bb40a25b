"""Receives what proxies forward; hands it on with the address that it comes from, where the proxy
is one that the settings trust. Nobody else's word is believed."""

from collections.abc import Sequence
from ipaddress import ip_address
from typing import Any

from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from inferneo_server.access.settings import UNIX_PEER


class ForwardedAddress:
    """A middleware that takes a client's address from `X-Forwarded-For`.

    Where several proxies stand in a row, each adds the one before it, and the last that is not
    trusted is the client: what stands before that is what the client said itself. An address alone
    is taken, of which nobody can make another line of the log.

    Args:
        app: what answers.
        trusted: proxies, as addresses or networks; `unix` is who connects to a Unix socket.
    """

    def __init__(self, app: Any, trusted: Sequence[str]) -> None:
        self._app = app
        self._read_headers = ProxyHeadersMiddleware(self._hand_on, trusted_hosts=list(trusted))

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        # uvicorn gives those at a Unix socket no address.
        scope["client"] = scope.get("client") or (UNIX_PEER, 0)
        await self._read_headers(scope, receive, send)

    async def _hand_on(self, scope: Any, receive: Any, send: Any) -> None:
        if not _is_address(scope["client"][0]):
            scope["client"] = None
        await self._app(scope, receive, send)


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    # The zone of an address of IPv6 may be any text.
    return "%" not in host
