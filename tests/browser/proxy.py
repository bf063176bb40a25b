"""Receives a server; hands on an address for it, at which a test cuts, stalls or refuses."""

import contextlib
import socket
import threading
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

END_SECONDS = 10.0


class Proxy:
    """Stands between a browser and a server, worked by hand.

    Args:
        url: the server's.

        prefix: a path below which the server stands here, and which it does not see.

    Attributes:
        target: where new connections lead; a test may set another.
        refusing: whether new connections are closed at once.
    """

    def __init__(self, url: str, *, prefix: str = "") -> None:
        self.target = url
        self._prefix = f" {prefix}/".encode()
        self.refusing = False
        self._lock = threading.Lock()
        self._open: dict[socket.socket, threading.Event] = {}
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = "http://{}:{}".format(*self._listener.getsockname()) + prefix

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.refusing = True
        # A close alone does not wake who accepts.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()
        for thread in self._threads:
            thread.join(END_SECONDS)
            assert not thread.is_alive()

    def cut(self) -> None:
        """End all connections."""
        with self._lock:
            connections = list(self._open)
        for connection in connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def stall(self) -> None:
        """Let nothing that the server says pass any more, in the connections that are open."""
        with self._lock:
            for stalled in self._open.values():
                stalled.set()

    def _start(self, work: object, *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                if self.refusing:
                    client.close()
                else:
                    self._connect(client)

    def _connect(self, client: socket.socket) -> None:
        address = urlsplit(self.target)
        server = socket.create_connection((address.hostname, address.port), END_SECONDS)
        server.settimeout(None)
        stalled = threading.Event()
        with self._lock:
            self._open |= {client: stalled, server: stalled}
        ends = threading.Barrier(2)
        self._start(self._pump, client, server, None, ends)
        self._start(self._pump, server, client, stalled, ends)

    def _pump(
        self,
        source: socket.socket,
        target: socket.socket,
        stalled: threading.Event | None,
        ends: threading.Barrier,
    ) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if not (stalled and stalled.is_set()):
                    # That of a request line; what else the browser sends has no such bytes.
                    target.sendall(data if stalled else data.replace(self._prefix, b" /", 1))
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)
        # Whoever is last closes: the other one may still be reading.
        if ends.wait() == 0:
            with self._lock:
                del self._open[source], self._open[target]
            source.close()
            target.close()
