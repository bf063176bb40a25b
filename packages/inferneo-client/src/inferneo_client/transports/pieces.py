"""Receives an open answer of httpx or of httpcore, which are alike; hands on its body in pieces."""

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from functools import partial
from socket import SHUT_RDWR
from typing import Any, Self

import anyio

from inferneo_client._errors import ConnectionFailed, TimedOut
from inferneo_client._transport import WholeResponse, WireRequest

# httpcore has no one class that all its errors are of.
_WITHOUT_ROOT = (
    "TimeoutException",
    "NetworkError",
    "ProtocolError",
    "ProxyError",
    "UnsupportedProtocol",
)


class LibraryErrors:
    """What httpx, httpx2 or httpcore raises, and our errors for it.

    Attributes:
        own: what a request may raise, and `more`.
        kinds: and what an open answer may raise: a RuntimeError where it was closed.
    """

    def __init__(self, library: Any, *more: type[Exception]) -> None:
        self._library = library
        names = ("HTTPError",) if hasattr(library, "HTTPError") else _WITHOUT_ROOT
        self.own: tuple[type[Exception], ...] = (*(getattr(library, n) for n in names), *more)
        self.kinds: tuple[type[Exception], ...] = (*self.own, RuntimeError)

    def ours(self, error: Exception) -> ConnectionFailed:
        """Our error for one of the library's."""
        library = self._library
        text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        if not isinstance(error, self.own):
            return ConnectionFailed(f"The connection was closed ({error})")
        if isinstance(error, library.ConnectTimeout):
            return TimedOut(f"No connection was made in time ({text})", phase="connect", sent=False)
        if isinstance(error, library.PoolTimeout):
            return TimedOut(f"No connection was free in time ({text})", phase="pool", sent=False)
        if isinstance(error, library.TimeoutException):
            return TimedOut(f"The server was silent for too long ({text})", phase="ttft")
        unsent = isinstance(error, library.ConnectError | library.UnsupportedProtocol)
        advice = "Is it running, and base_url right?" if unsent else "It may have seen the request."
        made = "was not made" if unsent else "broke"
        return ConnectionFailed(
            f"The connection to the server {made} ({text}). {advice}", sent=not unsent
        )


class OpenAnswer:
    """See `SyncResponse`."""

    def __init__(
        self,
        response: Any,
        status: int,
        headers: Mapping[str, str],
        pieces: Iterator[bytes],
        errors: LibraryErrors,
    ) -> None:
        self.status: int = status
        self.headers: Mapping[str, str] = headers
        self._response = response
        self._pieces = pieces
        self._errors = errors
        # An OSError where another thread has closed what this one reads.
        self._kinds: tuple[type[Exception], ...] = (*errors.kinds, OSError)

    def receive(self) -> bytes:
        try:
            return next(self._pieces, b"")
        except self._kinds as error:
            raise self._errors.ours(error) from error

    def close(self) -> None:
        self._response.close()

    def abort(self) -> None:
        stream = self._response.extensions.get("network_stream")
        socket = stream and stream.get_extra_info("socket")
        if socket:
            with contextlib.suppress(OSError):
                socket.shutdown(SHUT_RDWR)

    def whole(self) -> WholeResponse:
        """Receive all of it, and free the connection."""
        try:
            body = b"".join(self._pieces)
        except self._errors.own as error:
            raise self._errors.ours(error) from error
        finally:
            self.close()
        return WholeResponse(self.status, self.headers, body)


class AsyncOpenAnswer:
    """See `AsyncResponse`."""

    def __init__(
        self,
        response: Any,
        status: int,
        headers: Mapping[str, str],
        pieces: AsyncIterator[bytes],
        errors: LibraryErrors,
    ) -> None:
        # Late: a sync client has no use for an event loop, and asyncio takes its time to load.
        from inferneo_client.transports.waiting import new_wait

        self.status: int = status
        self.headers: Mapping[str, str] = headers
        self._response = response
        self._pieces = pieces
        self._errors = errors
        self._wait = new_wait(errors)
        self.receive: Callable[[float | None], Awaitable[bytes]] = partial(
            self._wait.of, pieces.__anext__
        )

    async def aclose(self) -> None:
        self._wait.close()
        # Under a cancelled scope nothing could be awaited, and the connection would stay.
        with anyio.CancelScope(shield=True):
            await self._response.aclose()
            # The library's generators hold each other: an error in the innermost ends them all,
            # where the garbage collector would have to, some time later and perhaps with no loop.
            with contextlib.suppress(*self._errors.own, RuntimeError, StopAsyncIteration):
                while True:
                    await anext(self._pieces)

    def abort(self) -> None:
        self._wait.abort()

    async def whole(self) -> WholeResponse:
        """Receive all of it, and free the connection."""
        try:
            body = b"".join([piece async for piece in self._pieces])
        except self._errors.own as error:
            raise self._errors.ours(error) from error
        finally:
            with anyio.CancelScope(shield=True):
                await self._response.aclose()
        return WholeResponse(self.status, self.headers, body)


class Once:
    """Gives a body in one piece; no async generator, which a broken connection would leave open."""

    def __init__(self, content: bytes) -> None:
        self._left = [content]

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if not self._left:
            raise StopAsyncIteration
        return self._left.pop()


def timeouts(request: WireRequest, read: float | None) -> dict[str, float | None]:
    """The waits of a request, as these libraries name them."""
    return {"connect": request.connect, "pool": request.pool, "read": read, "write": read}
