"""Proves that a stream loses no logprob of the prompt where its first tokens add no text yet."""

import json

from inferneo_core.logprobs import PromptLogprob
from inferneo_server.answers.chat import ChatDetails, DetailedChatForm
from inferneo_server.answers.text import DetailedTextForm, TextDetails
from inferneo_server.engines.base import DetailedDelta

OF_PROMPT = [None, {7: PromptLogprob(logprob=-0.5, rank=1, decoded_token="hi")}]
TOLD = [None, {"7": {"logprob": -0.5, "rank": 1, "decoded_token": "hi"}}]

# The first token is a part of a character, whose text comes with the second.
DELTAS = [
    DetailedDelta(index=0, text="", token_ids=[1], prompt_logprobs=OF_PROMPT),
    DetailedDelta(index=0, text="🙂", token_ids=[2]),
    DetailedDelta(index=0, text="", token_ids=[3], finish_reason="stop"),
]


def test_each_choice_of_a_text_tells_the_prompt_once() -> None:
    form = DetailedTextForm("model", TextDetails(prompt_logprobs=True))
    chunks = [json.loads(chunk) for delta in DELTAS for chunk in form.chunks(delta)]

    told = [chunk["choices"][0].get("prompt_logprobs") for chunk in chunks]
    assert told == [TOLD, None, None]


def test_a_chat_tells_the_prompt_once() -> None:
    form = DetailedChatForm("model", ChatDetails(prompt_logprobs=True))
    chunks = [json.loads(chunk) for delta in DELTAS for chunk in form.chunks(delta)]

    assert [chunk.get("prompt_logprobs") for chunk in chunks] == [TOLD, None, None]
