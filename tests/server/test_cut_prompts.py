"""Proves how much of a prompt is read where a request asks for no more of it."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from inferneo_core import ChatCompletionRequest, CompletionRequest, Message
from inferneo_core.chat import ImagePart, ImageUrl, TextPart
from inferneo_core.errors import ApiError
from inferneo_server.engines.simulated import SimulatedEngine
from inferneo_server.service import Service
from tests.server.services import read_answer, ready_service

CONTEXT = 50
LONG = " ".join(f"word{number}" for number in range(3 * CONTEXT))

both = pytest.mark.parametrize("chats", [True, False], ids=["chat", "text"])


def on_words(work: Callable[[Service], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with ready_service(SimulatedEngine(max_model_len=CONTEXT)) as service:
            await work(service)

    asyncio.run(bounded())


def asking(text: str, *, chats: bool, **fields: Any) -> ChatCompletionRequest | CompletionRequest:
    fields = {"max_tokens": 5, "return_token_ids": True, **fields}
    if chats:
        return ChatCompletionRequest(messages=[Message(role="user", content=text)], **fields)
    return CompletionRequest(prompt=text, **fields)


async def read(service: Service, text: str, *, chats: bool, **fields: Any) -> list[int]:
    """The tokens of the prompt that reached the engine."""
    answer = await read_answer(await service.begin(asking(text, chats=chats, **fields)))
    told = answer if chats else answer["choices"][0]
    found: list[int] = told["prompt_token_ids"]
    assert answer["usage"]["prompt_tokens"] == len(found)
    return found


async def refusal(
    service: Service, request: ChatCompletionRequest | CompletionRequest
) -> tuple[str | None, str | None]:
    with pytest.raises(ApiError) as caught:
        await service.begin(request)
    assert caught.value.status == 400
    return caught.value.code, caught.value.param


@both
def test_the_end_is_kept_or_the_beginning_where_that_is_wanted(chats: bool) -> None:
    async def work(service: Service) -> None:
        whole = await read(service, "a b c d", chats=chats)
        for kept in (1, 3, 4, 5, CONTEXT * 9):
            cut: dict[str, Any] = {"truncate_prompt_tokens": kept}
            assert await read(service, "a b c d", chats=chats, **cut) == whole[-kept:]
            for side, expected in (("left", whole[-kept:]), ("right", whole[:kept])):
                told = await read(service, "a b c d", chats=chats, **cut, truncation_side=side)
                assert told == expected
        assert await read(service, "a b c d", chats=chats, truncation_side="right") == whole

    on_words(work)


@both
@pytest.mark.parametrize("kept", [-1, CONTEXT, CONTEXT * 9])
def test_room_is_left_for_the_answer(chats: bool, kept: int) -> None:
    async def work(service: Service) -> None:
        end = await read(service, LONG, chats=chats, truncate_prompt_tokens=kept)
        one = await read(service, LONG, chats=chats, truncate_prompt_tokens=kept, max_tokens=1)
        assert (len(end), len(one)) == (CONTEXT - 5, CONTEXT - 1)
        assert end == one[-len(end) :]

    on_words(work)


@both
def test_nothing_cannot_be_kept_and_an_answer_that_is_too_long_is_refused_still(
    chats: bool,
) -> None:
    async def work(service: Service) -> None:
        nothing = asking("a b", chats=chats, truncate_prompt_tokens=0)
        too_long = asking("a b", chats=chats, truncate_prompt_tokens=-1, max_tokens=CONTEXT)

        assert (await refusal(service, nothing))[1] == "truncate_prompt_tokens"
        assert (await refusal(service, too_long))[0] == "context_length_exceeded"

    on_words(work)


def test_a_gap_cannot_be_cut() -> None:
    async def work(service: Service) -> None:
        request = CompletionRequest(prompt="a", suffix="b", truncate_prompt_tokens=1)
        assert (await refusal(service, request))[1] == "truncate_prompt_tokens"

    on_words(work)


def test_a_picture_is_not_cut_off_unseen() -> None:
    picture = ImagePart(image_url=ImageUrl(url="data:image/png;base64,AAAA"))
    messages = [Message(role="user", content=[TextPart(text="a b"), picture])]

    async def work(service: Service) -> None:
        cut = ChatCompletionRequest(messages=messages, truncate_prompt_tokens=1)
        assert (await refusal(service, cut))[1] == "truncate_prompt_tokens"
        # Where it all fits, nothing is cut off.
        fits = ChatCompletionRequest(messages=messages, truncate_prompt_tokens=2)
        await read_answer(await service.begin(fits))

    on_words(work)
