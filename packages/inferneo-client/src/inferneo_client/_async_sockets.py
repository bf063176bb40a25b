"""Receives requests; hands on their answers over one WebSocket: the async flavour.

The only module, beside its sync twin, that imports websockets.
"""

from collections.abc import Callable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any

import anyio
import msgspec
from anyio.abc import TaskGroup, TaskStatus
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

from inferneo_client._errors import ConnectionFailed, TimedOut
from inferneo_client._frames import (
    Ask,
    Inbox,
    ask_of,
    decode_frame,
    encode_ask,
    encode_cancel,
    socket_url,
)
from inferneo_client._options import Options
from inferneo_client._transport import AsyncResponse, AsyncTransport, WholeResponse, WireRequest
from inferneo_client._transports import on_asyncio

if TYPE_CHECKING:
    from inferneo_client._async import AsyncInferneo

_CLOSE_SECONDS = 1.0


def _connect() -> Callable[..., Any]:
    """The library's client for the event loop that runs."""
    if on_asyncio():
        from websockets.asyncio.client import connect as connect_asyncio

        return connect_asyncio
    from websockets.trio.client import connect as connect_trio

    return connect_trio


class _Link:
    """One socket, and the requests on it."""

    def __init__(self, url: str, request: WireRequest) -> None:
        self._url = url
        self._headers = {
            name: value
            for name, value in request.headers.items()
            if name == "authorization" or name.startswith("x-")
        }
        self._timeout = request.connect
        self._socket: Any = None
        self._inboxes: dict[int, Inbox] = {}
        self._arrived: dict[int, anyio.Event] = {}
        self._last = 0
        # How many messages have come: a wait in which none does is that of a dead connection.
        self._heard = 0
        self._over = anyio.Event()
        self.broken = False

    async def run(self, *, task_status: TaskStatus[None]) -> None:
        """Connect, and deliver frames until the socket ends."""
        try:
            async with _connect()(
                self._url,
                additional_headers=self._headers,
                compression=None,
                max_size=None,
                open_timeout=self._timeout,
                close_timeout=_CLOSE_SECONDS,
            ) as self._socket:
                task_status.started()
                async for message in self._socket:
                    self._deliver(message)
        except (ConnectionClosed, msgspec.DecodeError) as error:
            self._fail(ConnectionFailed(f"The WebSocket broke ({error})"))
            if self._socket is None:
                raise not_connected(error) from error
        finally:
            self._fail(ConnectionFailed("The WebSocket was closed"))
            self._over.set()

    def _deliver(self, message: str | bytes) -> None:
        self._heard += 1
        data = message.encode() if isinstance(message, str) else message
        frame = decode_frame(data)
        inbox = self._inboxes.get(frame.request_id) if isinstance(frame.request_id, int) else None
        if inbox is not None:
            inbox.deliver(frame, data)
            self._arrived[inbox.request_id].set()

    def _fail(self, failure: ConnectionFailed) -> None:
        self.broken = True
        for identity, inbox in self._inboxes.items():
            inbox.fail(failure)
            self._arrived[identity].set()

    def enter(self, ask: Ask) -> Inbox:
        """Make the place of an answer: `ask` is to follow, and `leave`."""
        self._last += 1
        inbox = self._inboxes[self._last] = Inbox(ask, self._last)
        self._arrived[inbox.request_id] = anyio.Event()
        return inbox

    async def ask(self, inbox: Inbox, ask: Ask, timeout: float | None) -> None:
        """Send a request.

        Raises:
            TimedOut: the connection took it not in that time, and is closed.
            ConnectionFailed: the connection is broken.
        """
        with anyio.move_on_after(timeout):
            await self._send(encode_ask(ask, inbox.request_id))
            return
        await self._drop()
        raise TimedOut("The request could not be sent in time", phase="ttft")

    async def _send(self, text: str) -> None:
        try:
            await self._socket.send(text)
        except ConnectionClosed as error:
            failure = ConnectionFailed(f"The WebSocket broke ({error})")
            # Now: another attempt must not take this link once more.
            self._fail(failure)
            raise failure from error

    async def wait(self, inbox: Inbox, timeout: float | None) -> None:
        """Wait until something of an answer can be taken.

        Raises:
            TimedOut: nothing came for too long. Where nothing came for any other request either,
                the connection is taken for dead, and closed.
        """
        heard = self._heard
        with anyio.move_on_after(timeout):
            while not inbox.ready:
                await self._arrived[inbox.request_id].wait()
                self._arrived[inbox.request_id] = anyio.Event()
            return
        if self._heard == heard and not inbox.overdue:
            await self._drop()
        raise TimedOut("The server was silent for too long", phase="idle")

    def wake(self, inbox: Inbox) -> None:
        """Have a `wait` look again."""
        if inbox.request_id in self._arrived:
            self._arrived[inbox.request_id].set()

    async def close(self) -> None:
        """Close the socket, and wait until that is done."""
        if self._socket is not None and not self.broken:
            close = getattr(self._socket, "aclose", None) or self._socket.close
            with anyio.move_on_after(_CLOSE_SECONDS):
                await close()
        await self._drop()

    async def _drop(self) -> None:
        """Close the socket without the farewell, for which a dead one would have to be waited."""
        self._fail(ConnectionFailed("The WebSocket was silent for too long, and was closed"))
        with anyio.move_on_after(_CLOSE_SECONDS, shield=True):
            if not self._over.is_set():
                await _abort(self._socket)
            await self._over.wait()

    async def leave(self, inbox: Inbox, ended: bool) -> None:
        """Forget a request; the server is told where it still works on it."""
        if self._inboxes.pop(inbox.request_id, None) is None:
            return
        del self._arrived[inbox.request_id]
        if not ended and not self.broken:
            with anyio.move_on_after(_CLOSE_SECONDS):
                try:
                    await self._send(encode_cancel(inbox.request_id))
                except ConnectionFailed:
                    return


async def _abort(socket: Any) -> None:
    if on_asyncio():
        socket.transport.abort()
    else:
        import trio

        await trio.aclose_forcefully(socket.stream)


class AsyncSocketResponse:
    """See `AsyncResponse`."""

    def __init__(self, link: _Link, inbox: Inbox) -> None:
        self.status = inbox.status
        self.headers: Mapping[str, str] = inbox.headers
        self._link = link
        self._inbox = inbox
        self._aborted = False
        self._late = False

    async def receive(self, timeout: float | None) -> bytes:
        try:
            await self._link.wait(self._inbox, timeout)
        except TimedOut:
            self._late = True
            raise
        if self._aborted:
            raise ConnectionFailed("The stream was aborted")
        return self._inbox.take()

    async def aclose(self) -> None:
        # A stream that was late is picked up again, which no cancelled one can be.
        ended = (self._inbox.ended or self._late) and not self._aborted
        await self._link.leave(self._inbox, ended)

    def abort(self) -> None:
        self._aborted = True
        self._inbox.fail(ConnectionFailed("The stream was aborted"))
        self._link.wake(self._inbox)


class AsyncSocketTransport:
    """Carries requests over one WebSocket of each route, and what has no frame over HTTP."""

    def __init__(self, base_url: str, http: AsyncTransport, tasks: TaskGroup) -> None:
        self._base_url = base_url
        self._http = http
        self._tasks = tasks
        self._links: dict[str, _Link] = {}
        self._lock = anyio.Lock()

    async def exchange(self, request: WireRequest) -> WholeResponse:
        ask = ask_of(request, self._base_url)
        if ask is None:
            return await self._http.exchange(request)
        if ask.whole is not None:
            return ask.whole
        response = await self._open(ask, request)
        try:
            pieces = []
            while piece := await response.receive(request.head):
                pieces.append(piece)
        finally:
            with anyio.CancelScope(shield=True):
                await response.aclose()
        return WholeResponse(response.status, response.headers, b"".join(pieces))

    async def open(self, request: WireRequest) -> AsyncResponse:
        ask = ask_of(request, self._base_url)
        if ask is None:
            return await self._http.open(request)
        return await self._open(ask, request)

    async def _open(self, ask: Ask, request: WireRequest) -> AsyncSocketResponse:
        link = await self._link(ask.route, request)
        inbox = link.enter(ask)
        try:
            await link.ask(inbox, ask, request.head)
            await link.wait(inbox, request.head)
            if not inbox.status:
                inbox.take()
        except BaseException:
            with anyio.CancelScope(shield=True):
                await link.leave(inbox, ended=inbox.ended)
            raise
        return AsyncSocketResponse(link, inbox)

    async def _link(self, route: str, request: WireRequest) -> _Link:
        async with self._lock:
            link = self._links.get(route)
            if link is None or link.broken:
                link = _Link(socket_url(self._base_url, route), request)
                try:
                    await self._tasks.start(link.run)
                except InvalidStatus as error:
                    raise refused(error) from error
                except (OSError, TimeoutError, InvalidHandshake) as error:
                    raise not_connected(error) from error
                self._links[route] = link
            return link

    async def aclose(self) -> None:
        for link in self._links.values():
            await link.close()


def not_connected(error: Exception) -> ConnectionFailed:
    """The error of a socket that was not opened."""
    return ConnectionFailed(
        f"No WebSocket was opened ({type(error).__name__}: {error}). Is base_url right?", sent=False
    )


def refused(error: InvalidStatus) -> Exception:
    """The server's own error, where it answered the handshake with one."""
    from inferneo_client._errors import error_of

    response = error.response
    headers = {name.lower(): value for name, value in response.headers.raw_items()}
    return error_of(response.status_code, headers, bytes(response.body or b""))


class AsyncConnection:
    """What `client.connect()` gives: `async with` it for a client whose requests share a socket."""

    def __init__(
        self, client: "AsyncInferneo", options: Options, new: Callable[[Any], "AsyncInferneo"]
    ) -> None:
        self._client = client
        self._options = options
        self._new = new
        self._tasks = anyio.create_task_group()
        self._session: AsyncInferneo | None = None

    async def __aenter__(self) -> "AsyncInferneo":
        await self._tasks.__aenter__()
        base_url = self._options.base_url
        http = self._client._connections.to(base_url)
        self._session = self._new(AsyncSocketTransport(base_url, http, self._tasks))
        return self._session

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if self._session is not None:
                with anyio.CancelScope(shield=True):
                    await self._session.aclose()
        finally:
            self._tasks.cancel_scope.cancel()
            # Not told of the caller's error, which it would wrap in a group.
            await self._tasks.__aexit__(None, None, None)
