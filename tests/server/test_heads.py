"""Proves which heads are sound, apart from any parser, and how a refusal is worded."""

import json

import pytest

from inferneo_core.errors import InvalidRequest, Overloaded
from inferneo_server.transports.heads import MAX_HEADERS, check_head, last_words, not_http

HOST = [(b"host", b"test")]


@pytest.mark.parametrize(
    "target",
    [
        *(b"/", b"/v1/models/Qwen2.5", b"/v1/streams/a?after=1&token=a.b-c_d", b"//", b"/%00/.."),
        *(b"http://test", b"http://test/health", b"HTTPS://TEST?x"),
    ],
)
def test_targets_of_this_host_pass(target: bytes) -> None:
    check_head("GET", "1.1", target, HOST)


@pytest.mark.parametrize(
    "host", [b"", b"a.b-c_d:8000", b"[::1]", b"[fe80::1%25eth0]:80", b"1.2.3.4"]
)
def test_names_and_addresses_are_hosts(host: bytes) -> None:
    check_head("GET", "1.1", b"/", [(b"host", host)])


@pytest.mark.parametrize(
    "host", [b"a b", b"a,b", b"a@b", b"a/b", b"a:b", b"[a", b"a\x00", b"\xff", b"a:80:80", b"a#"]
)
def test_what_is_no_host_is_refused(host: bytes) -> None:
    with pytest.raises(InvalidRequest):
        check_head("GET", "1.1", b"/", [(b"host", host)])


@pytest.mark.parametrize(
    "target", [b"*", b"health", b"", b"http:/a", b"http://other/", b"/#a", b"//#"]
)
def test_what_is_no_target_here_is_refused(target: bytes) -> None:
    with pytest.raises(InvalidRequest):
        check_head("GET", "1.1", target, HOST)


def test_options_may_ask_of_the_whole_server() -> None:
    check_head("OPTIONS", "1.1", b"*", HOST)


def test_as_many_headers_as_are_allowed_pass_and_one_more_does_not() -> None:
    more = [(b"x", b"a")] * (MAX_HEADERS - 1)
    check_head("GET", "1.1", b"/", [*HOST, *more])
    with pytest.raises(InvalidRequest) as caught:
        check_head("GET", "1.1", b"/", [*HOST, *more, (b"x", b"a")])
    assert (caught.value.status, caught.value.code) == (431, "headers_too_large")


def test_a_wrong_version_has_a_status_of_its_own() -> None:
    assert not_http("Invalid HTTP version").status == 505
    assert not_http("Invalid method encountered").status == 400


def test_last_words_are_a_whole_answer_that_ends_the_connection() -> None:
    head, _, body = last_words(Overloaded("Full"), [(b"date", b"today")]).partition(b"\r\n\r\n")
    first, *lines = head.split(b"\r\n")
    assert first == b"HTTP/1.1 503 Service Unavailable"
    assert {b"date: today", b"retry-after: 1", b"connection: close"} < {*lines}
    assert b"content-length: %d" % len(body) in lines
    assert json.loads(body)["error"]["code"] == "overloaded"
