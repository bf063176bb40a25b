"""Proves that who is slow without end, or opens connections without end, is sent away, and that
nobody else is."""

import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.integration.sockets import connect, exchange, request
from tests.integration.waiting import wait_until
from tests.servers import RunningServer, running_server
from tests.survival.counts import answers, nothing_left, sockets

HEADER_SECONDS = 1.0
# A body has to bring 128 bytes a second, and is looked at once in so many seconds.
STALL_SECONDS = 1.0
PATIENCE_SECONDS = 20.0

BODY = b'{"prompt": "Count", "max_tokens": 3, "ignore_eos": true}'
HEAD = b"GET /health HTTP/1.1\r\nHost: test\r\n"
CHUNKED = b"POST /v1/completions HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n"
ENDLESS_BODY = b"POST /v1/completions HTTP/1.1\r\nHost: test\r\nContent-Length: 1000000\r\n\r\n"


@pytest.fixture(scope="module")
def impatient_server() -> Iterator[RunningServer]:
    """A server that waits for nobody, and complains of nothing."""
    flags = (
        f"--header-seconds={HEADER_SECONDS}",
        f"--stall-seconds={STALL_SECONDS}",
        "--idle-seconds=1",
        "--no-access-log",
    )
    speed = "--engine-args=token_seconds=0.02"
    with running_server("--engine=simulated", speed, *flags) as server:
        yield server
    assert "Traceback" not in server.log and "ERROR" not in server.log, server.log


def drip(server: RunningServer, first: bytes, piece: bytes) -> tuple[bytes, float]:
    """Send a piece every 50 ms until the server ends it; its answer, and the seconds it took."""
    received = b""
    started = time.monotonic()
    with connect(server) as connection:
        connection.sendall(first)
        connection.settimeout(0.05)
        while time.monotonic() - started < PATIENCE_SECONDS:
            try:
                data = connection.recv(65536)
                if not data:
                    return received, time.monotonic() - started
                received += data
            except TimeoutError:
                pass
            except ConnectionError:
                return received, time.monotonic() - started
            try:
                connection.sendall(piece)
            except ConnectionError:
                return received, time.monotonic() - started
    raise AssertionError(f"not sent away within {PATIENCE_SECONDS:g} s")


SLOW: dict[str, tuple[bytes, bytes, int]] = {
    "a target": (b"GET /", b"a", 408),
    "a header": (HEAD + b"X: ", b"a", 408),
    "headers": (HEAD, b"X: a\r\n", 408),
    "a body": (ENDLESS_BODY, b"a", 408),
    "chunks": (CHUNKED, b"1\r\na\r\n", 408),
    "an extension of a chunk": (CHUNKED + b"1;", b"a", 408),
    "a trailer": (CHUNKED + b"1\r\n{\r\n0\r\nX: ", b"a", 408),
    "empty lines": (b"", b"\r\n", 408),
    "empty lines behind a request": (HEAD + b"\r\n", b"\r\n", 408),
}


@pytest.mark.parametrize(("first", "piece", "status"), SLOW.values(), ids=SLOW)
def test_who_sends_a_byte_at_a_time_is_sent_away_soon(
    impatient_server: RunningServer, first: bytes, piece: bytes, status: int
) -> None:
    with nothing_left(impatient_server):
        received, seconds = drip(impatient_server, first, piece)
    assert b"HTTP/1.1 %d " % status in received
    assert seconds < 10
    answers(impatient_server)


def test_who_sends_nothing_is_sent_away_without_a_word(impatient_server: RunningServer) -> None:
    with connect(impatient_server) as connection:
        assert connection.recv(65536) == b""


def test_a_connection_between_requests_is_closed_after_a_while(
    impatient_server: RunningServer,
) -> None:
    with connect(impatient_server) as connection:
        for _ in range(2):
            connection.sendall(request("GET", "/health"))
            assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")
        # Once more without an answer: the end, and no 408 for a request that nobody made.
        assert connection.recv(65536) == b""


def test_a_slow_body_that_goes_on_is_taken(impatient_server: RunningServer) -> None:
    body = BODY[:-1] + b" " * 2000 + b"}"
    started = time.monotonic()
    with connect(impatient_server) as connection:
        connection.sendall(
            b"POST /v1/completions HTTP/1.1\r\nHost: test\r\nConnection: close\r\n"
            b"Content-Length: %d\r\n\r\n" % len(body)
        )
        connection.settimeout(0.05)
        while len(body) > 80:
            connection.sendall(body[:40])  # 800 bytes a second
            body = body[40:]
            with pytest.raises(TimeoutError):
                connection.recv(65536)
        connection.settimeout(PATIENCE_SECONDS)
        connection.sendall(body)
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert time.monotonic() - started > 2 * STALL_SECONDS


def test_a_thousand_slow_clients_delay_nobody(impatient_server: RunningServer) -> None:
    with nothing_left(impatient_server), ExitStack() as stack:
        for _ in range(1000):
            stack.enter_context(connect(impatient_server)).sendall(HEAD)
        started = time.monotonic()
        answers(impatient_server)
        print(f"\nanswered beside 1000 slow clients in {time.monotonic() - started:.3f} s")
        wait_until(lambda: sockets(impatient_server) < 100)


def test_a_stream_is_no_slow_client(impatient_server: RunningServer) -> None:
    body = {"prompt": "Count", "max_tokens": 150, "ignore_eos": True, "stream": True}
    answer = exchange(
        impatient_server, request("POST", "/v1/completions", body, connection="close")
    )
    assert answer.count(b"data: ") > 150 and b"[DONE]" in answer


@pytest.fixture(scope="module")
def small_server() -> Iterator[RunningServer]:
    """A server for eight connections."""
    with running_server("--engine=simulated", "--max-connections=8") as server:
        yield server
    assert "Traceback" not in server.log and "ERROR" not in server.log, server.log


def refused(server: RunningServer) -> bytes:
    """What a connection is told before it has sent anything; nothing where it may stay."""
    with connect(server) as connection:
        connection.settimeout(0.3)
        try:
            return b"".join(iter(lambda: connection.recv(65536), b""))
        except TimeoutError:
            return b""


def test_connections_beyond_the_limit_are_told_so_and_those_before_are_served(
    small_server: RunningServer,
) -> None:
    with ExitStack() as stack:
        open_ones = [stack.enter_context(connect(small_server)) for _ in range(8)]
        wait_until(lambda: bool(refused(small_server)))
        told = exchange(small_server, request("GET", "/health"))
        head, _, body = told.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 503 ") and b"\r\nretry-after: 1\r\n" in head
        assert b"\r\nconnection: close" in head and b'"overloaded"' in body
        for connection in open_ones:
            connection.sendall(request("GET", "/health"))
            assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")
    wait_until(lambda: not refused(small_server))
    answers(small_server)


def test_a_flood_of_connections_beyond_the_limit_is_ended_and_leaves_nothing(
    small_server: RunningServer,
) -> None:
    before = sockets(small_server)
    with ExitStack() as stack:
        for _ in range(300):
            stack.enter_context(connect(small_server))
        # Some are told, and have time to read it; the others are not even held.
        wait_until(lambda: sockets(small_server) <= before + 8 + 64)
    wait_until(lambda: sockets(small_server) <= before)
    wait_until(lambda: not refused(small_server))
    answers(small_server)
