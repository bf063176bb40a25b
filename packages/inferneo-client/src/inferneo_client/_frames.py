"""Receives requests, and the frames of a WebSocket; hands on frames, and answers as HTTP has them.

A session looks like any transport to the client above it: a stream's frames become server-sent
events again, so that resuming, cancelling and joining are the same code over both.
"""

import time
from typing import Any, Final
from urllib.parse import unquote

import msgspec
from msgspec import Struct

from inferneo_client._errors import ConnectionFailed
from inferneo_client._transport import WholeResponse, WireRequest
from inferneo_core.limits import LimitsLeft, limit_headers

ROUTES: Final = ("/chat/completions", "/completions")
# A stream whose reader is so far behind is broken off; it is picked up again where it stopped.
MAX_UNREAD_BYTES: Final = 16 * 1024 * 1024
# A wait that a call's deadline ends may end so much before it: headers have milliseconds.
_DEADLINE_SLACK = 0.01


class Frame(Struct, gc=False):
    """What has to be known of a frame to deliver it."""

    request_id: int | str | None = None
    seq: int | None = None
    id: str = ""
    object: str = ""
    error: dict[str, Any] | None = None
    status: int = 500
    retry_after_ms: int | None = None
    usage: msgspec.Raw = msgspec.Raw()
    limits: LimitsLeft | None = None
    cancelled: bool = False


decode_frame: Final = msgspec.json.Decoder(Frame).decode
_encode: Final = msgspec.json.Encoder().encode


class Ask(Struct):
    """A request as a frame: of which route it is, and what the answer will be.

    `whole` is the answer that needs no server; `until` the call's deadline on the monotonic clock.
    """

    route: str = ""
    fields: dict[str, Any] = {}
    streamed: bool = False
    whole: WholeResponse | None = None
    until: float | None = None


def ask_of(request: WireRequest, base_url: str) -> Ask | None:
    """The frame for a request; None where it has none, and goes over HTTP."""
    path = request.url.removeprefix(base_url)
    if request.method == "POST" and path in ROUTES:
        return _asked(path, request)
    if request.method == "DELETE" and path == "/streams":
        # So has leaving the request.
        return Ask(whole=WholeResponse(200, {}, b"{}"))
    if not path.startswith("/streams/"):
        return None
    identity = unquote(path.removeprefix("/streams/"))
    if request.method == "DELETE":
        # Closing the stream has ended it already.
        return Ask(whole=WholeResponse(200, {}, _encode({"id": identity})))
    if request.method != "GET" or "text/event-stream" not in request.headers.get("accept", ""):
        return None
    route = ROUTES[0] if identity.startswith("chat") else ROUTES[1]
    fields: dict[str, Any] = {"type": "resume", "id": identity}
    if last := request.headers.get("last-event-id"):
        fields["after"] = int(last.rpartition(":")[2])
    return Ask(route, fields, streamed=True, until=_until(request))


def _asked(route: str, request: WireRequest) -> Ask:
    headers = request.headers
    fields: dict[str, Any] = msgspec.json.decode(request.content)
    fields["idempotency_key"] = headers["idempotency-key"]
    if "inferneo-resume-for" in headers:
        fields["resume_for"] = float(headers["inferneo-resume-for"])
    if "inferneo-timeout" in headers:
        fields["timeout"] = float(headers["inferneo-timeout"])
    # The usage comes with the end of each stream, asked for or not.
    fields.pop("stream_options", None)
    return Ask(route, fields, bool(fields.get("stream")), until=_until(request))


def _until(request: WireRequest) -> float | None:
    seconds = request.headers.get("inferneo-timeout")
    return None if seconds is None else time.monotonic() + float(seconds)


def encode_ask(ask: Ask, request_id: int) -> str:
    """The frame as it is sent."""
    return _encode({**ask.fields, "request_id": request_id}).decode()


def encode_cancel(request_id: int) -> str:
    """The frame that ends a request."""
    return _encode({"type": "cancel", "request_id": request_id}).decode()


class Inbox:
    """The answer of one request, as it arrives.

    Attributes:
        status: of the answer; 0 before it begins.
        headers: as the same answer over HTTP would have.
        ended: all of it has arrived, or it broke.
    """

    def __init__(self, ask: Ask, request_id: int) -> None:
        self.request_id = request_id
        self.route = ask.route
        self.status = 0
        self.headers: dict[str, str] = {}
        self.ended = False
        self._ask = ask
        self._unread: list[bytes] = []
        self._unread_bytes = 0
        self._failure: ConnectionFailed | None = None

    def deliver(self, frame: Frame, data: bytes) -> None:
        """Take a frame of this request."""
        self._deliver(frame, data)
        if frame.limits is not None:
            self.headers.update(limit_headers(frame.limits))

    def _deliver(self, frame: Frame, data: bytes) -> None:
        if frame.error is not None:
            self._deliver_error(frame, data)
        elif not self._ask.streamed:
            self._begin("application/json", "")
            self._put(data)
            self.ended = True
        elif frame.object.endswith(".done"):
            self._deliver_end(frame)
        else:
            if not self.status:
                self._begin("text/event-stream", frame.id if frame.seq is not None else "")
            self._put(_event(frame, _without_head(data)))

    def _begin(self, content_type: str, identity: str) -> None:
        self.status = 200
        self.headers = {"content-type": content_type}
        if identity:
            self.headers["inferneo-stream"] = f"/v1/streams/{identity}"

    def _deliver_error(self, frame: Frame, data: bytes) -> None:
        self.ended = True
        if self.status:
            self._put(b"data: " + data + b"\n\n")
            return
        self._begin("application/json", "")
        self.status = frame.status
        if frame.retry_after_ms is not None:
            self.headers["retry-after-ms"] = str(frame.retry_after_ms)
        self._tell_limits(frame)
        self._put(data)

    def _tell_limits(self, frame: Frame) -> None:
        if frame.limits is not None:
            self.headers.update(limit_headers(frame.limits))

    def _deliver_end(self, frame: Frame) -> None:
        self.ended = True
        if not self.status:
            self._begin("text/event-stream", "")
        self._tell_limits(frame)
        if frame.cancelled:
            self._put(
                b'data: {"error": {"message": "The request was cancelled", "type": '
                b'"invalid_request_error", "code": "cancelled"}, "status": 499}\n\n'
            )
            return
        if bytes(frame.usage):
            document = b'{"choices":[],"usage":' + bytes(frame.usage) + b"}"
            self._put(_event(frame, document))
        self._put(_event(frame, b"[DONE]"))

    def _put(self, piece: bytes) -> None:
        self._unread.append(piece)
        self._unread_bytes += len(piece)
        if self._unread_bytes > MAX_UNREAD_BYTES:
            self.fail(ConnectionFailed("The stream's reader is too far behind"))

    def fail(self, failure: ConnectionFailed) -> None:
        """The connection is gone; what arrived before can still be read."""
        if not self.ended:
            self.ended, self._failure = True, failure

    @property
    def overdue(self) -> bool:
        """Whether the call's own time is up, which says nothing of the connection."""
        until = self._ask.until
        return until is not None and time.monotonic() >= until - _DEADLINE_SLACK

    @property
    def ready(self) -> bool:
        """Whether something can be taken without waiting: a piece, or the end."""
        return bool(self._unread) or self.ended

    def take(self) -> bytes:
        """All that has arrived and was not taken; empty at the end.

        Raises:
            ConnectionFailed: the connection broke.
        """
        data, self._unread, self._unread_bytes = b"".join(self._unread), [], 0
        if not data and self._failure is not None:
            raise self._failure
        return data


def _event(frame: Frame, document: bytes) -> bytes:
    data = b"data: " + document + b"\n\n"
    return data if frame.seq is None else f"id: {frame.id}:{frame.seq}\n".encode() + data


def _without_head(data: bytes) -> bytes:
    """A chunk without the fields that our server puts in front of it for the session's sake."""
    start = data.find(b'"id":') if data[:14] == b'{"request_id":' else -1
    return b"{" + data[start:] if start > 0 else data


def socket_url(base_url: str, route: str) -> str:
    """Where the WebSocket of a route is."""
    scheme, _, rest = base_url.partition("://")
    return f"{'wss' if scheme == 'https' else 'ws'}://{rest}{route}"
