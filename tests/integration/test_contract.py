"""Proves that answers are what OpenAI's published schemas say, in the strict reading of its SDK.

Unasked, an answer holds nothing that those schemas do not know, but what vLLM adds as well.
"""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from openai.types import Completion, Model
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from pydantic import BaseModel

from tests.integration.asking import CHAT, TEXT, ask, events
from tests.integration.test_tools import FITTING, WEATHER
from tests.servers import RunningServer

QUESTION = {"messages": [{"role": "user", "content": "What is Inferneo?"}], "temperature": 0}
THOUGHT = {"messages": [{"role": "user", "content": "Which is larger, 3 or 8?"}]}
BEGINNING = {"prompt": "Inferneo is", "temperature": 0}
CASES = [
    (CHAT, QUESTION | {"max_tokens": 4}),
    (CHAT, QUESTION | {"max_tokens": 60}),
    (CHAT, QUESTION | {"n": 2, "stop": "server"}),
    (CHAT, QUESTION | {"max_tokens": 4, "logprobs": True, "top_logprobs": 2}),
    (CHAT, FITTING | {"temperature": 0, "tools": [WEATHER]}),
    (CHAT, FITTING | {"temperature": 0, "tools": [WEATHER], "tool_choice": "required"}),
    (CHAT, THOUGHT | {"temperature": 0, "reasoning_effort": "low"}),
    (CHAT, QUESTION | {"max_tokens": 8, "response_format": {"type": "json_object"}}),
    (TEXT, BEGINNING | {"max_tokens": 4}),
    # Not echoed: of the prompt's first token OpenAI itself tells null, which its schema denies.
    (TEXT, BEGINNING | {"max_tokens": 4, "logprobs": 2}),
    (TEXT, BEGINNING | {"max_tokens": 4, "echo": True}),
    (TEXT, BEGINNING | {"max_tokens": 4, "n": 2, "stop": ["server"]}),
]
# vLLM's, which its users know: the stop text or token, and the reasoning under both names.
FURTHER = {"stop_reason", "reasoning", "reasoning_content"}


def unknown(model: Any) -> Iterator[str]:
    """Names of the fields that the schemas do not know."""
    if isinstance(model, BaseModel):
        yield from model.model_extra or ()
        for name in type(model).model_fields:
            yield from unknown(getattr(model, name))
    elif isinstance(model, list):
        for each in model:
            yield from unknown(each)


def nulls(value: Any, path: str = "") -> Iterator[str]:
    """Paths of what is null."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from nulls(inner, f"{path}.{name}")
    elif isinstance(value, list):
        for inner in value:
            yield from nulls(inner, path)
    elif value is None:
        yield path


# What OpenAI requires to be there, null or not.
MAY_BE_NULL = {
    ".choices.logprobs",
    ".choices.finish_reason",
    ".choices.message.content",
    ".choices.message.refusal",
    ".choices.logprobs.refusal",
}


@pytest.mark.parametrize(("path", "body"), CASES)
def test_a_whole_answer_fits_the_schema(vllm_server: RunningServer, path: str, body: Any) -> None:
    answer = ask(vllm_server, path, body)

    schema = ChatCompletion if path == CHAT else Completion
    read = schema.model_validate(answer, strict=True)
    assert set(unknown(read)) <= FURTHER
    assert set(nulls(answer)) <= MAY_BE_NULL


@pytest.mark.parametrize(("path", "body"), CASES)
def test_each_chunk_fits_the_schema(vllm_server: RunningServer, path: str, body: Any) -> None:
    for chunk in events(vllm_server, path, body):
        if path == CHAT:
            read: BaseModel = ChatCompletionChunk.model_validate(chunk, strict=True)
        else:
            # The schema of a text's chunk is that of the answer, whose reason comes at the end.
            for choice in chunk["choices"]:
                choice["finish_reason"] = choice["finish_reason"] or "stop"
            read = Completion.model_validate(chunk, strict=True)
        assert set(unknown(read)) <= FURTHER
        assert set(nulls(chunk)) <= MAY_BE_NULL


def test_models_fit_the_schema(vllm_server: RunningServer) -> None:
    answer = httpx.get(f"{vllm_server.url}/v1/models", timeout=10).json()

    assert answer["object"] == "list"
    for model in answer["data"]:
        Model.model_validate(model, strict=True)


@pytest.mark.parametrize(
    ("path", "body"),
    [(CHAT, {}), (CHAT, QUESTION | {"model": "none"}), (TEXT, {"prompt": 5}), ("/v1/nothing", {})],
)
def test_errors_have_string_codes(vllm_server: RunningServer, path: str, body: Any) -> None:
    answer = httpx.post(f"{vllm_server.url}{path}", json=body, timeout=10)

    error = answer.json()["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    assert isinstance(error["code"], str)
    assert isinstance(error["type"], str)
    assert 400 <= answer.status_code < 500
