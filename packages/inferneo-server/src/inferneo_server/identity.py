"""Receives a request's credentials; lets it pass, or refuses: every route denies by default."""

import hmac
from ipaddress import ip_address

from litestar.types import ASGIApp, Receive, Scope, Send

from inferneo_core.errors import AuthenticationFailed

# What an operator's probes and a browser's first look need; all else asks for the key.
PUBLIC_PATHS = frozenset({"/", "/health", "/ready", "/docs", "/openapi.json"})
PUBLIC_PREFIX = "/docs/assets/"


class KeyCheck:
    """A middleware that compares the bearer token of a request with the server's key.

    Not one of Litestar's guards, for each of which it copies the handler anew.

    Args:
        app: what answers those who pass.
        key: what requests must carry; None lets everyone in.
    """

    def __init__(self, app: ASGIApp, *, key: str | None) -> None:
        self._app = app
        self._key = key.encode() if key else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.check(scope)
        await self._app(scope, receive, send)

    def check(self, scope: Scope) -> None:
        """Let a request pass.

        Raises:
            AuthenticationFailed: it carries no key, or a wrong one.
        """
        path = scope["path"].rstrip("/") or "/"
        if self._key is None or path in PUBLIC_PATHS or path.startswith(PUBLIC_PREFIX):
            return
        scheme, _, token = _header(scope, b"authorization").partition(b" ")
        if scheme.lower() != b"bearer" or not token:
            raise AuthenticationFailed("Give your key in the header 'Authorization: Bearer <key>'")
        if not hmac.compare_digest(token.strip(), self._key):
            raise AuthenticationFailed("Incorrect API key provided")


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server that listens on this address."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _header(scope: Scope, name: bytes) -> bytes:
    return next((value for key, value in scope["headers"] if key == name), b"")
