"""Receives uvicorn's writes; hands them to the socket, in as few packets as may be: a response's
head together with its first body, and all frames of an engine step."""

import asyncio
import logging
from typing import Any, ClassVar

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import CloseCode

# uvicorn logs each socket's path with its query, which may hold a token.
logger = logging.getLogger(f"{__name__}.socket")
logger.setLevel(logging.WARNING)

# Requests of one connection that may wait for their turn while it is still read.
MAX_PIPELINED = 32
# More is written at once: only then is it seen that the other end does not take it.
MAX_GATHERED_BYTES = 64 * 1024
# How long who was sent away may take to read why.
LINGER_SECONDS = 2.0

_BAD_REQUEST = b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


class ServerProtocol(HttpToolsProtocol):
    """uvicorn's protocol, bettered.

    The head of a response by itself costs a system call, and a wake-up of the client: it is joined
    to the first body. Behind a queued request uvicorn stops reading, so that it does not see the
    client leave; when it does, it tells only the last request of a pipeline. And it waits without
    end for the rest of a request.

    Attributes:
        silence_seconds: how long a client may send nothing of a request that is not whole.
    """

    silence_seconds: ClassVar[float] = 60.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._unanswered: list[RequestResponseCycle] = []
        self._incomplete = True
        self._silence: asyncio.TimerHandle | None = None
        super().connection_made(_HeadHolder(transport))  # type: ignore[arg-type]
        self._await_request()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._silence is not None or self._incomplete:
            self._await_request()

    def _await_request(self) -> None:
        """Begin the wait for the rest of a request anew, or end it."""
        if self._silence is not None:
            self._silence.cancel()
            self._silence = None
        if self._incomplete and not self.transport.is_closing():
            loop = asyncio.get_running_loop()
            self._silence = loop.call_later(self.silence_seconds, self._end_silence)

    def _end_silence(self) -> None:
        self._silence = None
        cycles = [cycle for cycle in self._unanswered if not cycle.response_complete]
        if self.flow.read_paused or any(not cycle.more_body for cycle in cycles):
            # It is for us to go on: an answer before this request is still being written.
            self._await_request()
        else:
            self.transport.close()

    def on_message_begin(self) -> None:
        self._incomplete = True
        super().on_message_begin()

    def on_message_complete(self) -> None:
        self._incomplete = False
        super().on_message_complete()

    def handle_websocket_upgrade(self) -> None:
        self._incomplete = False
        super().handle_websocket_upgrade()

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        self._unanswered = [cycle for cycle in self._unanswered if not cycle.response_complete]
        self._unanswered.append(self.cycle)
        if len(self._unanswered) <= MAX_PIPELINED:
            self.flow.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._silence is not None:
            self._silence.cancel()
        for cycle in self._unanswered:
            cycle.disconnected = not cycle.response_complete
            cycle.message_event.set()
        super().connection_lost(exc)


def http_protocol(stall_seconds: float) -> type[ServerProtocol]:
    """The protocol with its limit, which uvicorn has no way to hand over."""
    return type("HttpProtocol", (ServerProtocol,), {"silence_seconds": stall_seconds})


class _HeadHolder:
    """A transport that keeps a head until the next write, or until the loop's next round."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._head = b""
        self._write = transport.write

    def write(self, data: bytes) -> None:
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

    def close(self) -> None:
        self._flush()
        self._transport.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class SocketProtocol(WebSocketsSansIOProtocol):
    """uvicorn's WebSocket protocol, bettered.

    What is written in one round of the loop, as by all the requests that an engine step resumes, is
    one write. Who does not read what he is sent is not read either: each of his pings would be
    answered into memory. Who is sent away is told why, and the log is not.
    """

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.logger = self.conn.logger = logger
        self._lingering = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(_Gatherer(transport))  # type: ignore[arg-type]

    def data_received(self, data: bytes) -> None:
        if self._lingering:
            return
        super().data_received(data)
        if self.conn.handshake_exc is not None and not self.handshake_initiated:
            self._refuse_handshake()
        elif not self.writable.is_set():
            # The application, which has read a message, may have had reading resumed.
            self.transport.pause_reading()

    def _refuse_handshake(self) -> None:
        """Answer a request that is none: with too long a header, say."""
        self.handshake_initiated = self.handshake_complete = self.close_sent = True
        self.transport.write(b"".join(self.conn.data_to_send()) or _BAD_REQUEST)
        self.transport.close()

    def send_receive_event_to_app(self) -> None:
        if self.curr_msg_data_type == "text" and not self.close_sent:
            try:
                b"".join(self.frames).decode()
            except UnicodeDecodeError:
                self.frames = []
                self.conn.fail(CloseCode.INVALID_DATA, "A text frame is not UTF-8")
                self.handle_parser_exception()
                return
        super().send_receive_event_to_app()

    def handle_parser_exception(self) -> None:
        """Say what is wrong, and read on for a while: to close while bytes are still on their way
        would reset the connection, and what was said would not arrive."""
        said = self.conn.close_sent
        code, reason = (said.code, said.reason) if said else (CloseCode.ABNORMAL_CLOSURE, "")
        self.queue.put_nowait({"type": "websocket.disconnect", "code": code, "reason": reason})
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.transport.write_eof()
        self.close_sent = self._lingering = True
        self.transport.resume_reading()
        self.close_timer = self.loop.call_later(LINGER_SECONDS, self.transport.abort)

    async def send(self, message: Any) -> None:
        if self.close_sent and message["type"] == "websocket.send":
            # The protocol has closed the socket; the application has not read of it yet.
            raise ClientDisconnected
        await super().send(message)
        if message["type"] == "websocket.http.response.body":
            # A refusal is an answer, which uvicorn takes for none.
            self.handshake_complete = self.close_sent

    def pause_writing(self) -> None:
        super().pause_writing()
        self.transport.pause_reading()

    def resume_writing(self) -> None:
        super().resume_writing()
        if not self.read_paused:
            self.transport.resume_reading()

    def keepalive_timeout(self) -> None:
        super().keepalive_timeout()
        # What is still unsent will never arrive.
        self.transport.abort()


class _Gatherer:
    """A transport that joins the writes of one round of the loop."""

    def __init__(self, transport: Any) -> None:
        self._transport = transport
        self._gathered: list[bytes] = []
        self._size = 0
        self._ended = False

    def write(self, data: bytes) -> None:
        if self._ended:
            return
        if not self._gathered:
            asyncio.get_running_loop().call_soon(self._flush)
        self._gathered.append(data)
        self._size += len(data)
        if self._size > MAX_GATHERED_BYTES:
            self._flush()

    def _flush(self) -> None:
        gathered, self._gathered, self._size = self._gathered, [], 0
        # The other end may have gone in the meantime.
        if gathered and not self._transport.is_closing():
            self._transport.write(b"".join(gathered))

    def write_eof(self) -> None:
        self._flush()
        self._ended = True
        if not self._transport.is_closing():
            self._transport.write_eof()

    def close(self) -> None:
        self._flush()
        self._transport.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)
