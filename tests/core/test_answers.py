"""Proves that answers arrive as they were sent, with null where OpenAI requires a field."""

import json
from typing import Any

import msgspec
import pytest
from msgspec import UNSET

from inferneo_core import (
    ChatCompletion,
    ChatCompletionChunk,
    Completion,
    ErrorBody,
    ErrorDetail,
    Model,
    ModelList,
    Usage,
)
from inferneo_core.chat import AnswerMessage, ChatChoice, ChatChunkChoice, ChatDelta
from inferneo_core.codec import encode
from inferneo_core.completions import CompletionChoice
from inferneo_core.usage import PromptTokensDetails

USAGE = Usage(prompt_tokens=3, completion_tokens=4, total_tokens=7)
CACHED = msgspec.structs.replace(USAGE, prompt_tokens_details=PromptTokensDetails(cached_tokens=2))
ENVELOPE: dict[str, Any] = {"id": "a-1", "created": 1_700_000_000, "model": "m"}
MODEL = Model(id="m", created=1, root="r/m", max_model_len=2048)

ANSWERS: list[msgspec.Struct] = [
    ChatCompletion(
        choices=[
            ChatChoice(index=0, message=AnswerMessage(content="Hé"), finish_reason="stop"),
            ChatChoice(index=1, message=AnswerMessage(content=None), finish_reason="tool_calls"),
        ],
        usage=CACHED,
        **ENVELOPE,
    ),
    ChatCompletionChunk(
        choices=[ChatChunkChoice(index=0, delta=ChatDelta(role="assistant", content=""))],
        **ENVELOPE,
    ),
    ChatCompletionChunk(
        choices=[ChatChunkChoice(index=2, delta=ChatDelta(), finish_reason="length")], **ENVELOPE
    ),
    ChatCompletionChunk(choices=[], usage=USAGE, **ENVELOPE),
    Completion(choices=[CompletionChoice(index=0, text=" a")], **ENVELOPE),
    Completion(
        choices=[CompletionChoice(index=1, text="", finish_reason="stop")], usage=USAGE, **ENVELOPE
    ),
    ModelList(data=[MODEL]),
    MODEL,
    CACHED,
    ErrorBody(error=ErrorDetail(message="no", type="server_error"), detail="no"),
    ErrorBody(
        error=ErrorDetail(message="no", type="t", param="n", code="c"), detail="no", request_id=7
    ),
]


@pytest.mark.parametrize("answer", ANSWERS, ids=lambda answer: type(answer).__name__)
def test_an_answer_arrives_as_it_was_sent(answer: msgspec.Struct) -> None:
    assert msgspec.json.decode(encode(answer), type=type(answer)) == answer


@pytest.mark.parametrize(
    ("answer", "sent"),
    [
        (
            ANSWERS[0],
            {
                "object": "chat.completion",
                "choices": [
                    {
                        "index": 0,
                        "message": {"role": "assistant", "content": "Hé", "refusal": None},
                        "logprobs": None,
                        "finish_reason": "stop",
                    },
                    {
                        "index": 1,
                        "message": {"role": "assistant", "content": None, "refusal": None},
                        "logprobs": None,
                        "finish_reason": "tool_calls",
                    },
                ],
                "usage": {
                    "prompt_tokens": 3,
                    "completion_tokens": 4,
                    "total_tokens": 7,
                    "prompt_tokens_details": {"cached_tokens": 2},
                },
            },
        ),
        (
            ANSWERS[1],
            {
                "object": "chat.completion.chunk",
                "choices": [
                    {
                        "index": 0,
                        "delta": {"role": "assistant", "content": ""},
                        "finish_reason": None,
                    }
                ],
            },
        ),
        (
            ANSWERS[2],
            {
                "object": "chat.completion.chunk",
                "choices": [{"index": 2, "delta": {}, "finish_reason": "length"}],
            },
        ),
        (
            ANSWERS[4],
            {
                "object": "text_completion",
                "choices": [{"index": 0, "text": " a", "logprobs": None, "finish_reason": None}],
            },
        ),
    ],
)
def test_what_openai_requires_is_there_even_where_it_is_null(
    answer: msgspec.Struct, sent: dict[str, Any]
) -> None:
    assert json.loads(encode(answer)) == ENVELOPE | sent


def test_a_count_of_tokens_that_is_not_known_is_left_out() -> None:
    assert USAGE.prompt_tokens_details is UNSET
    assert json.loads(encode(USAGE)) == {
        "prompt_tokens": 3,
        "completion_tokens": 4,
        "total_tokens": 7,
    }


def test_a_model_is_described_with_all_its_fields() -> None:
    assert json.loads(encode(ModelList(data=[MODEL]))) == {
        "object": "list",
        "data": [
            {
                "id": "m",
                "object": "model",
                "created": 1,
                "owned_by": "inferneo",
                "root": "r/m",
                "parent": None,
                "max_model_len": 2048,
                "permission": [],
                "status": "ready",
                "aliases": [],
            }
        ],
    }
