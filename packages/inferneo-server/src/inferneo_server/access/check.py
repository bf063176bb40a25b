"""Receives requests and sockets; hands on those whose credentials allow them. All else is refused:
every route denies by default.
"""

import base64
import binascii
from ipaddress import ip_address
from typing import Any
from urllib.parse import parse_qs

from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from inferneo_core.codec import encode
from inferneo_core.errors import (
    ApiError,
    AuthenticationFailed,
    NotFound,
    PermissionDenied,
    RequestError,
)
from inferneo_server.access.audit import audit
from inferneo_server.access.identity import ANYONE, Identity
from inferneo_server.access.keys import Keys

# What an operator's probes and a browser's first look need; all else asks for a key.
PUBLIC_PATHS = frozenset({"/", "/health", "/api/v1/health", "/ready", "/playground"})
PUBLIC_PREFIXES = ("/docs/assets/", "/playground/")
# A browser's EventSource and WebSocket send no header of the page's choice.
QUERY_TOKEN_PREFIX = "/v1/streams/"
# Anthropic's clients send the key in a header of its own.
API_KEY_PREFIX = "/v1/messages"

ANY_SCOPE = "any"
"""The scope that a handler names (`opt={"scope": ...}`) where each key may use it."""

_SUBPROTOCOL_PREFIX = "bearer."
_IDENTITY = "inferneo_identity"


class KeyCheck:
    """A middleware that lets those pass whose key allows it, and notes who they are.

    A handler names the scope that it needs (`opt={"scope": "admin"}`); one that names none needs
    `inference`. Not one of Litestar's guards, for each of which it copies the handler anew. A
    WebSocket without credentials passes: its session asks for them in the first frame.

    Args:
        app: what answers those who pass.
        keys: the keys that are let in.
        operator_port: the port where an operator's paths ask for no key, and there are no others.
    """

    def __init__(self, app: ASGIApp, *, keys: Keys, operator_port: int | None = None) -> None:
        self._app = app
        self._keys = keys
        self._operator_port = operator_port

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._operator_port is not None and _port(scope) == self._operator_port:
            if scope["type"] == ScopeType.WEBSOCKET:
                await deny_socket(send, NotFound("There are no sockets at this port"))
                return
            if not is_operators(scope["path"]):
                raise NotFound(f"There is nothing at {scope['path']} of this port")
            scope["state"][_IDENTITY] = ANYONE
            await self._app(scope, receive, send)
            return
        needed = needed_scope(scope)
        if scope["type"] == ScopeType.WEBSOCKET:
            try:
                identity = await self._socket_identity(scope)
                scope["state"][_IDENTITY] = identity
                if identity is not None:
                    check_scope(identity, needed)
            except RequestError as error:
                await deny_socket(send, error)
                return
            await self._app(scope, receive, send)
            return
        if is_public(scope["path"]):
            scope["state"][_IDENTITY] = ANYONE
            await self._app(scope, receive, send)
            return
        scope["state"][_IDENTITY] = identity = await self._request_identity(scope)
        if needed != "admin" or not scope["route_handler"].opt.get("audit", True):
            check_scope(identity, needed)
            await self._app(scope, receive, send)
            return
        try:
            check_scope(identity, needed)
        except PermissionDenied as error:
            audit(who(scope), _act(scope), str(error.status))
            raise
        await self._app(scope, receive, _audited(scope, send))

    async def _request_identity(self, scope: Scope) -> Identity:
        keys, path = self._keys, scope["path"]
        if not keys.required:
            return ANYONE
        if _is_page(path):
            return await self._reader(scope)
        if credential := bearer(scope):
            return await keys.identify(credential)
        if path.startswith(API_KEY_PREFIX) and (credential := header(scope, b"x-api-key")):
            return await keys.identify(credential)
        if path.startswith(QUERY_TOKEN_PREFIX) and (token := _query_token(scope)):
            return keys.token_identity(token)
        raise AuthenticationFailed("Give your key in the header 'Authorization: Bearer <key>'")

    async def _reader(self, scope: Scope) -> Identity:
        try:
            return await self._keys.identify(bearer(scope) or _password(scope))
        except AuthenticationFailed as error:
            # RFC 7617: the browser asks for a name and a password, and the latter is the key.
            error.headers["www-authenticate"] = 'Basic realm="Inferneo: the password is your key"'
            raise

    async def _socket_identity(self, scope: Any) -> Identity | None:
        keys = self._keys
        if not keys.required:
            return ANYONE
        if credential := bearer(scope):
            return await keys.identify(credential)
        for name in scope["subprotocols"]:
            if name.startswith(_SUBPROTOCOL_PREFIX):
                return await keys.identify(name.removeprefix(_SUBPROTOCOL_PREFIX))
        if token := _query_token(scope):
            return keys.token_identity(token)
        return None


def is_public(path: str) -> bool:
    """Whether a path asks for no key."""
    return (path.rstrip("/") or "/") in PUBLIC_PATHS or path.startswith(PUBLIC_PREFIXES)


def is_operators(path: str) -> bool:
    """Whether a path tells an operator of the server: it may have a port of its own."""
    return path in ("/metrics", "/health", "/ready") or _is_page(path)


def _port(scope: Scope) -> int | None:
    # Where the connection came in, by the system; not what the request says of it.
    server = scope.get("server")
    return server[1] if server else None


def _is_page(path: str) -> bool:
    # A browser that opens the documentation asks its user for a password, and sends nothing else.
    return path.startswith("/docs/") or path in ("/docs", "/openapi.json")


def needed_scope(scope: Scope) -> str:
    """The scope that the route of a request or socket asks for."""
    if _is_page(scope["path"]):
        return ANY_SCOPE
    handler = scope.get("route_handler")
    return str(handler.opt.get("scope", "inference")) if handler else "inference"


def check_scope(identity: Identity, needed: str) -> None:
    """Refuse who may not do what a route does.

    Raises:
        PermissionDenied: they have not the scope.
    """
    if needed not in identity.scopes and needed != ANY_SCOPE:
        raise PermissionDenied(f"Your key has not the scope '{needed}', which this route needs")


def who(scope: Scope) -> str:
    """Who sent a request, for a log line: an id and a name, never a secret."""
    identity: Identity | None = scope.get("state", {}).get(_IDENTITY)
    if identity is None or not identity.owner:
        return "-"
    return f"{identity.owner}/{identity.name}" if identity.name else identity.owner


def logged_path(scope: Any) -> str:
    """The path as it was sent, without the query: decoded, it could break a line of the log."""
    raw: bytes = scope.get("raw_path") or scope["path"].encode()
    return raw.partition(b"?")[0].decode("latin-1")


def _act(scope: Any) -> str:
    return f"{scope['method']} {logged_path(scope)}"


def _audited(scope: Scope, send: Send) -> Send:
    async def send_and_tell(message: Message) -> None:
        if message["type"] == "http.response.start":
            audit(who(scope), _act(scope), str(message["status"]))
        await send(message)

    return send_and_tell


def identity_of(scope: Scope) -> Identity:
    """Who sent a request that has passed the check.

    Raises:
        AuthenticationFailed: a socket has not yet said.
    """
    identity: Identity | None = scope["state"].get(_IDENTITY)
    if identity is None:
        raise AuthenticationFailed("The socket carried no credentials")
    return identity


def note_identity(scope: Scope, identity: Identity) -> None:
    """Note who sent a socket, once that is known."""
    scope["state"][_IDENTITY] = identity


def owner_of(scope: Scope) -> str:
    """The id of who sent a request that has passed the check."""
    return identity_of(scope).owner


async def deny_socket(send: Any, error: ApiError) -> None:
    """Refuse a WebSocket by an HTTP answer, before it is opened."""
    headers = {"content-type": "application/json", **error.headers}
    await send(
        {
            "type": "websocket.http.response.start",
            "status": error.status,
            "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        }
    )
    await send({"type": "websocket.http.response.body", "body": encode(error.body())})


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server that listens on this address."""
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def header(scope: Scope, name: bytes) -> str:
    """A header of a request or socket, or nothing."""
    found = next((value for key, value in scope["headers"] if key == name), b"")
    return found.decode("latin-1")


def bearer(scope: Scope) -> str:
    """The credential of the `Authorization` header, or nothing."""
    scheme, _, token = header(scope, b"authorization").partition(" ")
    # A key is text, a header is bytes; what is no UTF-8 is encoded again as it was.
    text = token.encode("latin-1").decode(errors="surrogateescape")
    return text if scheme.lower() == "bearer" else ""


def _password(scope: Scope) -> str:
    """The password of Basic authentication, or nothing."""
    scheme, _, given = header(scope, b"authorization").partition(" ")
    try:
        decoded = base64.b64decode(given, validate=True) if scheme.lower() == "basic" else b""
    except binascii.Error:
        return ""
    return decoded.partition(b":")[2].decode(errors="surrogateescape")


def _query_token(scope: Scope) -> str:
    query = scope["query_string"]
    return parse_qs(query.decode("latin-1")).get("token", [""])[0] if query else ""
