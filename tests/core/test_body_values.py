"""Proves which bodies are refused for the many values in them, before these are built."""

import json
from typing import Any

import msgspec
import pytest

from inferneo_core.chat import ChatCompletionRequest
from inferneo_core.codec import (
    MAX_CONTAINERS,
    MAX_TEXTS,
    chat_request,
    completion_request,
    decode_known,
)
from inferneo_core.embeddings import EmbeddingRequest
from inferneo_core.errors import InvalidRequest
from inferneo_core.messages import MessagesRequest
from inferneo_core.responses import response_request
from inferneo_core.scores import RerankRequest

LISTS: list[Any] = [[]] * MAX_CONTAINERS
SCHEMA: dict[str, Any] = {"enum": LISTS}
HELLO = [{"role": "user", "content": "Hello"}]
TOOL = {"type": "function", "function": {"name": "a", "parameters": SCHEMA}}

BODIES: dict[str, tuple[msgspec.json.Decoder[Any], dict[str, Any], str | None]] = {
    "template": (chat_request, {"chat_template_kwargs": {"a": LISTS}}, "chat_template_kwargs"),
    "tools": (chat_request, {"tools": [TOOL]}, "tools"),
    "format": (chat_request, {"structured_outputs": {"json": SCHEMA}}, "structured_outputs"),
    "bias": (
        chat_request,
        {"logit_bias": {str(number): 1 for number in range(MAX_TEXTS)}},
        "logit_bias",
    ),
    "messages": (chat_request, {"messages": HELLO * MAX_CONTAINERS}, "messages"),
    "prompts": (completion_request, {"prompt": [[1]] * MAX_CONTAINERS}, "prompt"),
    "unknown": (completion_request, {"prompt": "Hello", "metadata": LISTS}, None),
    "items": (response_request, {"input": [{"a": LISTS}]}, "input"),
    "call": (
        msgspec.json.Decoder(MessagesRequest),
        {"max_tokens": 1, "messages": [{"role": "assistant", "content": [{"input": LISTS}]}]},
        "messages",
    ),
    "inputs": (
        msgspec.json.Decoder(EmbeddingRequest),
        {"model": "[{", "input": [[1]] * MAX_CONTAINERS},
        "input",
    ),
    "documents": (
        msgspec.json.Decoder(RerankRequest),
        {"query": "a", "documents": ["a"] * MAX_TEXTS},
        "documents",
    ),
}


@pytest.mark.parametrize(("decoder", "fields", "param"), BODIES.values(), ids=BODIES)
def test_too_many_values_are_refused_by_the_field_that_holds_them(
    decoder: msgspec.json.Decoder[Any], fields: dict[str, Any], param: str | None
) -> None:
    known = {"messages": HELLO} if decoder is chat_request else {}
    with pytest.raises(InvalidRequest) as caught:
        decode_known(json.dumps(known | fields).encode(), decoder)

    assert caught.value.status == 400
    assert "allowed" in caught.value.message
    assert caught.value.param == param


def test_as_many_values_as_are_allowed_are_taken() -> None:
    # Beside the lists: the body, the messages, the message, the object and the list around them.
    given = {"a": LISTS[:-5]}
    body = json.dumps({"messages": HELLO, "chat_template_kwargs": given}).encode()

    assert decode_known(body, chat_request)[0].chat_template_kwargs == given


@pytest.mark.parametrize("text", ["[{" * MAX_CONTAINERS, '"' * 3 * MAX_TEXTS, '\\"[' * MAX_TEXTS])
def test_brackets_and_quotes_of_a_text_are_no_values(text: str) -> None:
    messages = [{"role": "user", "content": text}, {"role": "\\", "content": "\\\\"}]
    body = json.dumps({"messages": messages}).encode()

    request: ChatCompletionRequest = decode_known(body, chat_request)[0]
    assert [message.content for message in request.messages] == [text, "\\\\"]


def test_a_name_that_does_not_fit_is_told_with_its_object() -> None:
    body = json.dumps({"input": "Hello", "metadata": {"k" * 65: "v"}}).encode()
    with pytest.raises(InvalidRequest, match="^Invalid 'metadata': ") as caught:
        decode_known(body, response_request)
    assert caught.value.param == "metadata"


def test_a_huge_body_that_is_no_object_is_refused_without_a_field() -> None:
    body = json.dumps(LISTS + [[]]).encode()
    with pytest.raises(InvalidRequest) as caught:
        decode_known(body, chat_request)
    assert caught.value.param is None
    with pytest.raises(InvalidRequest, match="lists and objects"):
        decode_known(body, msgspec.json.Decoder(list[Any]))
