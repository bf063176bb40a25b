"""Receives requests by HEAD; hands them on as GET, whose answers go without their bodies.

Load balancers and monitors probe by HEAD, whatever route they are given.
"""

from typing import Any

from litestar.enums import ScopeType
from litestar.types import ASGIApp, Receive, Send

# What may be written for minutes, to nobody.
_STREAMS = ("/v1/streams", "/v1/responses")


def takes_head(path: str) -> bool:
    """Whether HEAD may be asked wherever GET may."""
    return not path.startswith(_STREAMS)


class HeadAsGet:
    """An ASGI application around another. The server, which keeps its own note of the method, sends
    no body.

    Args:
        app: what answers.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        if (
            scope["type"] != ScopeType.HTTP
            or scope["method"] != "HEAD"
            or not takes_head(scope["path"])
        ):
            await self._app(scope, receive, send)
            return
        asked: Any = {**scope, "method": "GET"}
        try:
            await self._app(asked, receive, send)
        finally:
            # For the metrics of the request.
            if "path_template" in asked:
                scope["path_template"] = asked["path_template"]
