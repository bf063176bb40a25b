"""Receives uvicorn's WebSocket frames; hands them to the socket, those of an engine step in one
write."""

import asyncio
import logging
from http import HTTPStatus
from typing import Any

from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.datastructures import Headers
from websockets.frames import CloseCode
from websockets.http11 import Response
from websockets.typing import StatusLike

from inferneo_core.codec import encode
from inferneo_core.errors import InvalidRequest
from inferneo_server.transports.heads import last_words

# uvicorn logs each socket's path with its query, which may hold a token.
logger = logging.getLogger(f"{__name__}.socket")
logger.setLevel(logging.WARNING)

# More is written at once: only then is it seen that the other end does not take it.
MAX_GATHERED_BYTES = 64 * 1024
# How long who was sent away may take to read why.
LINGER_SECONDS = 2.0


class SocketProtocol(WebSocketsSansIOProtocol):
    """uvicorn's WebSocket protocol, bettered.

    What is written in one round of the loop, as by all the requests that an engine step resumes, is
    one write. Who does not read what he is sent is not read either: each of his pings would be
    answered into memory. Who is sent away is told why, and the log is not.
    """

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.logger = self.conn.logger = logger
        self.conn.reject = _reject  # type: ignore[method-assign]
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
        refusal = InvalidRequest("The WebSocket handshake is not valid")
        self.transport.write(b"".join(self.conn.data_to_send()) or last_words(refusal))
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


def _reject(status: StatusLike, text: str) -> Response:
    """The answer to a handshake that is none, in the form of all our errors."""
    # Up to the name of the header: its value may be a key.
    error = InvalidRequest(text.partition(" header: ")[0].strip(), status=int(status))
    body = encode(error.body())
    headers = {"content-type": "application/json", "content-length": str(len(body))}
    return Response(
        error.status,
        HTTPStatus(error.status).phrase,
        Headers(headers | {"connection": "close"}),
        body,
    )


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
        # TLS has no half of a close.
        if not self._transport.is_closing() and self._transport.can_write_eof():
            self._transport.write_eof()

    def close(self) -> None:
        self._flush()
        self._transport.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)
