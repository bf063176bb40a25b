"""The contract between the client and what carries its bytes: one request in, one answer out.

A transport raises `ConnectionFailed` and `TimedOut`, and nothing else of its own. `sent` is False
in them only where the server cannot have seen the request. A WebSocket's raises what the server
answered its handshake with, too.
"""

from collections.abc import Awaitable, Mapping
from typing import Protocol

from msgspec import Struct


class WireRequest(Struct, frozen=True, kw_only=True, gc=False):
    """A request as it goes out.

    Attributes:
        url: absolute.
        headers: by lower-case name.
        content: the body; empty where there is none.
        connect: seconds for a connection to be made; None waits for ever, here and below.
        pool: seconds for a connection to be free.
        head: seconds of silence until the answer's head, or until a whole answer.
        silence: seconds of silence between two pieces of a body, for transports that cannot bound
            each read by itself.
    """

    method: str
    url: str
    headers: dict[str, str]
    content: bytes = b""
    connect: float | None = None
    pool: float | None = None
    head: float | None = None
    silence: float | None = None


class WholeResponse(Struct, frozen=True, gc=False):
    """An answer with its whole body; headers by lower-case name."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class SyncResponse(Protocol):
    """An answer whose head has come, and whose body is still to be received."""

    status: int
    headers: Mapping[str, str]

    def receive(self) -> bytes:
        """Wait for the next piece of the body; empty at its end.

        Raises:
            ConnectionFailed: the connection broke, or `abort` was called.
            TimedOut: nothing came for too long.
        """
        ...

    def close(self) -> None:
        """Free the connection: for the next request where the body has ended, else for good."""
        ...

    def abort(self) -> None:
        """Break the connection from any thread; a `receive` that waits raises."""
        ...


class SyncTransport(Protocol):
    """Carries requests; safe to use from several threads."""

    def exchange(self, request: WireRequest) -> WholeResponse:
        """Send a request and wait for the whole answer."""
        ...

    def open(self, request: WireRequest) -> SyncResponse:
        """Send a request and wait for the answer's head."""
        ...

    def close(self) -> None:
        """Close all connections that are this transport's own."""
        ...


class AsyncResponse(Protocol):
    """See `SyncResponse`."""

    status: int
    headers: Mapping[str, str]

    def receive(self, timeout: float | None) -> Awaitable[bytes]:
        """Wait for the next piece of the body for so many seconds; empty at its end.

        Raises:
            ConnectionFailed: the connection broke, or `abort` was called.
            TimedOut: nothing came for too long.
        """
        ...

    async def aclose(self) -> None:
        """Free the connection: for the next request where the body has ended, else for good."""
        ...

    def abort(self) -> None:
        """Make a `receive` that waits in another task raise; `aclose` is still to be called."""
        ...


class AsyncTransport(Protocol):
    """See `SyncTransport`."""

    async def exchange(self, request: WireRequest) -> WholeResponse:
        """Send a request and wait for the whole answer."""
        ...

    async def open(self, request: WireRequest) -> AsyncResponse:
        """Send a request and wait for the answer's head."""
        ...

    async def aclose(self) -> None:
        """Close all connections that are this transport's own."""
        ...
