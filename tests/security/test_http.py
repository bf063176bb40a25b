"""Proves that a request which two servers could read in two ways is refused, and nothing behind it
is ever taken for another one."""

import json
import re
from collections.abc import Iterator

import pytest

from tests.integration.sockets import connect
from tests.servers import RunningServer, running_server

GET = b"GET /health HTTP/1.1\r\n"
HOST = b"Host: test\r\n"
POST = b"POST /v1/completions HTTP/1.1\r\n" + HOST
CHUNKED = b"Transfer-Encoding: chunked\r\n"
END = b"0\r\n\r\n"
SOCKET = (
    b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)
CHAT = b"GET /v1/chat/completions HTTP/1.1\r\n"
# A request of its own, wherever the bytes before it are taken to end.
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: test\r\n\r\n"


def get(line: bytes, headers: bytes = HOST) -> bytes:
    return line + b"\r\n" + headers + b"\r\n"


def sized(*lengths: bytes) -> bytes:
    return POST + b"".join(b"Content-Length: %s\r\n" % each for each in lengths) + b"\r\n{}"


def coded(coding: bytes) -> bytes:
    return POST + b"Transfer-Encoding: " + coding + b"\r\n\r\n" + END


def chunks(data: bytes) -> bytes:
    return POST + CHUNKED + b"\r\n" + data


BAD = 400
REFUSED: dict[str, tuple[bytes, int]] = {
    "no Host": (GET + b"\r\n", BAD),
    "two Hosts": (GET + HOST + b"Host: other\r\n\r\n", BAD),
    "the same Host twice": (GET + HOST + HOST + b"\r\n", BAD),
    "two Hosts in one": (GET + b"Host: a,b\r\n\r\n", BAD),
    "a Host with a user": (GET + b"Host: a@b\r\n\r\n", BAD),
    "a Host with a path": (GET + b"Host: a/b\r\n\r\n", BAD),
    "a Host with a space": (GET + b"Host: a b\r\n\r\n", BAD),
    "two lengths": (sized(b"2", b"5"), BAD),
    "a length twice": (sized(b"2", b"2"), BAD),
    "a list of lengths": (sized(b"2, 2"), BAD),
    "a negative length": (sized(b"-2"), BAD),
    "a length with a plus": (sized(b"+2"), BAD),
    "a hexadecimal length": (sized(b"0x2"), BAD),
    "a length with an underscore": (sized(b"1_0"), BAD),
    "an empty length": (sized(b""), BAD),
    "a length of two words": (sized(b"2 2"), BAD),
    "a length beyond numbers": (sized(b"9" * 30), BAD),
    "a length beyond the limit": (sized(b"99999999999"), 413),
    "a length, then chunks": (POST + b"Content-Length: 5\r\n" + CHUNKED + b"\r\n" + END, BAD),
    "chunks, then a length": (POST + CHUNKED + b"Content-Length: 5\r\n\r\n" + END, BAD),
    "identity": (coded(b"identity"), 501),
    "chunked, identity": (coded(b"chunked, identity"), BAD),
    "gzip, chunked": (coded(b"gzip, chunked"), 501),
    "gzip": (coded(b"gzip"), 501),
    "xchunked": (coded(b"xchunked"), 501),
    "chunked, chunked": (coded(b"chunked, chunked"), BAD),
    "chunked twice": (POST + CHUNKED + CHUNKED + b"\r\n" + END, BAD),
    "chunked in quotes": (coded(b'"chunked"'), 501),
    "chunked behind a tab of the other kind": (coded(b"\x0bchunked"), BAD),
    "chunked on a folded line": (coded(b"\r\n chunked"), BAD),
    "no coding": (coded(b""), BAD),
    "chunks in HTTP/1.0": (
        b"POST /v1/completions HTTP/1.0\r\n" + HOST + CHUNKED + b"\r\n" + END,
        BAD,
    ),
    "a chunk's size that is none": (chunks(b"zz\r\n{}\r\n" + END), BAD),
    "a chunk's size below zero": (chunks(b"-2\r\n{}\r\n" + END), BAD),
    "a chunk's size with 0x": (chunks(b"0x2\r\n{}\r\n" + END), BAD),
    "a chunk's size beyond numbers": (chunks(b"f" * 17 + b"\r\n{}\r\n"), BAD),
    "a chunk's size and a space": (chunks(b"2 \r\n{}\r\n" + END), BAD),
    "a chunk's size and a line feed": (chunks(b"2\n{}\r\n" + END), BAD),
    "a chunk longer than its size": (chunks(b"2\r\n{}x\r\n" + END), BAD),
    "a chunk without its end": (chunks(b"2\r\n{}" + END), BAD),
    "a chunk's extension with a line feed": (chunks(b"2;a\nb\r\n{}\r\n" + END), BAD),
    "a chunk's extension with a null": (chunks(b"2;a\0b\r\n{}\r\n" + END), BAD),
    "a chunk's extension without end": (chunks(b"2;" + b"a" * 1_000_000), 431),
    "a trailer without end": (chunks(b"2\r\n{}\r\n0\r\nX: " + b"a" * 1_000_000), 431),
    "a trailer with a length": (chunks(b"2\r\n{}\r\n0\r\nContent-Length: 9\r\n\r\n"), BAD),
    "a folded line": (GET + HOST + b"X: a\r\n b\r\n\r\n", BAD),
    "a space before the first header": (GET + b" " + HOST + b"\r\n", BAD),
    "a space before the colon": (GET + b"Host : test\r\n\r\n", BAD),
    "a tab before the colon": (POST + b"Transfer-Encoding\t: chunked\r\n\r\n" + END, BAD),
    "no colon": (GET + HOST + b"X\r\n\r\n", BAD),
    "no name": (GET + HOST + b": a\r\n\r\n", BAD),
    "a name beyond ASCII": (GET + HOST + b"X\xff: a\r\n\r\n", BAD),
    "line feeds alone": (b"GET /health HTTP/1.1\nHost: test\n\n", BAD),
    "a line feed behind the first line": (b"GET /health HTTP/1.1\n" + HOST + b"\r\n", BAD),
    "a line feed behind a header": (GET + b"Host: test\nX: a\r\n\r\n", BAD),
    "a carriage return in a value": (GET + HOST + b"X: a\rb\r\n\r\n", BAD),
    "a null in a value": (GET + HOST + b"X: a\0b\r\n\r\n", BAD),
    "a null in a name": (GET + HOST + b"X\0: a\r\n\r\n", BAD),
    "a null in the target": (get(b"GET /a\0b HTTP/1.1"), BAD),
    "a method that is none": (get(b"FOO /health HTTP/1.1"), BAD),
    "a method in small letters": (get(b"get /health HTTP/1.1"), BAD),
    "a method of RTSP": (get(b"SETUP /health RTSP/1.0"), BAD),
    "a method of ICE": (get(b"SOURCE /health ICE/1.0"), BAD),
    "a tunnel": (b"CONNECT test:80 HTTP/1.1\r\nHost: test:80\r\n\r\n", BAD),
    "another host in the target": (get(b"GET http://other/health HTTP/1.1"), BAD),
    "another scheme in the target": (get(b"GET ftp://test/health HTTP/1.1"), BAD),
    "a target without a slash": (get(b"GET health HTTP/1.1"), BAD),
    "a star": (get(b"GET * HTTP/1.1"), BAD),
    "a target with a space": (get(b"GET /health x HTTP/1.1"), BAD),
    "a target beyond ASCII": (get(b"GET /\xff HTTP/1.1"), BAD),
    "a fragment": (get(b"GET /health#x HTTP/1.1"), BAD),
    "no target": (get(b"GET  HTTP/1.1"), BAD),
    "HTTP/0.9": (b"GET /health\r\n\r\n", 505),
    "HTTP/1.2": (get(b"GET /health HTTP/1.2"), 505),
    "HTTP/1.10": (get(b"GET /health HTTP/1.10"), BAD),
    "HTTP/2.0": (get(b"GET /health HTTP/2.0"), 505),
    "the preface of HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0" * 9, BAD),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", BAD),
    "too many headers": (GET + HOST + b"X: a\r\n" * 101 + b"\r\n", 431),
    "too large a header": (GET + HOST + b"X: " + b"a" * 40_000 + b"\r\n\r\n", 431),
    "a header without end": (GET + HOST + b"X: " + b"a" * 1_000_000, 431),
    "headers without end": (GET + HOST + b"X: a\r\n" * 100_000, 431),
    "too long a target": (get(b"GET /health?" + b"a" * 20_000 + b" HTTP/1.1"), 414),
    "a target without end": (b"GET /" + b"a" * 1_000_000, 414),
    "a socket without a Host": (CHAT + SOCKET, BAD),
    "a socket with two Hosts": (CHAT + HOST + b"Host: other\r\n" + SOCKET, BAD),
    "a socket with a length twice": (
        CHAT + HOST + b"Content-Length: 0\r\nContent-Length: 0\r\n" + SOCKET,
        BAD,
    ),
    "a socket by HTTP/1.0": (CHAT.replace(b"1.1", b"1.0") + HOST + CHUNKED + SOCKET, BAD),
    "a socket of another version": (CHAT + HOST + SOCKET.replace(b"13", b"77", 1), BAD),
    "a socket by POST": (CHAT.replace(b"GET", b"POST") + HOST + SOCKET, 405),
}
ANSWERED = {
    "no Host in HTTP/1.0": b"GET /health HTTP/1.0\r\n\r\n",
    "the same host in the target": get(b"GET http://TEST/health HTTP/1.1"),
    "an address of IPv6": GET + b"Host: [::1]:8000\r\n\r\n",
    "an empty Host": GET + b"Host:\r\n\r\n",
    "a coding in other letters": (
        b"GET /health HTTP/1.1\r\nHost: test\r\ntransfer-encoding: Chunked\r\n\r\n" + END
    ),
    "an extension of a chunk": (GET + HOST + CHUNKED + b"\r\n2;a=b\r\n{}\r\n" + END),
    "many small chunks": GET + HOST + CHUNKED + b"\r\n" + b"1\r\nx\r\n" * 20_000 + END,
    "a header of 16 KB": GET + HOST + b"X: " + b"a" * 16_000 + b"\r\n\r\n",
    "empty lines before it": b"\r\n\r\n" + GET + HOST + b"\r\n",
}


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    """A server that logs what it is asked, and complains of nothing."""
    with running_server("--engine=simulated", "--idle-seconds=1", "--header-seconds=3") as server:
        yield server
    assert "Traceback" not in server.log and "ERROR" not in server.log, server.log
    assert "smuggled" not in server.log


def talk(server: RunningServer, data: bytes) -> list[tuple[int, bytes]]:
    """Send all at once; the answers' status and bodies, until the server closes."""
    with connect(server) as connection:
        connection.sendall(data)
        received = b"".join(iter(lambda: connection.recv(65536), b""))
    answers = []
    while received:
        head, _, received = received.partition(b"\r\n\r\n")
        length = int(re.search(rb"content-length: (\d+)", head, re.IGNORECASE)[1])  # type: ignore[index]
        answers.append((int(head.split()[1]), head + b"\r\n\r\n" + received[:length]))
        received = received[length:]
    return answers


@pytest.mark.parametrize(("data", "status"), REFUSED.values(), ids=REFUSED)
def test_what_can_be_read_in_two_ways_is_refused_and_ends_the_connection(
    server: RunningServer, data: bytes, status: int
) -> None:
    # What stands behind it is no request, whoever may take it for one.
    ((told, answer),) = talk(server, data + SMUGGLED)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert told == status, answer
    assert b"\r\nconnection: close" in head.lower()
    assert b"\r\ncontent-type: application/json" in head.lower()
    error = json.loads(body)
    assert error["error"]["type"] == "invalid_request_error"
    assert error["detail"] == error["error"]["message"]


@pytest.mark.parametrize("data", ANSWERED.values(), ids=ANSWERED)
def test_what_is_odd_but_clear_is_answered(server: RunningServer, data: bytes) -> None:
    assert [status for status, _ in talk(server, data)] == [200]


@pytest.mark.parametrize("bad", ["no Host", "a chunk's size that is none", "HTTP/2.0"])
def test_a_request_before_a_bad_one_gets_its_own_answer_first(
    server: RunningServer, bad: str
) -> None:
    data, status = REFUSED[bad]
    answers = talk(server, GET + HOST + b"\r\n" + data + SMUGGLED)
    assert [told for told, _ in answers] == [200, status]
    assert b'"healthy"' in answers[0][1]


def test_a_running_answer_is_whole_before_the_refusal_of_the_next_request(
    server: RunningServer,
) -> None:
    body = b'{"prompt": "Count", "max_tokens": 300, "ignore_eos": true, "stream": true}'
    with connect(server) as connection:
        connection.sendall(POST + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        connection.sendall(b"FOO / HTTP/1.1\r\n\r\n" + SMUGGLED)
        received = b"".join(iter(lambda: connection.recv(65536), b""))
    stream, _, refusal = received.partition(b"[DONE]")
    assert stream.count(b"data: ") > 300 and b"HTTP/1.1 400" not in stream
    assert refusal.count(b"HTTP/1.1 ") == refusal.count(b"HTTP/1.1 400 ") == 1


@pytest.mark.parametrize(
    "headers", [b"Connection: close\r\n", b"Upgrade: h2c\r\nConnection: upgrade\r\n"]
)
def test_nothing_behind_the_last_request_is_taken(server: RunningServer, headers: bytes) -> None:
    ((status, answer),) = talk(server, GET + HOST + headers + b"\r\n" + SMUGGLED)
    assert status == 200 and b"\r\nconnection: close\r\n" in answer


def test_a_trailer_is_no_header(server: RunningServer) -> None:
    trailer = b"Authorization: Bearer x\r\nX-Request-Id: mine\r\nHost: other\r\n"
    data = GET + HOST + CHUNKED + b"\r\n2\r\n{}\r\n0\r\n" + trailer + b"\r\n"
    ((status, answer),) = talk(server, data)
    assert status == 200 and b"x-request-id: mine" not in answer


def test_a_body_too_large_is_refused_before_it_has_come(server: RunningServer) -> None:
    part = b"x" * 3_000_000
    ((status, answer),) = talk(server, POST + b"Content-Length: 10000001\r\n\r\n" + part)
    assert status == 413 and b'"body_too_large"' in answer


def test_an_encoded_body_is_refused_as_such(server: RunningServer) -> None:
    head = b"Content-Type: application/json\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\n"
    ((status, answer),) = talk(server, POST + head + b"\x1f\x8b\x08\0")
    assert status == 415 and b"Content-Encoding 'gzip'" in answer
    assert b"\r\naccept-encoding: identity\r\n" in answer


@pytest.mark.parametrize("stream", [b"true", b"false"])
def test_an_answer_to_http_1_0_has_no_chunks(server: RunningServer, stream: bytes) -> None:
    body = b'{"prompt": "Count", "max_tokens": 3, "stream": %s}' % stream
    head = b"POST /v1/completions HTTP/1.0\r\nContent-Length: %d\r\n\r\n" % len(body)
    with connect(server) as connection:
        connection.sendall(head + body)
        received = b"".join(iter(lambda: connection.recv(65536), b""))
    head, _, answer = received.partition(b"\r\n\r\n")
    assert b"transfer-encoding" not in head and b"\r\nconnection: close" in head
    if stream == b"true":
        assert answer.startswith(b"data: {") and answer.endswith(b"\n\ndata: [DONE]\n\n")
    else:
        assert json.loads(answer)["object"] == "text_completion"
