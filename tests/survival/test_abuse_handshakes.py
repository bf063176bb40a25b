"""Proves that requests and handshakes that are wrong, or never whole, are refused and forgotten."""

from collections.abc import Iterator

import pytest

from tests.integration.sockets import connect, request
from tests.integration.waiting import wait_until
from tests.servers import RunningServer, running_server
from tests.survival.counts import answers, nothing_left, sockets
from tests.survival.frames import CHAT, RawSocket, encode

KEY = "AAAAAAAAAAAAAAAAAAAAAA=="
HANDSHAKE = {
    "Host": "test",
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": KEY,
}


def handshake(first: str = f"GET {CHAT} HTTP/1.1", body: bytes = b"", **changed: str) -> bytes:
    """A handshake with some headers changed, added, or, where they are empty, left out."""
    headers = HANDSHAKE | {name.replace("_", "-"): value for name, value in changed.items()}
    lines = [f"{name}: {value}" for name, value in headers.items() if value]
    return "\r\n".join([first, *lines, "", ""]).encode("latin-1") + body


@pytest.fixture(autouse=True)
def goes_on(abused_server: RunningServer) -> Iterator[None]:
    """Whatever a test sends: the server answers, and nothing is left."""
    with nothing_left(abused_server):
        yield
        answers(abused_server)


REFUSED = {
    "no key": (handshake(Sec_WebSocket_Key=""), 400),
    "a key that is none": (handshake(Sec_WebSocket_Key="x"), 400),
    "an old version": (handshake(Sec_WebSocket_Version="8"), 400),
    "a POST": (handshake(f"POST {CHAT} HTTP/1.1"), 405),
    "a body": (handshake(Content_Length="2", body=b"{}"), 400),
    "too many headers": (handshake(X_Many="1\r\nX-Many: " * 200), 431),
    "too long a header": (handshake(X_Long="a" * 20_000), 431),
    "too long a path": (handshake(f"GET {CHAT}?{'a' * 20_000} HTTP/1.1"), 414),
    "an extension that is none": (handshake(Sec_WebSocket_Extensions=";;"), 400),
    "a subprotocol that is none": (handshake(Sec_WebSocket_Protocol=",,"), 400),
    "a route without a socket": (handshake("GET /v1/models HTTP/1.1"), 403),
    "no route": (handshake("GET /nowhere HTTP/1.1"), 403),
    "another page": (handshake(Origin="https://elsewhere.example"), 403),
    "no page": (handshake(Origin="null"), 403),
    "an origin that is none": (handshake(Origin="http://["), 403),
    "bytes that are no HTTP": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 9, 400),
}


@pytest.mark.parametrize(("data", "status"), REFUSED.values(), ids=REFUSED)
def test_a_handshake_that_is_none_is_refused_at_once(
    abused_server: RunningServer, data: bytes, status: int
) -> None:
    with connect(abused_server) as connection:
        connection.sendall(data)
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 %d " % status)


@pytest.mark.parametrize("origin", ["http://localhost:3000", "http://127.0.0.1", "http://[::1]:80"])
def test_pages_of_this_machine_may_connect_to_a_server_on_loopback(
    abused_server: RunningServer, origin: str
) -> None:
    with RawSocket(abused_server, CHAT, f"Origin: {origin}") as session:
        session.send({"type": "ping"})
        assert session.read() == {"type": "pong"}


def test_clients_that_leave_in_the_handshake_leave_nothing(abused_server: RunningServer) -> None:
    whole = handshake()
    for end in range(0, len(whole), 10):
        with connect(abused_server) as connection:
            connection.sendall(whole[:end])


def test_clients_that_leave_right_behind_a_request_leave_nothing(
    abused_server: RunningServer,
) -> None:
    user = {"role": "user", "content": "Count"}
    endless = {"messages": [user], "max_tokens": 16_000, "ignore_eos": True, "stream": True}
    for _ in range(50):
        with connect(abused_server) as connection:
            connection.sendall(handshake() + encode(endless))
        with RawSocket(abused_server) as session:
            session.send(endless, endless, {"type": "ping"})


HALVES = {
    "nothing": b"",
    "half of a head": b"GET /health HTTP/1.1\r\nHost:",
    "half of a handshake": handshake()[:-2],
    "a head without its body": request("POST", CHAT, b"{}")[:-2],
    "half of a body": request("POST", CHAT, b"{}")[:-1],
    "half of a body behind another request": request("GET", "/health")
    + request("POST", CHAT, b"{}")[:-1],
}


def test_who_never_ends_a_request_is_sent_away() -> None:
    flags = ("--engine=simulated", "--stall-seconds=1", "--header-seconds=1", "--no-access-log")
    with running_server(*flags) as server:
        before = sockets(server)
        connections = [connect(server) for _ in HALVES]
        for connection, half in zip(connections, HALVES.values(), strict=True):
            connection.sendall(half)
        wait_until(lambda: sockets(server) == before)
        for connection in connections:
            assert not connection.recv(65536).startswith(b"HTTP/1.1 5")
            connection.close()


def test_an_answer_is_not_cut_off_by_half_of_the_next_request() -> None:
    flags = ("--engine=simulated", "--engine-args=token_seconds=0.05", "--header-seconds=1")
    body = {"prompt": "Count", "max_tokens": 60, "ignore_eos": True, "stream": True}
    with running_server(*flags) as server, connect(server) as connection:
        connection.sendall(request("POST", "/v1/completions", body))
        connection.sendall(request("POST", "/v1/completions", body)[:-1])
        answer = b""
        while b"[DONE]" not in answer:
            data = connection.recv(65536)
            assert data, "the answer was cut off"
            answer += data
