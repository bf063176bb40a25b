"""Proves which frames of a client are taken, and that all else is refused with the field's name."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inferneo_core.codec import encode
from inferneo_core.errors import ErrorDetail, InvalidRequest
from inferneo_core.frames import (
    Auth,
    Call,
    Cancel,
    Done,
    Failure,
    Frame,
    Notice,
    Ping,
    Resume,
    decode_frame,
    frame_request_id,
)
from inferneo_core.usage import Usage

TYPES = ["auth", "cancel", "resume", "ping"]


def frame(**fields: Any) -> bytes:
    return json.dumps(fields).encode()


def refusal(data: bytes) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        decode_frame(data)
    return caught.value


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, Call()),
        ({"type": None}, Call()),
        ({"messages": "anything", "stream": 5}, Call()),
        (
            {"request_id": "a", "resume_for": 30, "timeout": 1.5, "idempotency_key": "k!~"},
            Call(request_id="a", resume_for=30.0, timeout=1.5, idempotency_key="k!~"),
        ),
        ({"resume_for": 0}, Call()),
        ({"type": "auth", "token": "t"}, Auth(type="auth", token="t")),
        ({"type": "auth", "api_key": "ключ"}, Auth(type="auth", api_key="ключ")),
        ({"type": "auth"}, Auth(type="auth")),
        ({"type": "cancel", "request_id": 7}, Cancel(type="cancel", request_id=7)),
        ({"type": "cancel", "id": "cmpl-1"}, Cancel(type="cancel", id="cmpl-1")),
        ({"type": "resume", "id": "a"}, Resume(type="resume", id="a", after=-1, stream=True)),
        (
            {"type": "resume", "id": "a", "after": 0, "stream": False, "request_id": ""},
            Resume(type="resume", id="a", after=0, stream=False, request_id=""),
        ),
        ({"type": "ping"}, Ping(type="ping")),
        ({"type": "ping", "request_id": -1}, Ping(type="ping", request_id=-1)),
        ({"type": "ping", "more": [1]}, Ping(type="ping")),
    ],
)
def test_each_kind_of_frame_is_taken(fields: dict[str, Any], expected: Frame) -> None:
    found = decode_frame(frame(**fields))

    assert (type(found), found) == (type(expected), expected)


@pytest.mark.parametrize("kind", ["", "Ping", "pong", "authenticated", "null", "request"])
def test_an_unknown_type_is_refused_with_those_that_there_are(kind: str) -> None:
    error = refusal(frame(type=kind, request_id=3))

    assert (error.status, error.param) == (400, "type")
    assert f"'{kind}'" in error.message
    assert all(f"'{known}'" in error.message for known in TYPES)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"type": 5}, "type"),
        ({"type": ["ping"]}, "type"),
        ({"request_id": 1.5}, "request_id"),
        ({"request_id": True}, "request_id"),
        ({"request_id": ["a"]}, "request_id"),
        ({"type": "ping", "request_id": {}}, "request_id"),
        ({"resume_for": -1}, "resume_for"),
        ({"resume_for": "30"}, "resume_for"),
        ({"resume_for": None}, "resume_for"),
        ({"timeout": 0}, "timeout"),
        ({"timeout": -0.5}, "timeout"),
        ({"timeout": "1"}, "timeout"),
        ({"idempotency_key": ""}, "idempotency_key"),
        ({"idempotency_key": "a" * 256}, "idempotency_key"),
        ({"idempotency_key": "a\nb"}, "idempotency_key"),
        ({"idempotency_key": "ключ"}, "idempotency_key"),
        ({"idempotency_key": 5}, "idempotency_key"),
        ({"type": "auth", "token": 5}, "token"),
        ({"type": "auth", "api_key": []}, "api_key"),
        ({"type": "cancel", "id": 5}, "id"),
        ({"type": "resume"}, "id"),
        ({"type": "resume", "id": None}, "id"),
        ({"type": "resume", "id": 5}, "id"),
        ({"type": "resume", "id": "a", "after": -2}, "after"),
        ({"type": "resume", "id": "a", "after": 1.5}, "after"),
        ({"type": "resume", "id": "a", "after": "1"}, "after"),
        ({"type": "resume", "id": "a", "after": None}, "after"),
        ({"type": "resume", "id": "a", "stream": 1}, "stream"),
    ],
)
def test_a_field_that_does_not_fit_is_refused_by_its_name(
    fields: dict[str, Any], param: str
) -> None:
    error = refusal(frame(**fields))

    assert (error.status, error.code, error.param) == (400, "invalid_request_error", param)
    assert param in error.message


@pytest.mark.parametrize("data", [b"[]", b"5", b'"ping"', b"null", b"true"])
def test_what_is_no_object_is_refused(data: bytes) -> None:
    assert refusal(data).param is None


@pytest.mark.parametrize(
    "data",
    [
        *(b"", b"{", b"ping", b'{"type": "ping"', b'{"type": "\xff"}', b'{"timeout": NaN}'),
        *(b'{"timeout": Infinity}', b'{"a": ' + b"[" * 100_000),
    ],
)
def test_what_is_no_json_is_refused_as_such(data: bytes) -> None:
    assert refusal(data).code == "invalid_json"


@given(st.binary(max_size=200))
def test_bytes_of_any_kind_are_a_frame_or_refused(data: bytes) -> None:
    taken_or_refused(data)


# What is nearly a frame: arbitrary bytes hardly ever are.
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=2),
    max_leaves=5,
)
NAMES = ["type", "request_id", "id", "after", "stream", "token", "api_key"]
NAMES += ["resume_for", "timeout", "idempotency_key"]
NEARLY = st.fixed_dictionaries(
    {},
    optional={name: VALUES for name in NAMES}
    | {"type": st.sampled_from([*TYPES, None]) | VALUES, "id": st.just("cmpl-1") | VALUES},
)


@given(NEARLY, st.integers(0, 400))
def test_frames_with_any_values_whole_or_cut_are_taken_or_refused(
    fields: dict[str, Any], length: int
) -> None:
    data = json.dumps(fields).encode()
    taken_or_refused(data)
    taken_or_refused(data[:length])


def taken_or_refused(data: bytes) -> None:
    request_id = frame_request_id(data)
    assert request_id is None or type(request_id) in (int, str)
    try:
        found = decode_frame(data)
    except InvalidRequest as error:
        assert error.message
        assert error.status == 400
    else:
        assert type(found) in (Call, Auth, Cancel, Resume, Ping)
        assert found.request_id == request_id


@pytest.mark.parametrize(
    ("data", "request_id"),
    [
        (frame(request_id="a", type="resume"), "a"),
        (frame(request_id=5, type="nothing known"), 5),
        (frame(request_id=5, timeout="x"), 5),
        (frame(request_id=None), None),
        (frame(request_id=1.5), None),
        (frame(type=5, request_id=5), None),
        (b"[]", None),
        (b"{", None),
        (b'{"request_id": "\xff"}', None),
        (b'{"request_id": 1, "a": ' + b"[" * 100_000, None),
    ],
)
def test_a_refused_frame_still_tells_which_request_it_was_about(
    data: bytes, request_id: str | int | None
) -> None:
    assert frame_request_id(data) == request_id


def test_the_end_of_a_request_has_no_choices_and_only_what_is_known() -> None:
    usage = Usage(prompt_tokens=1, completion_tokens=2, total_tokens=3)

    assert json.loads(encode(Done(object="chat.completion.done", cancelled=True))) == {
        "object": "chat.completion.done",
        "cancelled": True,
    }
    done = Done(
        object="text_completion.done", request_id=0, seq=0, id="cmpl-1", model="m", usage=usage
    )
    assert json.loads(encode(done)) == {
        "object": "text_completion.done",
        "request_id": 0,
        "seq": 0,
        "id": "cmpl-1",
        "model": "m",
        "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3},
    }


def test_an_error_names_its_request_and_when_to_try_again_where_that_is_known() -> None:
    detail = ErrorDetail(message="a", type="b")

    assert json.loads(encode(Failure(error=detail, status=400))) == {
        "error": {"message": "a", "type": "b", "param": None, "code": None},
        "status": 400,
    }
    told = json.loads(encode(Failure(error=detail, status=429, request_id="", retry_after_ms=0)))
    assert (told["request_id"], told["retry_after_ms"]) == ("", 0)


def test_a_pong_has_the_request_id_of_its_ping() -> None:
    assert encode(Notice(type="pong")) == b'{"type":"pong"}'
    assert encode(Notice(type="pong", request_id=0)) == b'{"type":"pong","request_id":0}'
