"""Receives a request or socket; hands on whether the page that sent it may."""

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from litestar.enums import ScopeType
from litestar.types import ASGIApp, Receive, Scope, Send

from inferneo_core.errors import PermissionDenied
from inferneo_server.access.check import header, is_loopback
from inferneo_server.access.keys import Keys

# A browser sends these to any site without asking that, and a page cannot read what comes back.
_READING = frozenset({"GET", "HEAD", "OPTIONS"})


class OriginCheck:
    """A middleware that refuses pages of other origins, where no key tells them apart.

    Args:
        app: what answers those who pass.
        origins: who may.
        keys: whether requests must carry one.
    """

    def __init__(self, app: ASGIApp, *, origins: "Origins", keys: Keys) -> None:
        self._app = app
        self._origins = origins
        self._keys = keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # A page can make no browser send a key; sockets see to it themselves.
        if scope["type"] != ScopeType.WEBSOCKET and not self._keys.required:
            self._origins.check(scope, keyed=False)
        await self._app(scope, receive, send)


class Origins:
    """The origins whose pages may call.

    Args:
        host: the address that the server listens on.
        cors_origins: what the settings allow; `*` is any.
    """

    def __init__(self, host: str, cors_origins: Sequence[str]) -> None:
        self._local = is_loopback(host)
        self._allowed = frozenset(cors_origins)

    def check(self, scope: Any, *, keyed: bool) -> None:
        """Refuse a request of a page that may not send it; what is no browser names no origin.

        A page anywhere can have a browser send requests to this machine, and give the server a name
        of its own (DNS rebinding). So where no key is asked for, only pages of this machine may;
        else the server's own, and on a server that only its own machine can reach, those of that.

        Args:
            scope: the request's, or the socket's.
            keyed: whether requests must carry a key.

        Raises:
            PermissionDenied: it may not.
        """
        if scope.get("method") in _READING:
            return
        origin = header(scope, b"origin")
        if not origin or "*" in self._allowed or origin in self._allowed:
            return
        try:
            page = urlsplit(origin)
        except ValueError:
            page = urlsplit("")
        if keyed and page.netloc == header(scope, b"host"):
            return
        if self._local and is_loopback(page.hostname or ""):
            return
        raise PermissionDenied(
            "Pages of this origin may not call this server; `cors_origins` names those that may",
            code="origin_not_allowed",
        )
