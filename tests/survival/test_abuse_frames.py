"""Proves that bytes that are no sound frames get a close code, and harm nobody else."""

import json
import struct
import zlib
from collections.abc import Iterator
from typing import Any

import pytest

from tests.servers import RunningServer
from tests.survival.counts import answers, nothing_left
from tests.survival.frames import (
    BINARY,
    CHAT,
    CLOSE,
    CONTINUATION,
    PING,
    TEXT,
    RawSocket,
    encode,
    frame,
)

MAX_BYTES = 10_000_000
TOKENS = 30
ASKED = {
    "messages": [{"role": "user", "content": "Count the words"}],
    "max_tokens": TOKENS,
    "ignore_eos": True,
    "stream": True,
}


def endless(**fields: Any) -> dict[str, Any]:
    """A request that runs for longer than any test here."""
    return {**ASKED, "max_tokens": 16_000, **fields}


@pytest.fixture(autouse=True)
def goes_on(abused_server: RunningServer) -> Iterator[None]:
    """Whatever a test sends: who asks meanwhile is answered, and nothing is left afterwards."""
    with nothing_left(abused_server):
        with RawSocket(abused_server) as bystander:
            bystander.send(ASKED)
            yield
            done = bystander.read_until(object="chat.completion.done")
            assert done["usage"]["completion_tokens"] == TOKENS
        answers(abused_server)


BROKEN = {
    "an opcode that is none": (frame(b"{}", 3), 1002),
    "a control opcode that is none": (frame(b"", 11), 1002),
    "no mask": (frame(b"{}", masked=False), 1002),
    "reserved bits": (frame(b"{}", reserved=1), 1002),
    "compression that was not agreed on": (frame(b"{}", reserved=4), 1002),
    "a long ping": (frame(bytes(126), PING), 1002),
    "a ping in pieces": (frame(b"", PING, final=False), 1002),
    "a piece of nothing": (frame(b"{}", CONTINUATION), 1002),
    "a text inside another": (frame(b"{", final=False) + frame(b"{}"), 1002),
    "a close frame of one byte": (frame(b"\x03", CLOSE), 1002),
    "a close code that is none": (frame(struct.pack("!H", 1005), CLOSE), 1002),
    "broken UTF-8": (frame(b'{"type": "\xff"}'), 1007),
    "broken UTF-8, then the end": (frame(b"\xff") + frame(b"\x03\xe8", CLOSE), 1000),
    "broken UTF-8 in pieces": (frame(b"\xc3", final=False) + frame(b"(", CONTINUATION), 1007),
    "broken UTF-8 in a reason": (frame(b"\x03\xe8\xff", CLOSE), 1007),
    "bytes": (frame(b"{}", BINARY), 1003),
    "bytes in pieces": (frame(b"{", BINARY, final=False) + frame(b"}", CONTINUATION), 1003),
    "the head of a frame of 10 MB": (frame(b"{", length=MAX_BYTES + 1), 1009),
    "the head of the longest frame": (frame(b"{", length=2**63 - 1), 1009),
}


@pytest.mark.parametrize(("data", "code"), BROKEN.values(), ids=BROKEN)
def test_what_is_no_frame_closes_its_socket(
    abused_server: RunningServer, data: bytes, code: int
) -> None:
    with RawSocket(abused_server) as session:
        # What runs on the socket ends with it.
        session.send(endless(request_id="a"), endless(request_id="b"))
        session.read_until(request_id="b")
        session.send_bytes(data)
        assert session.closed().code == code


@pytest.mark.parametrize("pieces", [1, 5, 1000])
def test_a_frame_of_10_mb_is_refused_by_its_close_code(
    abused_server: RunningServer, pieces: int
) -> None:
    size = MAX_BYTES // pieces + 1
    with RawSocket(abused_server) as session:
        for number in range(pieces):
            opcode = CONTINUATION if number else TEXT
            session.send_bytes(frame(b" " * size, opcode, final=number == pieces - 1))
        assert session.closed().code == 1009


def test_a_frame_that_is_10_mb_once_unpacked_is_refused_by_its_close_code(
    abused_server: RunningServer,
) -> None:
    packer = zlib.compressobj(wbits=-12)
    small = packer.compress(b" " * (MAX_BYTES + 1)) + packer.flush(zlib.Z_SYNC_FLUSH)
    assert len(small) < MAX_BYTES // 100
    offer = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits"
    with RawSocket(abused_server, CHAT, offer) as session:
        assert "permessage-deflate" in session.headers["sec-websocket-extensions"]
        session.send_bytes(frame(small.removesuffix(b"\0\0\xff\xff"), reserved=4))
        assert session.closed().code == 1009


def test_the_largest_frame_is_read(abused_server: RunningServer) -> None:
    ping = json.dumps({"type": "ping", "request_id": 1}).encode()
    with RawSocket(abused_server) as session:
        session.send_bytes(frame(ping.ljust(MAX_BYTES)))
        assert session.read() == {"type": "pong", "request_id": 1}


def test_pings_between_the_pieces_of_a_frame_are_answered(abused_server: RunningServer) -> None:
    ping = json.dumps({"type": "ping"}).encode()
    with RawSocket(abused_server) as session:
        for number, byte in enumerate(ping):
            opcode, final = CONTINUATION if number else TEXT, number == len(ping) - 1
            session.send_bytes(frame(bytes([byte]), opcode, final=final) + frame(b"?", PING))
        assert session.read() == {"type": "pong"}


NO_REQUESTS = {
    "nothing": b"",
    "no JSON": b"hello",
    "a piece of JSON": b'{"type": "ping"',
    "two": b'{"type": "ping"}{"type": "ping"}',
    "a list": b"[]",
    "a number": b"1",
    "null": b"null",
    "deep lists": b"[" * 100_000,
    "deep objects": b'{"a":' * 100_000,
    "a deep field": b'{"type": "ping", "deep": %b}' % (b"[" * 50_000 + b"]" * 50_000),
    "a deep request": b'{"messages": %b}' % (b"[" * 50_000 + b"]" * 50_000),
    "a type that is none": b'{"type": "shutdown"}',
    "a type that is no text": b'{"type": 7}',
    "a request_id that is neither text nor number": b'{"type": "ping", "request_id": []}',
    "a request_id that is a fraction": b'{"type": "ping", "request_id": 1.5}',
    "half of a character": b'{"type": "ping", "request_id": "\\ud800"}',
    "an empty object": b"{}",
    "a resume of nothing": b'{"type": "resume"}',
    "a negative number": b'{"type": "resume", "id": "x", "after": -2}',
    "a model that is none": b'{"model": "gpt-0", "messages": [{"role": "user", "content": ""}]}',
    "a timeout of nothing": b'{"messages": [], "timeout": 0}',
}


@pytest.mark.parametrize("text", NO_REQUESTS.values(), ids=NO_REQUESTS)
def test_text_that_is_no_request_gets_an_error_and_the_socket_goes_on(
    abused_server: RunningServer, text: bytes
) -> None:
    with RawSocket(abused_server) as session:
        session.send({**ASKED, "request_id": "running"})
        session.send_bytes(frame(text) + encode({"type": "ping", "request_id": "after"}))
        found = [session.read() for _ in range(TOKENS + 5)]
    errors = [each for each in found if "error" in each]
    assert len(errors) == 1
    assert errors[0]["status"] in (400, 404) and errors[0]["error"]["message"]
    assert {"type": "pong", "request_id": "after"} in found
    assert found[-1]["object"] == "chat.completion.done"


@pytest.mark.parametrize("number", [0, -1, 2**53, 2**63, 2**64, 2**100])
def test_any_whole_number_can_name_a_request(abused_server: RunningServer, number: int) -> None:
    with RawSocket(abused_server) as session:
        session.send({"type": "ping", "request_id": number})
        assert session.read() == {"type": "pong", "request_id": number}
        session.send({**ASKED, "stream": False, "request_id": number})
        assert session.read()["request_id"] == number
