"""Receives bytes of any kind; hands them to a WebSocket as they are, and hands on its frames."""

import base64
import json
import os
import socket
import struct
from types import TracebackType
from typing import Any, Self

from tests.integration.sockets import connect
from tests.servers import RunningServer

CHAT = "/v1/chat/completions"
TEXTS = "/v1/completions"

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10


def frame(
    payload: bytes,
    opcode: int = TEXT,
    *,
    final: bool = True,
    reserved: int = 0,
    masked: bool = True,
    length: int | None = None,
) -> bytes:
    """A frame, sound or not (RFC 6455, section 5.2); `length` tells another one than it has."""
    size = len(payload) if length is None else length
    first = final << 7 | reserved << 4 | opcode
    mask_bit = masked << 7
    if size < 126:
        head = struct.pack("!BB", first, mask_bit | size)
    elif size < 2**16:
        head = struct.pack("!BBH", first, mask_bit | 126, size)
    else:
        head = struct.pack("!BBQ", first, mask_bit | 127, size)
    # A mask of zeroes leaves the payload as it is.
    return head + bytes(4 * masked) + payload


def encode(value: Any) -> bytes:
    """A frame of JSON text."""
    return frame(json.dumps(value).encode())


class Closed(Exception):
    """The server has closed the socket.

    Attributes:
        code: of its close frame; None where it sent none.
        reason: the words beside it.
    """

    def __init__(self, code: int | None, reason: str = "") -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason


class RawSocket:
    """One WebSocket, without any library between a test and its bytes; it answers no ping.

    Attributes:
        status: of the answer to the handshake; 101 where the socket is open.
        headers: of that answer, with small letters.
        body: of that answer, where it is no 101.
        connection: the socket itself.
    """

    def __init__(
        self,
        server: RunningServer,
        path: str = CHAT,
        *headers: str,
        receive_buffer: int | None = None,
    ) -> None:
        self.connection = connect(server, receive_buffer=receive_buffer)
        self._unread = b""
        key = base64.b64encode(os.urandom(16)).decode()
        lines = [
            f"GET {path} HTTP/1.1",
            "Host: {}:{}".format(*self.connection.getpeername()),
            "Connection: Upgrade",
            "Upgrade: websocket",
            "Sec-WebSocket-Version: 13",
            f"Sec-WebSocket-Key: {key}",
            *headers,
        ]
        self.connection.sendall("\r\n".join([*lines, "", ""]).encode("latin-1"))
        first, *lines = self._until(b"\r\n\r\n").decode("latin-1").split("\r\n")[:-2]
        self.status = int(first.split(" ")[1])
        self.headers = dict(line.lower().split(": ", 1) for line in lines)
        self.body = (
            b"" if self.status == 101 else self._exactly(int(self.headers["content-length"]))
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.connection.close()

    def send(self, *values: Any) -> None:
        """Send each as JSON text, all in one write."""
        self.connection.sendall(b"".join(encode(value) for value in values))

    def send_bytes(self, data: bytes) -> None:
        """Send bytes as they are."""
        self.connection.sendall(data)

    def receive(self) -> tuple[int, bytes]:
        """The next frame, opcode and payload.

        Raises:
            Closed: it was a close frame, or the connection has ended without one.
        """
        first, second = self._exactly(2)
        assert first & 0x80 and not second & 0x80, "neither fragments nor masks come from a server"
        size = second
        if second == 126:
            (size,) = struct.unpack("!H", self._exactly(2))
        elif second == 127:
            (size,) = struct.unpack("!Q", self._exactly(8))
        payload = self._exactly(size)
        if first & 0x0F == CLOSE:
            raise Closed(int.from_bytes(payload[:2], "big"), payload[2:].decode())
        return first & 0x0F, payload

    def read(self) -> dict[str, Any]:
        """The next frame of JSON text; pings and pongs are passed over."""
        while True:
            opcode, payload = self.receive()
            if opcode == TEXT:
                value: dict[str, Any] = json.loads(payload)
                return value

    def read_until(self, **fields: Any) -> dict[str, Any]:
        """The next frame that has these fields; those before it are passed over."""
        while True:
            value = self.read()
            if all(value.get(name) == wanted for name, wanted in fields.items()):
                return value

    def closed(self) -> Closed:
        """Wait until the server closes the socket; what it sends before is passed over."""
        try:
            while True:
                self.receive()
        except Closed as closed:
            return closed

    def _until(self, mark: bytes) -> bytes:
        while mark not in self._unread:
            self._more()
        found, mark, self._unread = self._unread.partition(mark)
        return found + mark

    def _exactly(self, size: int) -> bytes:
        while len(self._unread) < size:
            self._more()
        found, self._unread = self._unread[:size], self._unread[size:]
        return found

    def _more(self) -> None:
        try:
            data = self.connection.recv(65536)
        except ConnectionResetError:
            data = b""
        if not data:
            raise Closed(None)
        self._unread += data


def vanish(connection: socket.socket) -> None:
    """Leave by a reset, as a client that has crashed does."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()
