"""Proves what the service refuses, how long answers may be, and that refusals leave nothing on."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from inferneo_core import ChatCompletionRequest, CompletionRequest, Message
from inferneo_core.errors import (
    ApiError,
    ContextLengthExceeded,
    Draining,
    EngineUnavailable,
    InvalidRequest,
    ModelNotFound,
    Overloaded,
)
from inferneo_server.engines.simulated import SimulatedEngine, SimulatedStream
from inferneo_server.service import Service
from tests.server.services import MODEL, one_model, read_answer, ready_service

CONTEXT = 50


def words(count: int) -> str:
    """A text of so many tokens."""
    return " ".join(["word"] * count)


def chat_request(content: str = "Hello there", **fields: Any) -> ChatCompletionRequest:
    return ChatCompletionRequest(messages=[Message(role="user", content=content)], **fields)


def talkative() -> SimulatedEngine:
    """An engine whose answers are as long as they may be."""
    return SimulatedEngine(max_model_len=CONTEXT, words=10_000)


def on(engine: SimulatedEngine, work: Callable[[Service], Awaitable[None]]) -> None:
    """Do some work with a service over an engine, which then works on nothing any more."""

    async def bounded() -> None:
        async with ready_service(engine) as service:
            await work(service)
            assert service.registry.running == 0

    asyncio.run(bounded())


async def usage(service: Service, request: ChatCompletionRequest | CompletionRequest) -> Any:
    """Tokens of the prompt and of the answer."""
    counted = (await read_answer(await service.begin(request)))["usage"]
    return counted["prompt_tokens"], counted["completion_tokens"]


async def refusal(service: Service, request: ChatCompletionRequest | CompletionRequest) -> ApiError:
    with pytest.raises(ApiError) as caught:
        await usage(service, request)
    assert service.registry.running == 0
    return caught.value


@pytest.mark.parametrize(
    ("fields", "written"),
    [
        ({}, CONTEXT - 2),
        ({"max_tokens": 5}, 5),
        ({"max_completion_tokens": 5}, 5),
        ({"max_completion_tokens": 5, "max_tokens": 7}, 5),
        ({"max_completion_tokens": 7, "max_tokens": 5}, 7),
        ({"max_completion_tokens": 7, "max_tokens": 10_000}, 7),
    ],
)
def test_a_chat_writes_as_much_as_was_asked_for_or_fills_the_context(
    fields: dict[str, Any], written: int
) -> None:
    async def work(service: Service) -> None:
        assert await usage(service, chat_request(**fields)) == (2, written)

    on(talkative(), work)


@pytest.mark.parametrize(("fields", "written"), [({}, 16), ({"max_tokens": 5}, 5)])
def test_a_text_is_continued_by_sixteen_tokens_or_as_many_as_were_asked_for(
    fields: dict[str, Any], written: int
) -> None:
    async def work(service: Service) -> None:
        assert await usage(service, CompletionRequest(prompt="a b", **fields)) == (2, written)

    on(talkative(), work)


@pytest.mark.parametrize("length", [1, 20, CONTEXT - 1])
@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_a_chat_may_fill_the_context_to_its_last_token_and_no_further(
    name: str, length: int
) -> None:
    async def work(service: Service) -> None:
        room = CONTEXT - length
        fits = chat_request(words(length), **{name: room})
        assert await usage(service, fits) == (length, room)

        error = await refusal(service, chat_request(words(length), **{name: room + 1}))
        assert isinstance(error, ContextLengthExceeded)
        assert (error.code, error.param) == ("context_length_exceeded", "messages")
        for number in (CONTEXT, length, room + 1):
            assert str(number) in error.message

    on(talkative(), work)


def test_a_chat_without_a_limit_needs_room_for_one_token() -> None:
    async def work(service: Service) -> None:
        assert await usage(service, chat_request(words(CONTEXT - 1))) == (CONTEXT - 1, 1)
        for length in (CONTEXT, CONTEXT + 1, 10 * CONTEXT):
            error = await refusal(service, chat_request(words(length)))
            assert (error.status, error.code) == (400, "context_length_exceeded")

    on(talkative(), work)


def test_a_text_may_fill_the_context_to_its_last_token_and_no_further() -> None:
    async def work(service: Service) -> None:
        for asked, room in (({}, 16), ({"max_tokens": 1}, 1), ({"max_tokens": 30}, 30)):
            fields: dict[str, Any] = asked
            fits = CompletionRequest(prompt=words(CONTEXT - room), **fields)
            assert await usage(service, fits) == (CONTEXT - room, room)

            error = await refusal(
                service, CompletionRequest(prompt=words(CONTEXT - room + 1), **fields)
            )
            assert (error.code, error.status) == ("context_length_exceeded", 400)

    on(talkative(), work)


def test_one_prompt_that_is_too_long_refuses_all() -> None:
    async def work(service: Service) -> None:
        error = await refusal(service, CompletionRequest(prompt=["a", words(CONTEXT - 15), "b"]))

        assert isinstance(error, ContextLengthExceeded)
        assert error.param == "prompt"

    on(talkative(), work)


@pytest.mark.parametrize(
    ("prompt", "prompts", "tokens"),
    [
        ("one two", 1, 2),
        ("", 1, 1),
        (["one two"], 1, 2),
        (["one two", "three"], 2, 3),
        (["", "a"], 2, 2),
        ([1, 2, 3], 1, 3),
        ([0], 1, 1),
        ([[1, 2, 3]], 1, 3),
        ([[1, 2], [3], [4, 5, 6]], 3, 6),
    ],
)
def test_a_prompt_is_a_text_or_token_ids_or_several_of_either(
    prompt: Any, prompts: int, tokens: int
) -> None:
    async def work(service: Service) -> None:
        reader = await service.begin(CompletionRequest(prompt=prompt, max_tokens=2))
        answer = await read_answer(reader)

        assert [choice["index"] for choice in answer["choices"]] == [*range(prompts)]
        assert answer["usage"]["prompt_tokens"] == tokens

    on(talkative(), work)


@pytest.mark.parametrize(
    "prompt",
    [
        *([], [[]], [[1], []], [[], [1]]),
        *(["a", 1], [1, "a"], ["a", [1]], [1, [1]], [[1], 1], [[1], "a"], ["a", 1, [1]]),
        *(["a", []], [1, []]),
    ],
)
def test_an_empty_prompt_and_a_mixture_are_refused(prompt: Any) -> None:
    async def work(service: Service) -> None:
        error = await refusal(service, CompletionRequest(prompt=prompt))

        assert isinstance(error, InvalidRequest)
        assert (error.status, error.param) == (400, "prompt")

    on(talkative(), work)


def test_prompts_times_choices_are_bounded() -> None:
    async def work(service: Service) -> None:
        reader = await service.begin(CompletionRequest(prompt=["a"] * 64, n=2, max_tokens=1))
        assert service.registry.running == 128
        await reader.aclose()

        for prompts, n in ((65, 2), (129, None), (2, 128)):
            error = await refusal(service, CompletionRequest(prompt=["a"] * prompts, n=n))
            assert isinstance(error, InvalidRequest)
            assert "128" in error.message

    on(talkative(), work)


def test_the_model_may_be_named_or_left_out_but_not_be_another() -> None:
    async def work(service: Service) -> None:
        for model in (None, MODEL):
            assert await usage(service, chat_request(model=model, max_tokens=1)) == (2, 1)
            assert await usage(service, CompletionRequest(prompt="a", model=model)) == (1, 16)
        for request in (
            chat_request(model="other"),
            CompletionRequest(prompt="a", model="other"),
        ):
            assert isinstance(await refusal(service, request), ModelNotFound)

    on(talkative(), work)


def test_a_server_that_drains_takes_nothing_new_and_finishes_what_runs() -> None:
    async def work(service: Service) -> None:
        running = await service.begin(chat_request(max_tokens=5))
        service.draining = True

        for request in (chat_request(), CompletionRequest(prompt="a")):
            with pytest.raises(Draining):
                await usage(service, request)
        assert service.registry.running == 1
        assert (await read_answer(running))["usage"]["completion_tokens"] == 5

    on(talkative(), work)


def test_nothing_is_taken_before_the_model_is_loaded() -> None:
    service = Service(one_model(talkative))

    error = asyncio.run(refusal(service, chat_request()))

    assert isinstance(error, EngineUnavailable)
    assert error.status == 503


class BusyWithTwo(SimulatedEngine):
    """An engine that takes two prompts, and does something else first with a third."""

    def __init__(self, at_the_third: Callable[[], Awaitable[object]]) -> None:
        super().__init__()
        self._at_the_third = at_the_third

    async def submit(self, request_id: str, *args: Any, **options: Any) -> SimulatedStream:
        if self.running == 2:
            await self._at_the_third()
        return await super().submit(request_id, *args, **options)


def test_a_refusal_half_way_leaves_nothing_running() -> None:
    async def refuse() -> None:
        raise Overloaded("full")

    async def work(service: Service) -> None:
        error = await refusal(service, CompletionRequest(prompt=["a", "b", "c", "d"]))

        assert isinstance(error, Overloaded)

    on(BusyWithTwo(refuse), work)


def test_a_caller_who_gives_up_half_way_leaves_nothing_running() -> None:
    reached = asyncio.Event()

    async def hang() -> None:
        reached.set()
        await asyncio.Event().wait()

    async def work(service: Service) -> None:
        request = CompletionRequest(prompt=["a", "b", "c"])
        submission = asyncio.create_task(service.begin(request))
        await reached.wait()
        assert service.registry.running == 2
        submission.cancel()
        with pytest.raises(asyncio.CancelledError):
            await submission
        assert service.registry.running == 0

    on(BusyWithTwo(hang), work)


def test_an_answer_cannot_be_longer_than_it_may() -> None:
    async def work(service: Service) -> None:
        for request in (
            chat_request("a b", max_tokens=5, min_tokens=6),
            chat_request("a b", min_tokens=CONTEXT - 1),
            CompletionRequest(prompt="a b", max_tokens=5, min_tokens=6),
            CompletionRequest(prompt="a b", min_tokens=17),
        ):
            error = await refusal(service, request)
            assert (error.status, error.param) == (400, "min_tokens")
        assert await usage(service, chat_request("a b", max_tokens=5, min_tokens=5)) == (2, 5)

    on(talkative(), work)
