"""Receives a server and requests; hands on connections and bytes as they go over the wire."""

import json
import socket
from typing import Any
from urllib.parse import urlsplit

from tests.servers import RunningServer

READ_SECONDS = 30.0


def connect(server: RunningServer, *, receive_buffer: int | None = None) -> socket.socket:
    """Open a connection; a small receive buffer, in bytes, soon makes the server wait."""
    address = urlsplit(server.url)
    connection = socket.socket(socket.AF_INET)
    if receive_buffer:
        # Before the connection is made: the window is agreed on then (tcp(7), SO_RCVBUF).
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    connection.settimeout(READ_SECONDS)
    connection.connect((address.hostname, address.port))
    return connection


def request(method: str, path: str, body: Any = None, **headers: str) -> bytes:
    """A request as it goes over the wire; `body` is bytes, or what becomes JSON."""
    payload = (
        body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    )
    lines = [f"{method} {path} HTTP/1.1", "host: test", f"content-length: {len(payload)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + payload


def exchange(server: RunningServer, *requests: bytes) -> bytes:
    """Send all at once, and read until the server closes: the last request has to ask for that."""
    with connect(server) as connection:
        connection.sendall(b"".join(requests))
        return b"".join(iter(lambda: connection.recv(65536), b""))
