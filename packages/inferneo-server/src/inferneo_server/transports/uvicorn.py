"""Receives uvicorn's writes; hands them to the socket, in as few packets as may be: a response's
head together with its first body, and all frames of an engine step."""

import asyncio
import logging
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

# uvicorn logs each socket's path with its query, which may hold a token.
logger = logging.getLogger(f"{__name__}.socket")
logger.setLevel(logging.WARNING)

# Requests of one connection that may wait for their turn while it is still read.
MAX_PIPELINED = 32
# More is written at once: only then is it seen that the other end does not take it.
MAX_GATHERED_BYTES = 64 * 1024


class ServerProtocol(HttpToolsProtocol):
    """uvicorn's protocol, bettered twice.

    The head of a response by itself costs a system call, and a wake-up of the client: it is joined
    to the first body. And behind a queued request uvicorn stops reading, so that it does not see
    the client leave; when it does, it tells only the last request of a pipeline.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._unanswered: list[RequestResponseCycle] = []
        super().connection_made(_HeadHolder(transport))  # type: ignore[arg-type]

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        self._unanswered = [cycle for cycle in self._unanswered if not cycle.response_complete]
        self._unanswered.append(self.cycle)
        if len(self._unanswered) <= MAX_PIPELINED:
            self.flow.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        for cycle in self._unanswered:
            cycle.disconnected = not cycle.response_complete
            cycle.message_event.set()
        super().connection_lost(exc)


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
    one write. And who does not read what he is sent is not read either: each of his pings would be
    answered into memory.
    """

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.logger = self.conn.logger = logger

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(_Gatherer(transport))  # type: ignore[arg-type]

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

    def write(self, data: bytes) -> None:
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

    def close(self) -> None:
        self._flush()
        self._transport.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)
