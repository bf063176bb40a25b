"""Receives credentials; hands on whose they are, or refuses: every route denies by default."""

import hashlib
import hmac
import secrets
import time
from collections.abc import Sequence
from ipaddress import ip_address
from typing import Any
from urllib.parse import parse_qs

import jwt
from litestar.enums import ScopeType
from litestar.types import ASGIApp, Receive, Scope, Send

from inferneo_core.codec import encode
from inferneo_core.errors import ApiError, AuthenticationFailed
from inferneo_server.access.identity import ANYONE, Identity

# What an operator's probes and a browser's first look need; all else asks for the key.
PUBLIC_PATHS = frozenset({"/", "/health", "/ready", "/docs", "/openapi.json", "/playground"})
PUBLIC_PREFIXES = ("/docs/assets/", "/playground/")
# A browser's EventSource and WebSocket send no header of the page's choice.
QUERY_TOKEN_PREFIX = "/v1/streams/"
# Anthropic's clients send the key in a header of its own.
API_KEY_PREFIX = "/v1/messages"

MAX_TOKEN_SECONDS = 3600
_AUDIENCE = "inferneo-browser"
_SUBPROTOCOL_PREFIX = "bearer."
_IDENTITY = "inferneo_identity"


class Keys:
    """The keys that are let in, and the short-lived tokens made from them.

    Args:
        keys: what requests may carry; none lets everyone in.
    """

    def __init__(self, keys: Sequence[str]) -> None:
        self._owners = {key.encode(): _owner(key) for key in keys}
        # From the keys where there are some: a token then outlives a restart, and serves replicas.
        seed = "\n".join(keys).encode() or secrets.token_bytes(32)
        self._secret = hmac.digest(seed, b"inferneo short-lived tokens", "sha256")

    @property
    def required(self) -> bool:
        """Whether a request must carry one."""
        return bool(self._owners)

    def owner(self, credential: str) -> str:
        """Whose key or token it is.

        Raises:
            AuthenticationFailed: nobody's.
        """
        owner = self.key_owner(credential)
        if owner is None and credential.count(".") == 2:
            return self.token_owner(credential)
        if owner is None:
            raise AuthenticationFailed("Incorrect API key provided")
        return owner

    def identity(self, credential: str) -> Identity:
        """Who carries a key or token.

        Raises:
            AuthenticationFailed: nobody's.
        """
        return Identity(owner=self.owner(credential))

    def key_owner(self, credential: str) -> str | None:
        """Whose key it is, if it is one and no token."""
        given, found = _bytes(credential), None
        for key, owner in self._owners.items():
            if hmac.compare_digest(given, key):
                found = owner
        return found

    def token_owner(self, token: str) -> str:
        """Whose short-lived token it is.

        Raises:
            AuthenticationFailed: it is none, or its time is over.
        """
        try:
            claims = jwt.decode(
                _bytes(token),
                self._secret,
                algorithms=["HS256"],
                audience=_AUDIENCE,
                options={"require": ["exp", "sub"]},
            )
        except jwt.ExpiredSignatureError:
            raise AuthenticationFailed("The token's time is over") from None
        except jwt.InvalidTokenError:
            raise AuthenticationFailed("The token is not a short-lived token of ours") from None
        return str(claims["sub"])

    def mint(self, owner: str, seconds: int) -> tuple[str, int]:
        """Make a token that counts as the owner's key for a while.

        Returns:
            The token, and when its time is over, in seconds since the epoch.
        """
        expires_at = int(time.time()) + seconds
        claims = {"sub": owner, "aud": _AUDIENCE, "exp": expires_at}
        return jwt.encode(claims, self._secret, "HS256"), expires_at


class KeyCheck:
    """A middleware that lets those pass who carry a key, and notes whose it is.

    Not one of Litestar's guards, for each of which it copies the handler anew. A WebSocket without
    credentials passes: its session asks for them in the first frame.

    Args:
        app: what answers those who pass.
        keys: the keys that are let in.
    """

    def __init__(self, app: ASGIApp, *, keys: Keys) -> None:
        self._app = app
        self._keys = keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.WEBSOCKET:
            self._note(scope, self._request_identity(scope))
        else:
            try:
                self._note(scope, self._socket_identity(scope))
            except AuthenticationFailed as error:
                await deny_socket(send, error)
                return
        await self._app(scope, receive, send)

    def _note(self, scope: Scope, identity: Identity | None) -> None:
        scope["state"][_IDENTITY] = identity

    def _request_identity(self, scope: Scope) -> Identity:
        path = scope["path"].rstrip("/") or "/"
        if not self._keys.required or path in PUBLIC_PATHS or path.startswith(PUBLIC_PREFIXES):
            return ANYONE
        if credential := bearer(scope):
            return self._keys.identity(credential)
        if path.startswith(API_KEY_PREFIX) and (credential := header(scope, b"x-api-key")):
            return self._keys.identity(credential)
        if path.startswith(QUERY_TOKEN_PREFIX) and (token := _query_token(scope)):
            return Identity(owner=self._keys.token_owner(token))
        raise AuthenticationFailed("Give your key in the header 'Authorization: Bearer <key>'")

    def _socket_identity(self, scope: Any) -> Identity | None:
        if not self._keys.required:
            return ANYONE
        if credential := bearer(scope):
            return self._keys.identity(credential)
        for name in scope["subprotocols"]:
            if name.startswith(_SUBPROTOCOL_PREFIX):
                return self._keys.identity(name.removeprefix(_SUBPROTOCOL_PREFIX))
        if token := _query_token(scope):
            return Identity(owner=self._keys.token_owner(token))
        return None


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
    """Have what follows take a request, or socket, for somebody's."""
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
    # A key is text, a header is bytes; what is no UTF-8 comes out of `_bytes` as it was.
    text = token.encode("latin-1").decode(errors="surrogateescape")
    return text if scheme.lower() == "bearer" else ""


def _query_token(scope: Scope) -> str:
    query = scope["query_string"]
    return parse_qs(query.decode("latin-1")).get("token", [""])[0] if query else ""


def _bytes(credential: str) -> bytes:
    return credential.strip().encode(errors="surrogateescape")


def _owner(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()[:16]
