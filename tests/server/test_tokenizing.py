"""Proves what of texts, chats and token ids is told, and what is refused."""

import asyncio
from typing import Any

import pytest
from msgspec import UNSET

from inferneo_core.chat import Message
from inferneo_core.errors import InvalidRequest, ModelNotFound
from inferneo_core.tokens import Detokenized, DetokenizeRequest, Tokenized, TokenizeRequest
from inferneo_server.access.identity import ANYONE
from inferneo_server.engines.simulated import SimulatedEngine
from inferneo_server.tokenizing import INLINE_TOKENS, MAX_TOKENS, detokenize, tokenize
from tests.server.services import ready_service

CONTEXT = 50
HELLO = [Message(role="user", content="Hello there")]


def tokenized(**fields: Any) -> Tokenized:
    async def work() -> Tokenized:
        async with ready_service(SimulatedEngine(max_model_len=CONTEXT)) as service:
            return await tokenize(service, TokenizeRequest(**fields), ANYONE)

    return asyncio.run(work())


def detokenized(**fields: Any) -> Detokenized:
    async def work() -> Detokenized:
        async with ready_service(SimulatedEngine(max_model_len=CONTEXT)) as service:
            return await detokenize(service, DetokenizeRequest(**fields), ANYONE)

    return asyncio.run(work())


@pytest.mark.parametrize("fields", [{"prompt": "Hello there"}, {"messages": HELLO}])
def test_tokens_are_given_and_counted(fields: dict[str, Any]) -> None:
    told = tokenized(**fields)

    assert (told.count, len(told.tokens), told.max_model_len) == (2, 2, CONTEXT)
    assert told.token_strs is UNSET
    assert told == tokenized(prompt="Hello there")


@pytest.mark.parametrize("words", [1, INLINE_TOKENS + 1])
def test_the_tokens_texts_are_given_where_they_are_wanted(words: int) -> None:
    told = tokenized(prompt="word " * words, return_token_strs=True)

    assert told.count == words
    assert told.token_strs is not UNSET
    assert len(told.token_strs) == words
    assert set(told.token_strs) == {detokenized(tokens=told.tokens[:1]).prompt}


def test_nothing_has_no_tokens() -> None:
    assert tokenized(prompt="").tokens == []
    assert detokenized(tokens=[]).prompt == ""


def test_a_prompt_may_be_longer_than_the_model_reads() -> None:
    assert tokenized(prompt="word " * (CONTEXT + 1)).count == CONTEXT + 1


@pytest.mark.parametrize("count", [1, INLINE_TOKENS + 1, MAX_TOKENS])
def test_tokens_become_a_text(count: int) -> None:
    assert len(detokenized(tokens=[1] * count).prompt.split()) == count


@pytest.mark.parametrize("tokens", [[10**9], [1] * INLINE_TOKENS + [10**9], [1] * (MAX_TOKENS + 1)])
def test_tokens_that_are_none_and_too_many_are_refused(tokens: list[int]) -> None:
    with pytest.raises(InvalidRequest) as caught:
        detokenized(tokens=tokens)
    assert caught.value.param == "tokens"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({}, "prompt"),
        ({"prompt": "a", "messages": HELLO}, "prompt"),
        ({"prompt": "a", "tools": []}, "tools"),
        ({"prompt": "a", "add_generation_prompt": True}, "add_generation_prompt"),
        ({"prompt": "a", "chat_template_kwargs": {}}, "chat_template_kwargs"),
        (
            {"messages": HELLO, "add_generation_prompt": True, "continue_final_message": True},
            "continue_final_message",
        ),
    ],
)
def test_fields_that_contradict_each_other_are_refused(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        tokenized(**fields)
    assert caught.value.param == param


def test_a_model_that_is_not_served_is_not_found() -> None:
    with pytest.raises(ModelNotFound):
        tokenized(prompt="a", model="other")
    with pytest.raises(ModelNotFound):
        detokenized(tokens=[1], model="other")
