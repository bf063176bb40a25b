"""Proves that who does not read costs bounded memory, holds up nobody else, and is sent away."""

import contextlib
import functools
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from socket import socket
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from tests.integration.sockets import connect, request
from tests.integration.waiting import wait_running, wait_until
from tests.servers import RunningServer, running_server
from tests.survival.counts import answers, nothing_left, resident_bytes, written
from tests.survival.frames import CHAT, RawSocket

STALLED = 200
RECEIVE_BUFFER = 2048
# For each: a step or two in the log, and what the transport holds of it.
MAX_BYTES = STALLED * 512 * 1024
# More than fits into any buffer on the way.
MAX_TOKENS = 16_000
CHOICES = 8
LONG = {
    "messages": [{"role": "user", "content": "Count without end."}],
    "max_tokens": MAX_TOKENS,
    "ignore_eos": True,
    "stream": True,
    "n": CHOICES,
}
FEW_TOKENS = 200
SHORT = {**LONG, "max_tokens": FEW_TOKENS, "n": 1}


@pytest.fixture(scope="module")
def strict_server() -> Iterator[RunningServer]:
    """A server that soon sends away who takes nothing."""
    with running_server("--engine=simulated", "--stall-seconds=2", "--no-access-log") as server:
        yield server
    assert "Traceback" not in server.log and "ERROR" not in server.log, server.log


def over_sse(server: RunningServer, **terms: Any) -> socket:
    """Ask for a long answer, and do not read it."""
    connection = connect(server, receive_buffer=RECEIVE_BUFFER)
    headers = {"inferneo_resume_for": "5"} if terms else {}
    connection.sendall(request("POST", CHAT, LONG, **headers))
    return connection


def over_websocket(server: RunningServer, **terms: Any) -> socket:
    """Ask for a long answer over a WebSocket, and do not read it."""
    session = RawSocket(server, receive_buffer=RECEIVE_BUFFER)
    session.send({**LONG, **terms})
    return session.connection


Ask = Callable[..., socket]
KINDS: dict[str, tuple[Ask, dict[str, Any]]] = {
    "sse": (over_sse, {}),
    "resumable sse": (over_sse, {"resume_for": 5}),
    "websocket": (over_websocket, {}),
    "resumable websocket": (over_websocket, {"resume_for": 5}),
}
each_kind = pytest.mark.parametrize(("ask", "terms"), KINDS.values(), ids=KINDS)


def unsent(server: RunningServer) -> list[int]:
    """Bytes that wait in each of the server's sockets, where some do (proc(5), net/tcp)."""
    waiting = []
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        local, queues = line.split()[1], line.split()[4]
        size = int(queues.partition(":")[0], 16)
        if size and int(local.rpartition(":")[2], 16) == urlsplit(server.url).port:
            waiting.append(size)
    return waiting


def stalled(server: RunningServer, count: int) -> bool:
    """Whether so many sockets are full, and stay so over rounds of the event loop."""
    seen = set()
    for _ in range(5):
        server.metric("inferneo_choices_running")
        seen.add(tuple(sorted(unsent(server))))
    return len(seen) == 1 and len(seen.pop()) >= count


@contextlib.contextmanager
def stalled_streams(server: RunningServer, count: int, ask: Ask, **terms: Any) -> Iterator[None]:
    """So many streams that nobody reads; all of them wait for their readers in the block."""
    with contextlib.ExitStack() as stack:
        for _ in range(count):
            stack.enter_context(ask(server, **terms))
        wait_until(lambda: stalled(server, count), seconds=60)
        assert server.metric("inferneo_choices_running") == count * CHOICES
        yield


def read_to_the_end(server: RunningServer) -> None:
    """Answers of those who read come whole."""
    for _ in range(10):
        answer = httpx.post(f"{server.url}{CHAT}", json=SHORT, timeout=30).raise_for_status()
        assert answer.text.count('"content"') == FEW_TOKENS + 1
        assert answer.text.endswith("data: [DONE]\n\n")
        with RawSocket(server) as session:
            session.send(SHORT)
            done = session.read_until(object="chat.completion.done")
            assert done["usage"]["completion_tokens"] == FEW_TOKENS


@each_kind
def test_streams_that_nobody_reads_cost_little_and_hold_up_nobody(
    fast_server: RunningServer, ask: Ask, terms: dict[str, Any]
) -> None:
    read_to_the_end(fast_server)
    before = resident_bytes(fast_server)
    with nothing_left(fast_server), stalled_streams(fast_server, STALLED, ask, **terms):
        assert resident_bytes(fast_server) - before < MAX_BYTES
        read_to_the_end(fast_server)
        assert fast_server.metric("inferneo_choices_running") == STALLED * CHOICES


def resume_over_sse(server: RunningServer, stream_id: str) -> socket:
    connection = connect(server, receive_buffer=RECEIVE_BUFFER)
    connection.sendall(request("GET", f"/v1/streams/{stream_id}"))
    return connection


def resume_over_websocket(server: RunningServer, stream_id: str) -> socket:
    session = RawSocket(server, receive_buffer=RECEIVE_BUFFER)
    session.send({"type": "resume", "id": stream_id})
    return session.connection


@pytest.mark.parametrize("resume", [resume_over_sse, resume_over_websocket])
def test_readers_of_a_long_log_who_do_not_read_cost_little(
    fast_server: RunningServer, resume: Callable[[RunningServer, str], socket]
) -> None:
    body = {**LONG, "n": 1}
    headers = {"Inferneo-Resume-For": "60"}
    with httpx.stream("POST", f"{fast_server.url}{CHAT}", json=body, headers=headers) as answer:
        size = sum(len(part) for part in answer.iter_raw())
        stream_id = answer.headers["inferneo-stream"].rpartition("/")[2]
    assert size > 3_000_000
    before = resident_bytes(fast_server)
    with contextlib.ExitStack() as stack:
        for _ in range(STALLED):
            stack.enter_context(resume(fast_server, stream_id))
        wait_until(lambda: stalled(fast_server, STALLED), seconds=60)
        assert resident_bytes(fast_server) - before < MAX_BYTES
        read_to_the_end(fast_server)


@pytest.mark.parametrize("ask", [over_sse, over_websocket])
def test_who_takes_nothing_is_sent_away(strict_server: RunningServer, ask: Ask) -> None:
    before = written(strict_server).completion_tokens
    with nothing_left(strict_server), contextlib.ExitStack() as stack:
        for _ in range(10):
            stack.enter_context(ask(strict_server))
        wait_running(strict_server, 10 * CHOICES)
        # By itself: no client leaves, and no answer is whole.
        wait_running(strict_server, 0)
        tokens = written(strict_server).completion_tokens - before
        assert 0 < tokens < 10 * CHOICES * MAX_TOKENS
        read_to_the_end(strict_server)


def test_a_stream_that_can_be_resumed_waits_for_who_was_sent_away(
    strict_server: RunningServer,
) -> None:
    body = {**LONG, "n": 1}
    with connect(strict_server, receive_buffer=RECEIVE_BUFFER) as connection:
        connection.sendall(request("POST", CHAT, body, inferneo_resume_for="60"))
        head = b""
        while b"\r\n\r\n" not in head:
            head += connection.recv(512)
        path = re.search(rb"inferneo-stream: (\S+)", head)
        assert strict_server.metric("inferneo_choices_running") == 1
        # Nobody holds the engine up any more: it writes on, to the end.
        wait_running(strict_server, 0)
    assert path is not None
    answer = httpx.get(
        strict_server.url + path.group(1).decode(), headers={"Accept": "application/json"}
    )
    assert answer.json()["usage"]["completion_tokens"] == MAX_TOKENS


def test_comments_do_not_pile_up_before_a_slow_reader_nor_come_behind_the_end() -> None:
    flags = ("--engine=simulated", "--keep-alive-seconds=0.01", "--no-access-log")
    headers = {"Inferneo-Resume-For": "60"}
    # Of one of these answers the server waits to write the last piece, whatever buffers hold.
    lengths = range(600, 2000, 100)
    with running_server(*flags) as server, contextlib.ExitStack() as stack:
        connections = []
        for length in lengths:
            body = {**LONG, "n": 1, "max_tokens": length}
            answer = httpx.post(f"{server.url}{CHAT}", json=body, headers=headers)
            connection = connect(server, receive_buffer=RECEIVE_BUFFER)
            connections.append(stack.enter_context(connection))
            path = answer.headers["inferneo-stream"]
            connection.sendall(request("GET", path, connection="close"))
        wait_until(lambda: stalled(server, 5))
        for connection, length in zip(connections, lengths, strict=True):
            read = b"".join(iter(functools.partial(connection.recv, 4096), b""))
            assert read.endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")
            assert read.count(b'"content"') == length + 1
            assert b": keep-alive" not in read
        # What a task has failed with is told when it is collected.
        for _ in range(100):
            answers(server)
    assert "Traceback" not in server.log, server.log
