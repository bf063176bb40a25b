"""What goes over the wire for a call, and when it goes twice."""

import asyncio
import json
from typing import Any

import httpx
import httpx2
import pytest

from inferneo_client import (
    ApiError,
    AsyncInferneo,
    ConnectionFailed,
    Inferneo,
    NotFound,
    Retry,
    ServerError,
    TimedOut,
    Timeout,
    TooManyRequests,
)
from inferneo_core.errors import AuthenticationFailed, ContextLengthExceeded, retry_after
from tests.client.flavours import FLAVOURS, MESSAGES, QUICK, Deed, Flavour
from tests.client.proxy import Fault, faulty_proxy
from tests.client.recorded import TEXT
from tests.client.scripted import ScriptedServer, whole

Environment = pytest.MonkeyPatch


@pytest.fixture(params=FLAVOURS, ids=lambda flavour: flavour.name)
def flavour(request: pytest.FixtureRequest) -> Flavour:
    found: Flavour = request.param
    return found


def failing(status: int, code: str | None = None, **headers: str) -> bytes:
    error = {"message": "no", "type": "t", "param": "messages", "code": code}
    body = json.dumps({"error": error, "detail": "no"}).encode()
    return whole(status, body, connection="close", x_request_id="req_9", **headers)


def test_the_environment_gives_what_is_not_given(monkeypatch: Environment) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "http://openai/v1")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-openai")
    assert Inferneo().base_url == "http://openai/v1"
    monkeypatch.setenv("INFERNEO_BASE_URL", "http://ours/v1/")
    assert Inferneo().base_url == "http://ours/v1"
    assert Inferneo(base_url="http://given/v1").base_url == "http://given/v1"


def test_a_request_carries_the_key_the_headers_and_a_key_of_its_own(
    ours: ScriptedServer, flavour: Flavour
) -> None:
    options = {
        "api_key": "sk-1",
        "headers": {"X-Team": "a", "User-Agent": "mine"},
        "timeout": 30.0,
    }
    flavour.run(ours.url, options, Deed(streamed=False))
    head, body = ours.requests[0]

    assert head.headers["authorization"] == "Bearer sk-1"
    assert head.headers["x-team"] == "a"
    assert head.headers["user-agent"] == "mine"
    assert 0 < float(head.headers["inferneo-timeout"]) <= 30
    assert len(head.headers["idempotency-key"]) == 32
    assert json.loads(body) == {"messages": MESSAGES, "max_tokens": 5}


def test_with_options_changes_a_copy_alone(ours: ScriptedServer) -> None:
    with Inferneo(base_url=ours.url, api_key="a", headers={"x-one": "1"}) as client:
        other = client.with_options(api_key="b", headers={"x-two": "2"}, timeout=7)
        other.models.list()
        client.models.list()
    (first, _), (second, _) = ours.requests

    assert (first.headers["authorization"], second.headers["authorization"]) == (
        "Bearer b",
        "Bearer a",
    )
    assert (first.headers["x-one"], first.headers["x-two"]) == ("1", "2")
    assert "x-two" not in second.headers
    assert "inferneo-timeout" not in second.headers


def test_a_call_may_have_options_of_its_own(ours: ScriptedServer) -> None:
    with Inferneo(base_url=ours.url) as client:
        client.chat.completions.create(
            messages=MESSAGES,
            timeout=Timeout(total=3),
            extra_headers={"X-A": "1"},
            extra_body={"guided": True},
            idempotency_key="mine",
        )
    head, body = ours.requests[0]

    assert (head.headers["x-a"], head.headers["idempotency-key"]) == ("1", "mine")
    assert json.loads(body)["guided"] is True


def test_an_argument_that_is_not_there_is_named(ours: ScriptedServer) -> None:
    with Inferneo(base_url=ours.url) as client, pytest.raises(TypeError, match="'temprature'"):
        client.chat.completions.create(
            messages=MESSAGES,
            temprature=1,  # type: ignore[call-overload]
        )
    assert ours.requests == []


@pytest.mark.parametrize(
    ("status", "code", "kind", "retryable"),
    [
        (400, "context_length_exceeded", ContextLengthExceeded, False),
        (401, "invalid_api_key", AuthenticationFailed, False),
        (404, "not_found", NotFound, False),
        (429, "rate_limit_exceeded", TooManyRequests, True),
        (429, "insufficient_quota", TooManyRequests, False),
        (500, None, ServerError, True),
        (501, None, ServerError, False),
        (418, None, ApiError, False),
    ],
)
def test_an_error_tells_all_that_is_known(
    ours: ScriptedServer, status: int, code: str | None, kind: type[ApiError], retryable: bool
) -> None:
    ours.answer = failing(status, code)
    with Inferneo(base_url=ours.url, max_retries=0) as client, pytest.raises(kind) as raised:
        client.chat.completions.create(messages=MESSAGES)
    error = raised.value

    assert (error.status, error.param, error.request_id) == (status, "messages", "req_9")
    assert error.retryable is retryable
    assert error.attempts == 1
    assert code is None or error.code == code


@pytest.mark.parametrize(
    ("status", "ours_too", "attempts"), [(429, True, 3), (503, False, 3), (400, True, 1)]
)
def test_an_answer_that_refuses_is_asked_again(
    ours: ScriptedServer, other: ScriptedServer, status: int, ours_too: bool, attempts: int
) -> None:
    server = ours if ours_too else other
    server.answer = failing(status, retry_after_ms="1")
    retry = Retry(attempts=3, delay=0.001)
    with Inferneo(base_url=server.url, retry=retry) as client, pytest.raises(ApiError) as raised:
        client.chat.completions.create(messages=MESSAGES)

    assert raised.value.attempts == server.generations == attempts


def test_a_500_of_another_server_is_not_asked_again(
    other: ScriptedServer, flavour: Flavour
) -> None:
    other.answer = failing(500)
    outcome = flavour.run(other.url, {"retry": QUICK}, Deed())

    assert isinstance(outcome.error, ServerError)
    assert other.generations == 1


def test_a_wait_longer_than_allowed_is_not_waited_for(ours: ScriptedServer) -> None:
    ours.answer = failing(429, retry_after="31")
    with (
        Inferneo(base_url=ours.url) as client,
        pytest.raises(TooManyRequests) as raised,
    ):
        client.chat.completions.create(messages=MESSAGES)

    assert raised.value.attempts == 1


def test_the_wait_that_a_server_asks_for_is_read_in_all_its_forms() -> None:
    assert retry_after({"retry-after-ms": "1500", "retry-after": "9"}) == 1.5
    assert retry_after({"retry-after": "9"}) == 9
    assert retry_after({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}) == 0
    assert retry_after({"retry-after": "soon"}) is None
    assert retry_after({"retry-after": "nan"}) is None
    assert retry_after({}) is None


def test_a_server_that_is_not_there_was_sent_nothing(flavour: Flavour) -> None:
    outcome = flavour.run("http://127.0.0.1:9/v1", {"retry": QUICK}, Deed())

    assert isinstance(outcome.error, ConnectionFailed)
    assert outcome.error.sent is False
    assert outcome.error.attempts == QUICK.attempts
    assert "base_url" in str(outcome.error)


def test_a_silent_server_is_not_waited_for(other: ScriptedServer, flavour: Flavour) -> None:
    other.hold = 0
    options = {"timeout": Timeout(ttft=0.05, idle=0.05), "retry": QUICK}
    outcome = flavour.run(other.url, options, Deed())

    assert isinstance(outcome.error, TimedOut)
    assert isinstance(outcome.error, TimeoutError)
    assert outcome.error.phase == "ttft"
    assert other.generations == 1


def test_a_stream_that_falls_silent_is_interrupted(other: ScriptedServer, flavour: Flavour) -> None:
    other.hold = 3
    options = {"timeout": Timeout(ttft=1.0, idle=1.0), "retry": QUICK}
    outcome = flavour.run(other.url, options, Deed())

    assert isinstance(outcome.error, ConnectionFailed)
    assert outcome.error.code == "stream_interrupted"
    assert len(outcome.chunks) == 3


def test_the_total_time_ends_a_call_and_its_attempts(
    ours: ScriptedServer, flavour: Flavour
) -> None:
    ours.hold = 3
    options = {"timeout": Timeout(total=0.3, ttft=0.1, idle=0.1), "retry": Retry(attempts=99)}
    outcome = flavour.run(ours.url, options, Deed())

    assert isinstance(outcome.error, TimedOut)
    assert outcome.error.phase == "total"
    assert ours.generations == 1


def test_a_client_of_the_callers_own_is_used_and_left_open(ours: ScriptedServer) -> None:
    with httpx.Client(headers={"x-own": "1"}) as own:
        with Inferneo(base_url=ours.url, http_client=own) as client:
            client.chat.completions.create(messages=MESSAGES)
        assert not own.is_closed
    assert ours.requests[0][0].headers["x-own"] == "1"


@pytest.mark.parametrize("wrong", [object(), httpx.AsyncClient()], ids=["object", "async"])
def test_something_else_is_no_http_client(ours: ScriptedServer, wrong: Any) -> None:
    with Inferneo(base_url=ours.url, http_client=wrong) as client, pytest.raises(TypeError):
        client.models.list()


@pytest.mark.parametrize("library", [httpx, httpx2])
def test_clients_of_both_libraries_carry_streams(ours: ScriptedServer, library: Any) -> None:
    async def read() -> str:
        async with (
            library.AsyncClient() as own,
            AsyncInferneo(base_url=ours.url, http_client=own) as client,
            await client.chat.completions.create(messages=MESSAGES, stream=True) as stream,
        ):
            return "".join([text async for text in stream.text_deltas()])

    with (
        library.Client() as own,
        Inferneo(base_url=ours.url, http_client=own) as client,
        client.chat.completions.create(messages=MESSAGES, stream=True) as stream,
    ):
        text = "".join(stream.text_deltas())

    assert text == asyncio.run(read()) == TEXT


def test_a_lost_answer_is_fetched_and_not_made_again(
    ours: ScriptedServer, flavour: Flavour
) -> None:
    with faulty_proxy(ours.port) as proxy:
        proxy.faults.append(Fault("swallow"))
        outcome = flavour.run(proxy.url, {"retry": QUICK}, Deed(streamed=False))

    assert outcome.error is None
    assert outcome.final.response.attempts == 2
    assert ours.generations == 1


def test_a_lost_answer_of_another_server_is_lost(other: ScriptedServer, flavour: Flavour) -> None:
    with faulty_proxy(other.port) as proxy:
        proxy.faults.append(Fault("swallow"))
        outcome = flavour.run(proxy.url, {"retry": QUICK}, Deed(streamed=False))

    assert isinstance(outcome.error, ConnectionFailed)
    assert outcome.error.sent is True
    assert other.generations == 1
