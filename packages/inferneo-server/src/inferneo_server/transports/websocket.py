"""Receives WebSockets; hands each that may come in to a session of its own."""

import contextlib
from collections.abc import Callable
from functools import partial
from typing import Any

from litestar import WebSocket, websocket

from inferneo_core.codec import chat_request, completion_request
from inferneo_core.errors import AuthenticationFailed, PermissionDenied
from inferneo_server.access.check import (
    deny_socket,
    identity_of,
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
    try:
        state.origins.check(scope, keyed=keys.required)
    except PermissionDenied as error:
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


def _subprotocol(scope: Any) -> str | None:
    offered: list[str] = scope["subprotocols"]
    if SUBPROTOCOL in offered:
        return SUBPROTOCOL
    return offered[0] if offered else None


handlers: list[Any] = [chat_socket, completion_socket, response_socket]
