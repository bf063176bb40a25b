"""Receives requests as bytes and a load; hands on what came back, byte for byte, with its times.

The clock runs here, so this does as little as it can: one process, one epoll, plain sockets, and
per read two appends. What the bytes mean is worked out in `replies`, after the clock has stopped.
"""

import gc
import os
import select
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from msgspec import Struct

from bench.answers import WrongAnswer
from bench.loads import prompt_index

_READ_BYTES: Final = 65_536
_CHUNKED_END: Final = b"\r\n0\r\n\r\n"
_DEADLINE_S: Final = 60.0


class Reply(Struct, kw_only=True):
    """One request as it went over the wire; times in ns of `time.perf_counter_ns`.

    Attributes:
        prompt: index into the requests.
        started: just before the request was sent.
        reads: each read, and when it returned.
    """

    prompt: int
    started: int
    reads: list[tuple[int, bytes]]


class _Connection:
    """One kept-alive connection with at most one request in flight."""

    __slots__ = ("_missing", "_number", "_tail", "_turn", "left", "reply", "socket")

    reply: Reply

    def __init__(self, address: tuple[str, int], *, number: int) -> None:
        self.socket = socket.create_connection(address, timeout=5)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self.left = 0
        self._number = number
        self._turn = 0

    def ask(self, requests: Sequence[bytes]) -> None:
        """Sends the next request; the clock of its reply starts with it."""
        prompt = prompt_index(self._number, self._turn)
        self._turn += 1
        self._tail = b""
        self._missing: int | None = None
        self.reply = Reply(prompt=prompt, started=time.perf_counter_ns(), reads=[])
        if self.socket.send(requests[prompt]) != len(requests[prompt]):
            raise WrongAnswer("The server does not read its requests")

    def read(self) -> bool:
        """Takes what has come; tells whether the answer is complete.

        Raises:
            WrongAnswer: the server hung up in the middle.
        """
        data = self.socket.recv(_READ_BYTES)
        self.reply.reads.append((time.perf_counter_ns(), data))
        if not data:
            raise WrongAnswer(f"The server hung up after {self._tail!r}")
        if self._missing is None:
            return self._begin(data)
        if self._missing >= 0:
            self._missing -= len(data)
            return self._missing <= 0
        # The end may be split over two reads. No event holds a bare CR, so nothing else looks so.
        tail = self._tail + data
        self._tail = tail[1 - len(_CHUNKED_END) :]
        return tail.endswith(_CHUNKED_END)

    def _begin(self, data: bytes) -> bool:
        """Reads the head, once it is there: a length, or chunks (-1)."""
        self._tail += data
        head, found, body = self._tail.partition(b"\r\n\r\n")
        if not found:
            return False
        for line in head.lower().split(b"\r\n"):
            if line.startswith(b"content-length:"):
                self._missing = int(line[15:]) - len(body)
                return self._missing <= 0
        self._missing = -1
        self._tail = self._tail[1 - len(_CHUNKED_END) :]
        return body.endswith(_CHUNKED_END)


class Client:
    """The connections of one load. Close it after use: it is a context manager."""

    def __init__(self, address: tuple[str, int], *, connections: int) -> None:
        self._epoll = select.epoll()
        self._connections: dict[int, _Connection] = {}
        for number in range(connections):
            connection = _Connection(address, number=number)
            self._connections[connection.socket.fileno()] = connection
            self._epoll.register(connection.socket.fileno(), select.EPOLLIN)

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self._epoll.close()
        for connection in self._connections.values():
            connection.socket.close()

    def wave(self, requests: Sequence[bytes], *, repeats: int) -> tuple[list[Reply], int]:
        """Starts a request on every connection at once, and the next on each as one is answered.

        Args:
            requests: the whole request for each prompt.
            repeats: requests per connection.

        Returns:
            The replies, and the ns from the first request to the last byte.

        Raises:
            WrongAnswer: the server hung up, or was silent until the deadline.
        """
        replies: list[Reply] = []
        started = time.perf_counter_ns()
        for connection in self._connections.values():
            connection.left = repeats
            connection.ask(requests)
        pending = len(self._connections)
        while pending:
            for fileno, _ in self._poll(started):
                connection = self._connections[fileno]
                if not connection.read():
                    continue
                replies.append(connection.reply)
                connection.left -= 1
                if connection.left:
                    connection.ask(requests)
                else:
                    pending -= 1
        return replies, time.perf_counter_ns() - started

    def _poll(self, started: int) -> list[tuple[int, int]]:
        left = _DEADLINE_S - (time.perf_counter_ns() - started) / 1e9
        events = self._epoll.poll(left) if left > 0 else []
        if not events:
            raise WrongAnswer(f"No answer within {_DEADLINE_S:.0f} s")
        return events


@contextmanager
def undisturbed() -> Iterator[None]:
    """Keeps the garbage collector out of what is being timed."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@contextmanager
def first_in_line() -> Iterator[None]:
    """Lets the client run whenever it can, as one on a machine of its own would, where permitted.

    Without it, a kernel that shares the CPU by session (autogroups) was seen to keep the client
    waiting for half a second beside a busy engine: what it then measures is the scheduler.
    """
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    except PermissionError:
        yield
        return
    try:
        yield
    finally:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


def waited_ns() -> int:
    """Reads how long this thread has been waiting for a CPU since it began."""
    return int(Path("/proc/thread-self/schedstat").read_text().split()[1])


def post(body: bytes, *, host: str, path: str) -> bytes:
    """Writes a whole HTTP request."""
    return (
        f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    ).encode() + body
