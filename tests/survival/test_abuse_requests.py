"""Proves that a socket has its own requests, and that a wrong one gets its error and no more."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.integration.waiting import wait_running
from tests.servers import RunningServer
from tests.survival.counts import answers, nothing_left, written
from tests.survival.frames import BINARY, CHAT, TEXTS, RawSocket, encode, frame

TOKENS = 20
FORGED = "chatcmpl-00000000000000000000000000000000"


def asked(**fields: Any) -> dict[str, Any]:
    """A short request; with `messages`, or with a `prompt`."""
    words = {} if "prompt" in fields else {"messages": [{"role": "user", "content": "Count"}]}
    return words | {"max_tokens": TOKENS, "ignore_eos": True, "stream": True} | fields


def endless(**fields: Any) -> dict[str, Any]:
    """A request that runs for longer than any test here."""
    return asked(max_tokens=16_000, **fields)


@pytest.fixture(autouse=True)
def goes_on(abused_server: RunningServer) -> Iterator[None]:
    """Whatever a test sends: the server answers, and nothing is left."""
    with nothing_left(abused_server):
        yield
        answers(abused_server)


@pytest.fixture
def session(abused_server: RunningServer) -> Iterator[RawSocket]:
    """A socket of the chat route."""
    with RawSocket(abused_server) as opened:
        yield opened


def error_of(value: dict[str, Any]) -> tuple[int, str]:
    """The status and the code of an error frame."""
    return value["status"], value["error"]["code"]


def test_a_second_request_of_the_same_id_is_refused_and_the_first_goes_on(
    session: RawSocket,
) -> None:
    session.send(asked(request_id=1), asked(request_id=1))
    frames = [session.read() for _ in range(TOKENS + 4)]
    assert [error_of(each) for each in frames if "error" in each] == [(409, "duplicate_request_id")]
    assert frames[-1]["object"] == "chat.completion.done"
    assert frames[-1]["usage"]["completion_tokens"] == TOKENS


def test_an_id_is_free_again_after_the_end(session: RawSocket) -> None:
    for _ in range(3):
        session.send(asked(request_id="again"))
        session.read_until(object="chat.completion.done")


def test_ids_that_look_alike_are_different(session: RawSocket) -> None:
    session.send(asked(request_id=1), asked(request_id="1"))
    ends = [session.read_until(object="chat.completion.done") for _ in range(2)]
    assert {str(type(each["request_id"])) for each in ends} == {"<class 'int'>", "<class 'str'>"}


def test_a_socket_cannot_cancel_the_request_of_another(
    abused_server: RunningServer, session: RawSocket
) -> None:
    with RawSocket(abused_server) as other:
        other.send(asked(request_id=1, max_tokens=100))
        running = other.read()["id"]
        for frame_fields in ({"request_id": 1}, {"id": running}, {}):
            session.send({"type": "cancel", **frame_fields})
            assert error_of(session.read()) == (404, "request_not_found")
        done = other.read_until(object="chat.completion.done")
        assert "cancelled" not in done and done["usage"]["completion_tokens"] == 100


def test_a_cancel_before_its_request_is_refused_and_the_request_runs(session: RawSocket) -> None:
    session.send({"type": "cancel", "request_id": 1}, asked(request_id=1))
    assert error_of(session.read()) == (404, "request_not_found")
    done = session.read_until(object="chat.completion.done")
    assert "cancelled" not in done and done["usage"]["completion_tokens"] == TOKENS


def test_a_cancel_right_behind_its_request_ends_it(session: RawSocket) -> None:
    session.send(endless(request_id=1), {"type": "cancel", "request_id": 1})
    done = session.read_until(object="chat.completion.done")
    assert done["cancelled"] is True and done["request_id"] == 1
    session.send({"type": "ping"})
    assert session.read() == {"type": "pong"}


@pytest.mark.parametrize("fields", [{}, {"stream": False}, {"n": 3}, {"resume_for": 1}])
def test_a_cancel_in_the_middle_frees_the_engine_and_ends_the_request_once(
    abused_server: RunningServer, session: RawSocket, fields: dict[str, Any]
) -> None:
    session.send(endless(request_id=1, **fields))
    wait_running(abused_server, fields.get("n", 1))
    # Once too often, at the same time.
    session.send({"type": "cancel", "request_id": 1}, {"type": "cancel", "request_id": 1})
    done = session.read_until(request_id=1, object="chat.completion.done")
    assert done["cancelled"] is True
    wait_running(abused_server, 0)
    session.send({"type": "ping"})
    later = session.read()
    if "error" in later:
        assert error_of(later) == (404, "request_not_found")
        later = session.read()
    assert later == {"type": "pong"}


def test_a_request_is_cancelled_by_the_id_of_its_answer(session: RawSocket) -> None:
    session.send(endless())
    session.send({"type": "cancel", "id": session.read()["id"]})
    assert session.read_until(object="chat.completion.done")["cancelled"] is True


def test_a_cancel_after_the_end_is_refused(session: RawSocket) -> None:
    session.send(asked(request_id=1))
    session.read_until(object="chat.completion.done")
    session.send({"type": "cancel", "request_id": 1})
    assert error_of(session.read()) == (404, "request_not_found")


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("name", [FORGED, "", "../../metrics", "a" * 100_000, "\u0000"])
def test_a_resume_with_a_forged_id_is_refused(session: RawSocket, name: str, stream: bool) -> None:
    session.send({"type": "resume", "id": name, "stream": stream, "request_id": "forged"})
    refused = session.read()
    assert refused["request_id"] == "forged"
    assert error_of(refused) == (404, "stream_not_found")


def test_what_was_not_asked_to_be_kept_cannot_be_resumed(session: RawSocket) -> None:
    session.send(endless())
    running = session.read()["id"]
    session.send({"type": "resume", "id": running, "request_id": "second"})
    assert error_of(session.read_until(request_id="second")) == (404, "stream_not_found")


def test_what_has_not_happened_yet_cannot_be_resumed(
    abused_server: RunningServer, session: RawSocket
) -> None:
    session.send(asked(request_id=1, resume_for=2))
    done = session.read_until(object="chat.completion.done")
    assert done["seq"] == TOKENS + 2
    for after in (done["seq"] + 1, 2**31, 2**62):
        session.send({"type": "resume", "id": done["id"], "after": after, "request_id": after})
        assert error_of(session.read_until(request_id=after))[0] == 400
        url = f"{abused_server.url}/v1/streams/{done['id']}"
        assert httpx.get(url, params={"after": after}).status_code == 400
    for wrong in ("", "x", "1.5", "-2", "9" * 5000, f"{FORGED}:1", f"{done['id']}:", ":"):
        headers = {"Last-Event-ID": wrong}
        assert httpx.get(url, headers=headers).status_code == (400 if wrong else 200)


def test_a_resume_behind_the_end_is_the_end_again(
    abused_server: RunningServer, session: RawSocket
) -> None:
    session.send(asked(request_id=1, resume_for=2))
    done = session.read_until(object="chat.completion.done")
    session.send({"type": "resume", "id": done["id"], "after": done["seq"], "request_id": 1})
    assert session.read() == done
    url = f"{abused_server.url}/v1/streams/{done['id']}?after={done['seq']}"
    assert httpx.get(url).status_code == 204


def test_a_socket_can_read_the_same_answer_many_times_at_once(session: RawSocket) -> None:
    session.send(asked(resume_for=2))
    name = session.read()["id"]
    session.send(*({"type": "resume", "id": name, "request_id": at} for at in range(20)))
    numbers: dict[Any, list[int]] = {at: [] for at in range(20)}
    ended = 0
    while ended < 21:
        value = session.read()
        numbers.setdefault(value.get("request_id"), []).append(value["seq"])
        ended += value["object"] == "chat.completion.done"
    assert numbers.pop(None) == [*range(1, TOKENS + 3)]
    assert [*numbers.values()] == [[*range(TOKENS + 3)]] * 20


@pytest.mark.parametrize(("over", "again"), [("http", "http"), ("ws", "ws"), ("http", "ws")])
def test_an_idempotency_key_is_for_one_request(
    abused_server: RunningServer, session: RawSocket, over: str, again: str
) -> None:
    key = f"key-{over}-{again}"

    def send(way: str, **fields: Any) -> dict[str, Any]:
        body = asked(stream=False, **fields)
        if way == "http":
            headers = {"Idempotency-Key": key}
            answer = httpx.post(f"{abused_server.url}{CHAT}", json=body, headers=headers)
            return {"status": answer.status_code, **answer.json()}
        session.send({**body, "idempotency_key": key})
        return session.read()

    before = written(abused_server).completion_tokens
    first = send(over)
    assert send(again)["id"] == first["id"]
    assert error_of(send(again, temperature=0.5)) == (409, "idempotency_conflict")
    assert written(abused_server).completion_tokens == before + TOKENS


@pytest.mark.parametrize("key", ["", "a" * 256, "two words", "\u00e9", "tab\t"])
def test_an_idempotency_key_that_is_none_is_refused(
    abused_server: RunningServer, session: RawSocket, key: str
) -> None:
    session.send(asked(idempotency_key=key))
    assert error_of(session.read())[0] == 400
    if "\t" not in key:
        headers = {b"Idempotency-Key": key.encode("latin-1")}
        body = asked(stream=False)
        answer = httpx.post(f"{abused_server.url}{CHAT}", json=body, headers=headers)
        assert answer.status_code == 400


def test_the_route_of_texts_refuses_conversations(abused_server: RunningServer) -> None:
    with RawSocket(abused_server, TEXTS) as session:
        session.send(asked(request_id="chat"))
        assert error_of(session.read())[0] == 400
        session.send(asked(prompt="Count", request_id="text"))
        assert session.read()["choices"][0]["text"]
        assert session.read_until(request_id="text", object="text_completion.done")


@pytest.mark.parametrize("last", [frame(b"{}", 3), frame(b"{}", BINARY), b""], ids=repr)
def test_requests_that_write_at_full_speed_end_with_their_socket(
    fast_server: RunningServer, last: bytes
) -> None:
    with nothing_left(fast_server):
        for _ in range(10):
            with RawSocket(fast_server) as session:
                session.send(*(endless(request_id=number) for number in range(20)))
                session.read_until(request_id=19)
                session.send_bytes(last)
                if last:
                    assert session.closed().code in (1002, 1003)


def test_cancels_of_all_that_runs_arrive_together(
    abused_server: RunningServer, session: RawSocket
) -> None:
    session.send(*(endless(request_id=number) for number in range(64)))
    wait_running(abused_server, 64)
    cancels = [encode({"type": "cancel", "request_id": number}) for number in range(64)]
    session.send_bytes(b"".join(cancels))
    ends = [session.read_until(object="chat.completion.done") for _ in range(64)]
    assert {each["request_id"] for each in ends if each["cancelled"]} == {*range(64)}
    wait_running(abused_server, 0)
