"""Receives a request's credentials; hands on nothing, or refuses: every route denies by default."""

import hmac
from ipaddress import ip_address
from typing import Any

from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler

from inferneo_core.errors import AuthenticationFailed

# What an operator's probes and a browser's first look need; all else asks for the key.
PUBLIC_PATHS = frozenset({"/", "/health", "/ready", "/docs", "/openapi.json"})
PUBLIC_PREFIX = "/docs/assets/"


class KeyGuard:
    """A guard of the whole application: compares the bearer token of a request with the key.

    Args:
        key: what requests must carry; None lets everyone in.
    """

    def __init__(self, key: str | None) -> None:
        self._key = key.encode() if key else None

    def __call__(
        self, connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler
    ) -> None:
        """Let a request pass.

        Raises:
            AuthenticationFailed: it carries no key, or a wrong one.
        """
        path = connection.scope["path"]
        if self._key is None or path in PUBLIC_PATHS or path.startswith(PUBLIC_PREFIX):
            return
        scheme, _, token = connection.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise AuthenticationFailed("Give your key in the header 'Authorization: Bearer <key>'")
        if not hmac.compare_digest(token.strip().encode(), self._key):
            raise AuthenticationFailed("Incorrect API key provided")


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server that listens on this address."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"

