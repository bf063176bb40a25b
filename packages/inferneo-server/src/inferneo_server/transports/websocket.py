"""Receives WebSockets; hands each that may come in to a session of its own."""

import contextlib
from collections.abc import Callable
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from litestar import WebSocket, websocket

from inferneo_core.codec import chat_request, completion_request
from inferneo_core.errors import AuthenticationFailed, PermissionDenied, RequestError
from inferneo_server.access.check import (
    deny_socket,
    header,
    identity_of,
    is_loopback,
    needed_scope,
    note_identity,
)
from inferneo_server.access.keys import Keys
from inferneo_server.answers.chat import ChatForm
from inferneo_server.answers.text import TextForm
from inferneo_server.settings import Settings
from inferneo_server.telemetry import RAW_SEND
from inferneo_server.transports.response_session import ResponseSession
from inferneo_server.transports.session import Disconnected, Session

# A browser that offers subprotocols must be given one: this, beside which its key may stand.
SUBPROTOCOL = "inferneo"

Socket = WebSocket[Any, Any, Any]


@websocket("/v1/chat/completions")
async def chat_socket(socket: Socket) -> None:
    """Answer conversations; see docs/protocol.md."""
    await _serve(socket, partial(Session, decoder=chat_request, form=ChatForm))


@websocket("/v1/completions")
async def completion_socket(socket: Socket) -> None:
    """Continue texts; see docs/protocol.md."""
    await _serve(socket, partial(Session, decoder=completion_request, form=TextForm))


@websocket("/v1/responses")
async def response_socket(socket: Socket) -> None:
    """Answer input items, as OpenAI's clients ask for it over a WebSocket."""
    responses = socket.app.state.responses
    await _serve(socket, partial(ResponseSession, responses=responses))


async def _serve(socket: Socket, make_session: Callable[..., Session]) -> None:
    scope, state = socket.scope, socket.app.state
    settings: Settings = state.settings
    keys: Keys = state.credentials
    send = scope["state"].get(RAW_SEND, socket.send)
    needed = needed_scope(scope)
    if not origin_allowed(scope, settings):
        error = RequestError(
            "Pages of this origin may not connect", code="origin_not_allowed", status=403
        )
        await deny_socket(send, error)
        return
    await socket.accept(subprotocols=_subprotocol(scope))
    session = make_session(socket.receive, send, state.service, settings)
    with contextlib.suppress(Disconnected, OSError):
        try:
            identity = identity_of(scope)
        except AuthenticationFailed:
            try:
                identity = await session.authenticate(keys, needed)
            except (AuthenticationFailed, PermissionDenied) as refusal:
                await session.refuse(refusal)
                return
            note_identity(scope, identity)
        await session.run(identity, keys, needed)


def origin_allowed(scope: Any, settings: Settings) -> bool:
    """Whether a page of this origin may connect; what is no browser sends none.

    Without `cors_origins` those are the server's own pages and, on a server that only its own
    machine can reach, those of that machine.
    """
    origin = header(scope, b"origin")
    if not origin or "*" in settings.cors_origins or origin in settings.cors_origins:
        return True
    try:
        page = urlsplit(origin)
    except ValueError:
        return False
    if page.netloc == header(scope, b"host"):
        return True
    return is_loopback(settings.host) and is_loopback(page.hostname or "")


def _subprotocol(scope: Any) -> str | None:
    offered: list[str] = scope["subprotocols"]
    if SUBPROTOCOL in offered:
        return SUBPROTOCOL
    return offered[0] if offered else None


handlers: list[Any] = [chat_socket, completion_socket, response_socket]
