"""Proves that floods and half-open sockets cost bounded memory, and are answered or ended."""

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from tests.integration.waiting import wait_running, wait_until
from tests.servers import RunningServer, running_server
from tests.survival.clients import Progress, receive, receive_once
from tests.survival.counts import answers, nothing_left, resident_bytes, sockets
from tests.survival.frames import CONTINUATION, PING, PONG, TEXT, Closed, RawSocket, encode, frame
from tests.survival.proxy import Cut, Proxy, behind

PINGS = 10_000
FLOOD_BYTES = 64 * 2**20
MAX_BYTES = 16 * 2**20
REQUESTS = 1000
AT_ONCE = 64  # the setting's default
TOKENS = 200

JSON_PING = encode({"type": "ping"})
PROTOCOL_PING = frame(b"x" * 125, PING)


def asked(**fields: Any) -> dict[str, Any]:
    """A request of some length."""
    user = {"role": "user", "content": "Count"}
    return {
        "messages": [user],
        "max_tokens": TOKENS,
        "ignore_eos": True,
        "stream": True,
    } | fields


def endless() -> dict[str, Any]:
    """A request that runs for longer than any test here."""
    return asked(max_tokens=16_000)


each_ping = pytest.mark.parametrize(
    ("ping", "pong"), [(JSON_PING, TEXT), (PROTOCOL_PING, PONG)], ids=["JSON", "protocol"]
)


@pytest.fixture(autouse=True)
def goes_on(fast_server: RunningServer) -> Iterator[None]:
    """Whatever a test sends: the server answers, and nothing is left."""
    with nothing_left(fast_server):
        yield
        answers(fast_server)


@each_ping
def test_ten_thousand_pings_get_ten_thousand_pongs(
    fast_server: RunningServer, ping: bytes, pong: int
) -> None:
    with RawSocket(fast_server) as session:
        for _ in range(PINGS // 100):
            session.send_bytes(ping * 100)
            assert [session.receive()[0] for _ in range(100)] == [pong] * 100


@each_ping
def test_pings_whose_answers_nobody_reads_are_answered_when_somebody_does(
    fast_server: RunningServer, ping: bytes, pong: int
) -> None:
    with RawSocket(fast_server, receive_buffer=2048) as session:
        session.send_bytes(ping * PINGS)
        answers(fast_server)
        assert {session.receive()[0] for _ in range(PINGS)} == {pong}


def flood(connection: socket.socket, first: bytes, more: bytes) -> int:
    """Send as much as is taken, but not more than the bound; says how much that was."""
    connection.settimeout(2)
    sent, data = 0, first
    with contextlib.suppress(TimeoutError):
        while sent < FLOOD_BYTES:
            size = connection.send(data)
            sent += size
            # What was taken in part may end inside a frame.
            data = data[size:] or more
    return sent


@pytest.mark.parametrize("ping", [JSON_PING, PROTOCOL_PING], ids=["JSON", "protocol"])
@pytest.mark.parametrize("asking", [b"", encode(endless())], ids=["alone", "with requests"])
def test_who_does_not_read_is_not_read_either(
    fast_server: RunningServer, ping: bytes, asking: bytes
) -> None:
    before = resident_bytes(fast_server)
    with RawSocket(fast_server, receive_buffer=2048) as session:
        # Some of them come together with the pings that fill the buffers: to take the requests must
        # not make the server read on.
        first = (asking + ping * 50) * (AT_ONCE - 1)
        assert flood(session.connection, first, ping * 1000) < FLOOD_BYTES
        answers(fast_server)
        assert resident_bytes(fast_server) - before < MAX_BYTES


def test_of_a_thousand_requests_on_one_socket_those_beyond_the_limit_are_refused(
    fast_server: RunningServer,
) -> None:
    with RawSocket(fast_server) as session:
        session.send(*(asked(request_id=number) for number in range(REQUESTS)))
        ends: list[dict[str, Any]] = []
        while len(ends) < REQUESTS:
            value = session.read()
            if "choices" not in value:
                ends.append(value)
    assert {each["request_id"] for each in ends} == {*range(REQUESTS)}
    refused = [each for each in ends if "error" in each]
    assert len(refused) <= REQUESTS - AT_ONCE
    assert {each["status"] for each in refused} == {429}
    assert {each["error"]["code"] for each in refused} == {"too_many_requests"}
    assert all(each["retry_after_ms"] > 0 for each in refused)
    whole = [each for each in ends if "error" not in each]
    assert all(each["usage"]["completion_tokens"] == TOKENS for each in whole)


def test_a_thousand_requests_on_one_socket_are_answered_when_they_wait_for_each_other(
    fast_server: RunningServer,
) -> None:
    with RawSocket(fast_server) as session:
        session.send(*(asked(max_tokens=5, request_id=number) for number in range(AT_ONCE)))
        for number in range(AT_ONCE, REQUESTS + AT_ONCE):
            done = session.read_until(object="chat.completion.done")
            assert done["usage"]["completion_tokens"] == 5
            if number < REQUESTS:
                session.send(asked(max_tokens=5, request_id=number))


@pytest.fixture(scope="module")
def impatient_server() -> Iterator[RunningServer]:
    """A server that soon closes sockets that are idle, or gone."""
    flags = ("--websocket-ping-seconds=1", "--websocket-idle-seconds=3", "--no-access-log")
    speed = "--engine-args=token_seconds=0.05"
    with running_server("--engine=simulated", speed, *flags) as server:
        yield server
    assert "Traceback" not in server.log and "ERROR" not in server.log, server.log


def test_who_answers_no_ping_is_closed(impatient_server: RunningServer) -> None:
    with nothing_left(impatient_server), RawSocket(impatient_server) as session:
        session.send(endless())
        assert session.closed().code == 1011
        wait_running(impatient_server, 0)


def test_an_idle_socket_is_closed(impatient_server: RunningServer) -> None:
    with nothing_left(impatient_server), RawSocket(impatient_server) as session:
        assert answer_pings(session).code == 1000


def test_a_frame_that_never_ends_is_idleness(impatient_server: RunningServer) -> None:
    with nothing_left(impatient_server), RawSocket(impatient_server) as session:
        session.send_bytes(frame(b"[", final=False))
        assert answer_pings(session, then=frame(b"[", CONTINUATION, final=False)).code == 1000


def answer_pings(session: RawSocket, then: bytes = b"") -> Closed:
    """Answer each ping, and send more, until the socket is closed."""
    try:
        while True:
            opcode, payload = session.receive()
            if opcode == PING:
                session.send_bytes(frame(payload, PONG) + then)
    except Closed as closed:
        return closed


def test_a_socket_whose_request_runs_is_not_idle(impatient_server: RunningServer) -> None:
    with RawSocket(impatient_server) as session:
        session.send(asked(max_tokens=100))
        tokens = 0
        while tokens <= 100:
            opcode, payload = session.receive()
            if opcode == PING:
                session.send_bytes(frame(payload, PONG))
            else:
                tokens += b'"content"' in payload
        assert session.read()["choices"][0]["finish_reason"] == "length"


@pytest.mark.parametrize("resume_for", [0, 30])
def test_clients_that_vanish_are_noticed(
    impatient_server: RunningServer, resume_for: float
) -> None:
    body = asked(max_tokens=150)
    cut = Cut("down", behind(b"}]}", nth=3), "vanish")

    async def work() -> None:
        before = sockets(impatient_server)
        progress = Progress(body, key=f"vanished-{resume_for}", resume_for=resume_for or 1e-3)
        async with Proxy(impatient_server.url, [cut]) as proxy:
            await receive_once(proxy.url, progress, "ws")
            assert proxy.done["vanish"]
            # The other end of the connection is still there, and says nothing.
            await asyncio.to_thread(wait_until, lambda: sockets(impatient_server) <= before + 1)
            if resume_for:
                await receive(proxy.url, progress, ["sse"])
                assert progress.numbers == [*range(153)]

    asyncio.run(work())
    wait_running(impatient_server, 0)
