"""Receives every request; hands it on with an id, counts it and writes its log line."""

import logging
import random
import re
import time

from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from inferneo_server.access.check import logged_path, who
from inferneo_server.metrics import series

RAW_SEND = "inferneo_send"
"""Where a request's state keeps the server's own `send`, for the many messages after the first."""

CLIENT_CLOSED_REQUEST = 499  # nginx's, for a client that hung up before it had its answer

ACCESS_FIELDS = ("method", "path", "status", "milliseconds", "request_id", "client", "who")
"""What the values of a request's log line are, in their order."""

_SOUND_ID = re.compile(rb"[\x21-\x7e]{1,128}")

access_logger = logging.getLogger("inferneo_server.access")


class Telemetry:
    """An ASGI application around another: names, counts and logs what passes.

    Args:
        app: what answers.
        access_log: whether each request gets its line.
    """

    def __init__(self, app: ASGIApp, *, access_log: bool) -> None:
        self._app = app
        self._access_log = access_log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == ScopeType.WEBSOCKET:
            await self._serve_socket(scope, receive, send)
            return
        request_id = _request_id(scope)
        started = time.perf_counter()
        status = CLIENT_CLOSED_REQUEST

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                nonlocal status
                status = message["status"]
                message["headers"] = [*message["headers"], (b"x-request-id", request_id)]
            await send(message)

        scope.setdefault("state", {})[RAW_SEND] = send
        try:
            await self._app(scope, receive, send_with_id)
        finally:
            # It leads back to the scope: a circle, which only the collector would find.
            scope["state"].pop(RAW_SEND, None)
            self._record(scope, request_id, status, time.perf_counter() - started)

    async def _serve_socket(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = time.perf_counter()
        scope.setdefault("state", {})[RAW_SEND] = send
        try:
            await self._app(scope, receive, send)
        finally:
            scope["state"].pop(RAW_SEND, None)
            if self._access_log:
                # Without the query, which may hold a token.
                seconds = time.perf_counter() - started
                access_logger.info(
                    "WebSocket %s closed after %.1f s %s %s",
                    logged_path(scope),
                    seconds,
                    _client(scope),
                    who(scope),
                )

    def _record(self, scope: Scope, request_id: bytes, status: int, seconds: float) -> None:
        # Not the path itself, which anyone may choose: the labels must stay few.
        route = scope.get("path_template") or "unknown"
        method = scope["method"] if route != "unknown" else "any"  # type: ignore[typeddict-item]
        requests, request_seconds = series(route, method, status)
        requests.inc()
        request_seconds.observe(seconds)
        if self._access_log:
            access_logger.info(
                "%s %s %d %.1f ms %s %s %s",
                scope["method"],  # type: ignore[typeddict-item]
                logged_path(scope),
                status,
                round(seconds * 1000, 3),
                request_id.decode(),
                _client(scope),
                who(scope),
            )


def _client(scope: Scope) -> str:
    """The address that a request comes from; a proxy's, where that is not trusted to tell."""
    client = scope.get("client")
    return client[0] if client else "-"


def _request_id(scope: Scope) -> bytes:
    """The client's own id, where it is sound, else a new one."""
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _SOUND_ID.fullmatch(value):
            return value
    return b"req_%032x" % random.getrandbits(128)
