"""Receives requests; hands on their answers over one WebSocket: the sync flavour."""

import socket
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from threading import Condition, Lock
from types import TracebackType
from typing import TYPE_CHECKING, Any

import msgspec
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus
from websockets.sync.client import connect

from inferneo_client._async_sockets import not_connected, refused
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
from inferneo_client._transport import SyncResponse, SyncTransport, WholeResponse, WireRequest

if TYPE_CHECKING:
    from inferneo_client._sync import Inferneo

_CLOSE_SECONDS = 1.0


class _Link:
    """One socket, and the requests on it.

    There is no thread that reads: whoever waits for an answer reads for all, one at a time.
    """

    def __init__(self, url: str, request: WireRequest) -> None:
        headers = {
            name: value
            for name, value in request.headers.items()
            if name == "authorization" or name.startswith("x-")
        }
        self._owner = ExitStack()
        try:
            opening = connect(
                url,
                additional_headers=headers,
                compression=None,
                max_size=None,
                open_timeout=request.connect,
                close_timeout=_CLOSE_SECONDS,
            )
            self._socket = self._owner.enter_context(opening)
        except InvalidStatus as error:
            raise refused(error) from error
        except (OSError, TimeoutError, InvalidHandshake, ConnectionClosed) as error:
            raise not_connected(error) from error
        self._inboxes: dict[int, Inbox] = {}
        self._changed = Condition()
        self._reading = False
        self._last = 0
        # How many messages have come: a wait in which none does is that of a dead connection.
        self._heard = 0
        self.broken = False

    def enter(self, ask: Ask) -> Inbox:
        """Make the place of an answer: `ask` is to follow, and `leave`."""
        with self._changed:
            self._last += 1
            inbox = self._inboxes[self._last] = Inbox(ask, self._last)
            return inbox

    def ask(self, inbox: Inbox, ask: Ask) -> None:
        """Send a request.

        Raises:
            ConnectionFailed: the connection is broken.
        """
        self._send(encode_ask(ask, inbox.request_id))

    def _send(self, text: str) -> None:
        try:
            self._socket.send(text)
        except ConnectionClosed as error:
            failure = ConnectionFailed(f"The WebSocket broke ({error})")
            # Now: another attempt must not take this link once more.
            with self._changed:
                self._fail(failure)
            raise failure from error

    def wait(self, inbox: Inbox, timeout: float | None) -> None:
        """Wait until something of an answer can be taken.

        Raises:
            TimedOut: nothing came for too long. Where nothing came for any other request either,
                the connection is taken for dead, and closed.
        """
        heard = self._heard
        if self._wait(inbox, timeout):
            return
        if self._heard == heard and not inbox.overdue:
            self._drop()
        raise TimedOut("The server was silent for too long", phase="idle")

    def _wait(self, inbox: Inbox, timeout: float | None) -> bool:
        until = None if timeout is None else time.monotonic() + timeout
        while True:
            left = None if until is None else max(until - time.monotonic(), 0.0)
            with self._changed:
                if inbox.ready:
                    return True
                if left == 0.0:
                    return False
                if self._reading:
                    self._changed.wait(left)
                    continue
                self._reading = True
            self._read(left)

    def _read(self, timeout: float | None) -> None:
        """Read one frame for whom it is, and let others read."""
        message: Any = None
        failure: ConnectionFailed | None = None
        try:
            message = self._socket.recv(timeout)
        except TimeoutError:
            pass
        except ConnectionClosed as error:
            failure = ConnectionFailed(f"The WebSocket broke ({error})")
        finally:
            with self._changed:
                self._reading = False
                if message is not None:
                    failure = self._deliver(message)
                if failure is not None:
                    self._fail(failure)
                self._changed.notify_all()

    def _deliver(self, message: str | bytes) -> ConnectionFailed | None:
        self._heard += 1
        data = message.encode() if isinstance(message, str) else message
        try:
            frame = decode_frame(data)
        except msgspec.DecodeError as error:
            return ConnectionFailed(f"The WebSocket broke ({error})")
        inbox = self._inboxes.get(frame.request_id) if isinstance(frame.request_id, int) else None
        if inbox is not None:
            inbox.deliver(frame, data)
        return None

    def _fail(self, failure: ConnectionFailed) -> None:
        self.broken = True
        for inbox in self._inboxes.values():
            inbox.fail(failure)
        self._changed.notify_all()

    def take(self, inbox: Inbox) -> bytes:
        """All of an answer that has arrived and was not taken."""
        with self._changed:
            return inbox.take()

    def abort(self, inbox: Inbox) -> None:
        """Have a `wait` of another thread end: the server's answer to this wakes it."""
        with self._changed:
            inbox.fail(ConnectionFailed("The stream was aborted"))
            self._changed.notify_all()
        self.cancel(inbox)

    def cancel(self, inbox: Inbox) -> None:
        """Tell the server to stop."""
        if not self.broken:
            try:
                self._send(encode_cancel(inbox.request_id))
            except ConnectionFailed:
                return

    def leave(self, inbox: Inbox, ended: bool) -> None:
        """Forget a request; the server is told where it still works on it."""
        with self._changed:
            if self._inboxes.pop(inbox.request_id, None) is None:
                return
        if not ended:
            self.cancel(inbox)

    def close(self) -> None:
        """Close the socket."""
        with suppress(ConnectionClosed, OSError):
            self._owner.close()
        with self._changed:
            self._fail(ConnectionFailed("The session was closed"))

    def _drop(self) -> None:
        """Close the socket without the farewell, for which a dead one would have to be waited."""
        with self._changed:
            self._fail(ConnectionFailed("The WebSocket was silent for too long, and was closed"))
        with suppress(OSError):
            self._socket.socket.shutdown(socket.SHUT_RDWR)
        with suppress(ConnectionClosed, OSError):
            self._owner.close()


class SocketResponse:
    """See `SyncResponse`."""

    def __init__(self, link: _Link, inbox: Inbox, silence: float | None) -> None:
        self.status = inbox.status
        self.headers: Mapping[str, str] = inbox.headers
        self._link = link
        self._inbox = inbox
        self._silence = silence
        self._aborted = False
        self._late = False

    def receive(self) -> bytes:
        try:
            self._link.wait(self._inbox, self._silence)
        except TimedOut:
            self._late = True
            raise
        if self._aborted:
            raise ConnectionFailed("The stream was aborted")
        return self._link.take(self._inbox)

    def close(self) -> None:
        # A stream that was late is picked up again, which no cancelled one can be.
        self._link.leave(self._inbox, self._inbox.ended or self._late)

    def abort(self) -> None:
        self._aborted = True
        self._link.abort(self._inbox)


class SocketTransport:
    """Carries requests over one WebSocket of each route, and what has no frame over HTTP."""

    def __init__(self, base_url: str, http: SyncTransport) -> None:
        self._base_url = base_url
        self._http = http
        self._links: dict[str, _Link] = {}
        self._lock = Lock()

    def exchange(self, request: WireRequest) -> WholeResponse:
        ask = ask_of(request, self._base_url)
        if ask is None:
            return self._http.exchange(request)
        if ask.whole is not None:
            return ask.whole
        response = self._open(ask, request)
        try:
            body = b"".join(iter(response.receive, b""))
        finally:
            response.close()
        return WholeResponse(response.status, response.headers, body)

    def open(self, request: WireRequest) -> SyncResponse:
        ask = ask_of(request, self._base_url)
        if ask is None:
            return self._http.open(request)
        return self._open(ask, request)

    def _open(self, ask: Ask, request: WireRequest) -> SocketResponse:
        link = self._link(ask.route, request)
        inbox = link.enter(ask)
        try:
            link.ask(inbox, ask)
            link.wait(inbox, request.head)
            if not inbox.status:
                link.take(inbox)
        except BaseException:
            link.leave(inbox, ended=inbox.ended)
            raise
        return SocketResponse(link, inbox, request.silence)

    def _link(self, route: str, request: WireRequest) -> _Link:
        with self._lock:
            link = self._links.get(route)
            if link is None or link.broken:
                if link is not None:
                    link.close()
                link = self._links[route] = _Link(socket_url(self._base_url, route), request)
            return link

    def close(self) -> None:
        for link in self._links.values():
            link.close()
        self._links.clear()


class Connection:
    """What `client.connect()` gives: `with` it for a client whose requests share a socket."""

    def __init__(
        self, client: "Inferneo", options: Options, new: Callable[[Any], "Inferneo"]
    ) -> None:
        self._client = client
        self._options = options
        self._new = new
        self._session: Inferneo | None = None

    def __enter__(self) -> "Inferneo":
        base_url = self._options.base_url
        http = self._client._connections.to(base_url)
        self._session = self._new(SocketTransport(base_url, http))
        return self._session

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._session is not None:
            self._session.close()
