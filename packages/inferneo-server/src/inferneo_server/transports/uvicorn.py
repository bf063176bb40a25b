"""Receives bytes of HTTP/1.1; hands on requests that are sound, within their bounds of size and of
time, and writes a response's head in one packet with its first body."""

import asyncio
import logging
import sys
from typing import Any, ClassVar

import httptools
from msgspec import Struct
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from inferneo_core.errors import ApiError, InvalidRequest, Overloaded
from inferneo_server.transports.heads import (
    MAX_HEAD_BYTES,
    MAX_TARGET_BYTES,
    check_head,
    head_too_large,
    last_words,
    not_http,
    target_too_long,
    took_too_long,
)

# Requests of one connection that may wait for their turn while it is still read.
MAX_PIPELINED = 32
# Of those beyond the bound on connections, so many at once are told so.
MAX_TURNED_AWAY = 64
# A body that comes more slowly is none: 128 bytes a second take a day for 10 MB.
MIN_BODY_BYTES_PER_SECOND = 128
# What a chunk may cost beside its data (its size, and the ends of its lines).
CHUNK_BYTES = 16
# How long who was sent away may take to read why.
LINGER_SECONDS = 2.0

logger = logging.getLogger(__name__)


class ConnectionLimits(Struct, frozen=True, kw_only=True):
    """What a connection may take, in seconds, bytes, and connections at once."""

    header_seconds: float = 10.0
    stall_seconds: float = 60.0
    max_connections: int = 10_000
    max_body_bytes: int = 10_000_000


class ServerProtocol(HttpToolsProtocol):
    """uvicorn's protocol, bettered.

    The head of a response by itself costs a system call, and a wake-up of the client: it is joined
    to the first body. Behind a queued request uvicorn stops reading, so that it does not see the
    client leave; when it does, it tells only the last request of a pipeline. It waits without end
    for the rest of a request, takes heads of any size and form, and writes its refusals into the
    middle of the answer before.

    Attributes:
        limits: of each connection.
    """

    limits: ClassVar[ConnectionLimits] = ConnectionLimits()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._unanswered: list[RequestResponseCycle] = []
        # Of the request that is being read: between requests neither holds.
        self._in_head, self._in_body = True, False
        self._received = 0
        self._framing = 0  # bytes of this request that are no body
        self._unwanted = 0  # bytes of bodies that came behind their answers
        self._timer: asyncio.TimerHandle | None = None
        self._timed_body, self._timed_from = False, 0
        self._ended = False
        self._last_words = b""
        self._linger_timer: asyncio.TimerHandle | None = None
        super().connection_made(_HeadHolder(transport, self))  # type: ignore[arg-type]
        excess = len(self.connections) - self.limits.max_connections
        if excess > MAX_TURNED_AWAY:
            self._ended = True
            transport.abort()
        elif excess > 0:
            self._refuse(Overloaded("The server has as many connections as it may"))
        else:
            self._watch()

    def data_received(self, data: bytes) -> None:
        if self._ended:
            return
        self._unset_keepalive_if_required()
        self._received += len(data)
        self._framing += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            if self._should_upgrade():
                self.handle_websocket_upgrade()
                return
        except httptools.HttpParserError as error:
            cause = error.__context__
            self._refuse(cause if isinstance(cause, ApiError) else not_http(str(error)))
            return
        if self._in_head or self._in_body:
            if self._framing > MAX_HEAD_BYTES:
                self._refuse(head_too_large(f"A head has {MAX_HEAD_BYTES} bytes at most"))
                return
            # Nothing that one reading had to spare is for the next.
            self._framing = max(self._framing, 0)
        elif self.cycle is None or (self.cycle.response_complete and not self.pipeline):
            self._in_head = True  # empty lines, between requests
        if self._timer is not None or self._in_head or self._in_body:
            self._watch()

    def _watch(self) -> None:
        """Have the part of a request that is being read watched: a head must be whole in time, a
        body must go on."""
        if self._timer is not None:
            if (self._in_head or self._in_body) and self._timed_body is self._in_body:
                return
            self._timer.cancel()
            self._timer = None
        if self._in_head or self._in_body:
            self._timed_body, self._timed_from = self._in_body, self._received
            limits = self.limits
            seconds = limits.stall_seconds if self._in_body else limits.header_seconds
            self._timer = self.loop.call_later(seconds, self._end_patience)

    def _end_patience(self) -> None:
        self._timer = None
        waiting = (each for each in self._unanswered if not each.response_complete)
        least = MIN_BODY_BYTES_PER_SECOND * self.limits.stall_seconds
        # It may be for us to go on: an answer before this request is still being written.
        if (
            self.flow.read_paused
            or any(not cycle.more_body for cycle in waiting)
            or (self._in_body and self._received - self._timed_from >= least)
        ):
            self._watch()
        elif self._received:
            self._refuse(took_too_long())
        else:
            self.transport.close()

    def on_message_begin(self) -> None:
        self._in_head = True
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        if len(self.url) > MAX_TARGET_BYTES:
            raise target_too_long()

    def on_header(self, name: bytes, value: bytes) -> None:
        # Trailers are no headers: what has been checked would change (RFC 9110, section 6.5.1).
        if not self._in_body:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        if self._framing > MAX_HEAD_BYTES:
            self._check_size()
        parser = self.parser
        check_head(parser.get_method().decode(), parser.get_http_version(), self.url, self.headers)
        super().on_headers_complete()
        self._in_head, self._in_body = False, True
        if parser.get_http_version() == "1.0":
            _end_with_connection(self.cycle)
        if parser.should_upgrade():
            if self._should_upgrade():
                return
            # We go on in HTTP/1.1; but nobody knows what the bytes behind it are.
            self.cycle.keep_alive = False
        self._unanswered = [cycle for cycle in self._unanswered if not cycle.response_complete]
        self._unanswered.append(self.cycle)
        if len(self._unanswered) <= MAX_PIPELINED:
            self.flow.resume_reading()

    def _check_size(self) -> None:
        """What came together with the head counts as the head only where it is."""
        size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        if size > MAX_HEAD_BYTES:
            raise head_too_large(f"The request's head has more than {MAX_HEAD_BYTES} bytes")

    def on_chunk_header(self) -> None:
        self._framing -= CHUNK_BYTES

    def on_body(self, body: bytes) -> None:
        self._framing -= len(body)
        super().on_body(body)
        if self.cycle is not None and self.cycle.response_complete:
            self._unwanted += len(body)
            if self._unwanted > self.limits.max_body_bytes:
                raise InvalidRequest("The body is too large", code="body_too_large", status=413)

    def on_message_complete(self) -> None:
        self._in_head = self._in_body = False
        self._framing = 0
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        super().on_message_complete()

    def handle_websocket_upgrade(self) -> None:
        self._in_head = self._in_body = False
        self._watch()
        super().handle_websocket_upgrade()

    def _refuse(self, error: ApiError) -> None:
        """Take nothing more, and tell why, behind the answers to the requests before."""
        logger.debug("Refused a request: %s", error.message)
        self._ended = True
        if self._timer is not None:
            self._timer.cancel()
        self._last_words = last_words(error, self.server_state.default_headers)
        if self._in_body and self.cycle is not None:
            self._break_off(self.cycle)
        self._end_when_answered()

    def _break_off(self, cycle: RequestResponseCycle) -> None:
        """The rest of this request will not come."""
        if cycle.response_started:
            self._last_words = b""
        cycle.disconnected = not cycle.response_complete
        cycle.message_event.set()
        self._unanswered = [each for each in self._unanswered if each is not cycle]
        if self.pipeline and self.pipeline[0][0] is cycle:
            self.pipeline.popleft()

    def _end_when_answered(self) -> None:
        if all(cycle.response_complete for cycle in self._unanswered):
            self._unset_keepalive_if_required()
            if self._last_words and not self.transport.is_closing():
                self.transport.write(self._last_words)
            self.transport.close()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._ended:
            self._end_when_answered()

    def linger(self, transport: Any) -> bool:
        """Read on for a while before the connection closes, where more is on its way: to close
        before it has come would reset the connection, and the answer would not arrive.

        Returns:
            Whether that is needed, and can be.
        """
        # TLS has no half of a close, and the initial head is no request yet.
        if not (self._ended or self._in_body) or not transport.can_write_eof():
            return False
        if not transport.is_closing():
            self._ended = True
            transport.write_eof()
            self.flow.resume_reading()
            self._linger_timer = self.loop.call_later(LINGER_SECONDS, transport.close)
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        for timer in (self._timer, self._linger_timer):
            if timer is not None:
                timer.cancel()
        for cycle in self._unanswered:
            cycle.disconnected = not cycle.response_complete
            cycle.message_event.set()
        super().connection_lost(exc)


def _end_with_connection(cycle: RequestResponseCycle) -> None:
    """Have a body of unknown length end with its connection: HTTP/1.0 has no chunks (RFC 9112,
    section 6.1), and uvicorn sends them to it all the same."""
    send, open_ended = cycle.send, False

    async def send_plain(message: Any) -> None:
        nonlocal open_ended
        if message["type"] == "http.response.start":
            open_ended = all(name != b"content-length" for name, _ in message["headers"])
            if open_ended:
                cycle.chunked_encoding, cycle.expected_content_length = False, sys.maxsize
        elif open_ended and not message.get("more_body"):
            # uvicorn checks in the end that all came which it expected.
            cycle.expected_content_length = len(message.get("body", b""))
        await send(message)

    cycle.send = send_plain  # type: ignore[method-assign]


def http_protocol(limits: ConnectionLimits) -> type[ServerProtocol]:
    """The protocol with its limits, which uvicorn has no way to hand over."""
    return type("HttpProtocol", (ServerProtocol,), {"limits": limits})


class _HeadHolder:
    """A transport that keeps a head until the next write, or until the loop's next round."""

    def __init__(self, transport: asyncio.Transport, protocol: ServerProtocol) -> None:
        self._transport = transport
        self._protocol = protocol
        self._head = b""
        self._write = transport.write
        self._ended = False

    def write(self, data: bytes) -> None:
        if self._ended:
            return
        if self._head:
            data, self._head = self._head + data, b""
        elif data.startswith(b"HTTP/1.1 "):
            self._head = data
            asyncio.get_running_loop().call_soon(self._flush)
            return
        self._write(data)

    def _flush(self) -> None:
        head, self._head = self._head, b""
        # The other end may have gone in the meantime.
        if head and not self._transport.is_closing():
            self._write(head)

    def is_closing(self) -> bool:
        return self._ended or self._transport.is_closing()

    def close(self) -> None:
        if self._ended:
            return
        self._flush()
        if self._protocol.linger(self._transport):
            self._ended = True
        else:
            self._transport.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)
