"""OpenAI's client for Python, where things go wrong: the class of each error, and what it tells."""

import signal
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest
from openai import OpenAI

from tests.integration.waiting import wait_running, wait_until
from tests.servers import RunningServer

MODEL = "inferneo-tiny"
ASKED: dict[str, Any] = {
    "model": MODEL,
    "messages": [{"role": "user", "content": "What is Inferneo?"}],
}


def connect(server: RunningServer, key: str = "none", timeout: Any = 60) -> OpenAI:
    """A client that tries nothing twice."""
    return OpenAI(base_url=f"{server.url}/v1", api_key=key, max_retries=0, timeout=timeout)


@pytest.fixture(scope="module")
def client(server: RunningServer) -> Iterator[OpenAI]:
    with connect(server) as client:
        yield client


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"temperature": "hot"}, "temperature"),
        ({"temperature": 2.5}, "temperature"),
        ({"top_p": 0}, "top_p"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": "8"}, "max_tokens"),
        ({"max_completion_tokens": 1.5}, "max_completion_tokens"),
        ({"n": 0}, "n"),
        ({"n": 129}, "n"),
        ({"stop": ""}, "stop"),
        ({"seed": 2**63}, "seed"),
        ({"presence_penalty": -3}, "presence_penalty"),
        ({"messages": []}, "messages"),
        ({"messages": "hello"}, "messages"),
        ({"stream_options": {"include_usage": 1}}, "stream_options.include_usage"),
        ({"extra_body": {"top_k": -2}}, "top_k"),
        ({"extra_body": {"min_p": 1.1}}, "min_p"),
        ({"extra_body": {"repetition_penalty": 0}}, "repetition_penalty"),
        ({"extra_body": {"ignore_eos": "yes"}}, "ignore_eos"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_a_value_that_does_not_fit_is_a_bad_request_that_names_its_field(
    client: OpenAI, fields: dict[str, Any], param: str, stream: bool
) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(**{**ASKED, "stream": stream, **fields})
    assert refused.value.param == param
    assert refused.value.type == "invalid_request_error"
    assert refused.value.request_id


def test_a_field_within_a_message_is_named_with_its_place(client: OpenAI) -> None:
    messages = [{"role": "user", "content": "Hello"}, {"role": "user", "content": 5}]
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(**{**ASKED, "messages": messages})
    assert refused.value.param in ("messages[1].content", "messages.1.content")


@pytest.mark.parametrize("prompt", [[], [[]], ["a", 1], [[1], 2], 5, [10_000_000], [-1]])
def test_a_prompt_of_no_known_form_is_a_bad_request(client: OpenAI, prompt: Any) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        client.completions.create(model=MODEL, prompt=prompt)
    assert refused.value.param is not None
    assert refused.value.param.startswith("prompt")


def test_more_choices_than_a_request_may_have_are_a_bad_request(client: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        client.completions.create(model=MODEL, prompt=["a"] * 65, n=2)
    assert refused.value.param == "prompt"


@pytest.mark.parametrize("stream", [False, True])
def test_what_does_not_fit_the_context_is_a_bad_request(client: OpenAI, stream: bool) -> None:
    long = [{"role": "user", "content": "word " * 20_000}]
    for fields in ({"messages": long}, {"max_tokens": 100_000}):
        with pytest.raises(openai.BadRequestError) as refused:
            client.chat.completions.create(**{**ASKED, "stream": stream, **fields})
        assert refused.value.code == "context_length_exceeded"
        assert refused.value.param == "messages"
    with pytest.raises(openai.BadRequestError) as refused:
        client.completions.create(model=MODEL, prompt=[7] * 20_000)
    assert (refused.value.code, refused.value.param) == ("context_length_exceeded", "prompt")


def test_malformed_json_is_a_bad_request(server: RunningServer) -> None:
    answer = httpx.post(f"{server.url}/v1/chat/completions", content=b'{"messages": [', timeout=30)
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "invalid_json"
    assert answer.json()["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize("name", ["gpt-4", "nobodys/model", "a/b/c", "odd %20 name", "."])
def test_a_model_that_is_not_served_is_not_found(client: OpenAI, name: str) -> None:
    with pytest.raises(openai.NotFoundError) as asked:
        client.chat.completions.create(**{**ASKED, "model": name})
    assert (asked.value.code, asked.value.param) == ("model_not_found", "model")
    assert name in str(asked.value)


@pytest.mark.parametrize("name", ["gpt-4", "nobodys/model", "a/b/c", "odd %20 name"])
def test_a_model_that_is_not_served_cannot_be_retrieved(client: OpenAI, name: str) -> None:
    with pytest.raises(openai.NotFoundError) as asked:
        client.models.retrieve(name)
    assert asked.value.code == "model_not_found"
    assert name in str(asked.value)


def test_a_wrong_key_fails_authentication_and_the_right_one_does_not(
    keyed_server: RunningServer, key: str
) -> None:
    with connect(keyed_server, "sk-wrong") as stranger:
        for ask in (stranger.models.list, lambda: stranger.chat.completions.create(**ASKED)):
            with pytest.raises(openai.AuthenticationError) as refused:
                ask()
            assert refused.value.code == "invalid_api_key"
            assert key not in str(refused.value)
    with connect(keyed_server, key) as client:
        assert client.chat.completions.create(**ASKED).choices


def test_a_server_that_still_loads_asks_to_come_back() -> None:
    server = RunningServer("--engine-args", "max_model_len=2048")
    try:
        server.wait_listening()
        with connect(server) as client, pytest.raises(openai.InternalServerError) as refused:
            client.chat.completions.create(**ASKED)
        assert (refused.value.status_code, refused.value.code) == (503, "engine_unavailable")
        assert int(refused.value.response.headers["retry-after"]) >= 1
        assert "loading" in str(refused.value)
        ready = httpx.get(f"{server.url}/ready")
        assert (ready.status_code, ready.json()) == (503, {"status": "loading"})
        assert httpx.get(f"{server.url}/health").json()["model_loaded"] is False
        assert httpx.get(f"{server.url}/v1/models").json()["data"] == []
    finally:
        # Not by SIGTERM: imports of vLLM that have begun would be waited for.
        server.stop(signal.SIGKILL)


def test_a_request_that_timed_out_is_given_up(slow_server: RunningServer) -> None:
    before = slow_server.metric("inferneo_prompt_tokens_total")
    with connect(slow_server, timeout=httpx.Timeout(30, read=0.5)) as client:
        with pytest.raises(openai.APITimeoutError):
            client.chat.completions.create(**ASKED)
        # Counted when the work on it ends, so that it was begun.
        wait_until(lambda: slow_server.metric("inferneo_prompt_tokens_total") > before)
    wait_running(slow_server, 0)


def test_a_stream_that_is_left_is_given_up(slow_server: RunningServer) -> None:
    with connect(slow_server) as client:
        with client.chat.completions.create(**ASKED, stream=True, n=2) as stream:
            assert next(iter(stream)).choices[0].delta.role == "assistant"
            wait_running(slow_server, 2)
        wait_running(slow_server, 0)
