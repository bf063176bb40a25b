"""Receives requests of limited callers; hands on their answers with headers that tell what is left.

What a generation or a refusal knows better stands in its answer already, and is let be.
"""

from ipaddress import IPv6Address, ip_address
from typing import Any

import msgspec
from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from inferneo_core.limits import LimitsLeft, limit_headers
from inferneo_server.access.check import note_identity
from inferneo_server.access.identity import Identity, Limits
from inferneo_server.limits.limiter import Limiter

_MARKS = (b"x-ratelimit-limit-requests", b"x-ratelimit-limit-tokens")


class LimitHeaders:
    """A middleware, behind the check of keys.

    Args:
        app: what answers.
        limiter: the limits.
        anonymous: what those may use, each by its address, who come without a key; None is all.
    """

    def __init__(self, app: ASGIApp, *, limiter: Limiter, anonymous: Limits | None) -> None:
        self._app = app
        self._limiter = limiter
        self._anonymous = anonymous

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        identity: Identity | None = scope["state"].get("inferneo_identity")
        if identity is None:
            # A socket that has yet to say who it is.
            await self._app(scope, receive, send)
            return
        if self._anonymous is not None and not identity.owner and identity.limits is None:
            identity = msgspec.structs.replace(
                identity, limits=self._anonymous, counted_as=_address(scope)
            )
            note_identity(scope, identity)
        if scope["type"] == ScopeType.HTTP and self._limiter.limits_of(identity) is not None:
            send = self._telling(identity, send)
        await self._app(scope, receive, send)

    def _telling(self, identity: Identity, send: Send) -> Send:
        async def tell(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = list(message["headers"])
                if not any(name in _MARKS for name, _ in headers):
                    headers += header_pairs(await self._limiter.look(identity))
                    message["headers"] = headers
            await send(message)

        return tell


def header_pairs(left: LimitsLeft | None) -> list[tuple[bytes, bytes]]:
    """What is left, as an answer's headers tell it."""
    if left is None:
        return []
    return [(name.encode(), value.encode()) for name, value in limit_headers(left).items()]


def _address(scope: Any) -> str:
    """Where a request comes from: of IPv6, of which everyone has many addresses, the network."""
    client = scope.get("client")
    if not client:
        return "address unknown"
    try:
        address = ip_address(client[0])
    except ValueError:
        return f"address {client[0]}"
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped:
            return f"address {address.ipv4_mapped}"
        return f"address {IPv6Address(int(address) >> 64 << 64)}/64"
    return f"address {address}"
