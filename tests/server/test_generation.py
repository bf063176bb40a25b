"""Proves that events and whole answers tell the same, fail the same, and can be ended."""

import asyncio
from typing import Any

import pytest
from prometheus_client import REGISTRY

from inferneo_core import ChatCompletionRequest, CompletionRequest, Message
from inferneo_core.errors import EngineUnavailable, ServerError
from inferneo_core.sampling import SamplingFields, StreamOptions
from inferneo_server.answers.base import AnswerForm
from inferneo_server.answers.chat import ChatForm
from inferneo_server.answers.text import TextForm
from inferneo_server.engines.simulated import SimulatedEngine
from inferneo_server.generation import Generation, Terms
from inferneo_server.service import Service
from inferneo_server.streams import Reader, Streams
from tests.server.services import (
    MODEL,
    ScriptedStream,
    delta,
    read_answer,
    read_events,
    read_steps,
    ready_service,
)

PROMPTS = ["one", "two words", "and three words"]
WITH_USAGE = StreamOptions(include_usage=True)
FORMS = [ChatForm, TextForm]


async def chat(service: Service, **fields: Any) -> Reader:
    messages = [Message(role="user", content="Tell me a story")]
    return await service.begin(ChatCompletionRequest(messages=messages, **fields))


async def complete(service: Service, **fields: Any) -> Reader:
    return await service.begin(CompletionRequest(**{"prompt": PROMPTS, **fields}))


async def over(form: AnswerForm, *steps: Any, streamed: bool = True) -> Reader:
    """A reader of a generation that takes these steps."""
    generation = Generation(
        form, ScriptedStream(*steps), choices=1, prompt_tokens=3, streamed=streamed
    )

    async def make() -> Generation:
        return generation

    return await Streams().begin(SamplingFields(), Terms(), make)


def on(engine: SimulatedEngine, work: Any) -> None:
    """Do some work with a service over an engine, which then works on nothing any more."""

    async def bounded() -> None:
        async with ready_service(engine) as service:
            await work(service)
            assert engine.running == 0

    asyncio.run(bounded())


def without_times(answer: Any) -> Any:
    return {name: value for name, value in answer.items() if name not in ("id", "created")}


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"n": 1, "seed": 3},
        {"n": 3, "max_tokens": 7},
        {"n": 2, "max_tokens": 50, "ignore_eos": True},
        {"max_completion_tokens": 1},
    ],
)
def test_the_events_of_a_chat_tell_what_its_answer_tells(fields: dict[str, Any]) -> None:
    async def work(service: Service) -> None:
        answer = await read_answer(await chat(service, **fields))
        streamed = await chat(service, **fields, stream=True, stream_options=WITH_USAGE)
        *events, last = await read_events(streamed)

        assert last["choices"] == []
        assert last["usage"] == answer["usage"]
        assert all("usage" not in event for event in events)
        for choice in answer["choices"]:
            parts = [
                part
                for event in events
                for part in event["choices"]
                if part["index"] == choice["index"]
            ]
            deltas = [part["delta"] for part in parts]
            assert deltas[0] == {"role": "assistant", "content": ""}
            assert all(each.keys() == {"content"} and each["content"] for each in deltas[1:-1])
            assert deltas[-1] == {}
            text = "".join(each["content"] for each in deltas[:-1])
            assert text == choice["message"]["content"] != ""
            reasons = [part["finish_reason"] for part in parts]
            assert reasons == [None] * (len(parts) - 1) + [choice["finish_reason"]]
        assert [choice["index"] for choice in answer["choices"]] == [*range(fields.get("n", 1))]

    on(SimulatedEngine(max_model_len=100, words=9), work)


@pytest.mark.parametrize(
    "fields", [{}, {"n": 2}, {"prompt": "alone"}, {"prompt": [[1, 2], [3]], "n": 3, "seed": 5}]
)
def test_the_events_of_texts_tell_what_their_answer_tells(fields: dict[str, Any]) -> None:
    async def work(service: Service) -> None:
        answer = await read_answer(await complete(service, **fields))
        streamed = await complete(service, **fields, stream=True, stream_options=WITH_USAGE)
        *events, last = await read_events(streamed)

        assert without_times(last) == without_times(answer) | {"choices": []}
        assert all("usage" not in event for event in events)
        for choice in answer["choices"]:
            parts = [
                part
                for event in events
                for part in event["choices"]
                if part["index"] == choice["index"]
            ]
            assert "".join(part["text"] for part in parts) == choice["text"] != ""
            reasons = [part["finish_reason"] for part in parts]
            assert reasons == [None] * (len(parts) - 1) + [choice["finish_reason"]]
            assert all(part["logprobs"] is None for part in parts)

    on(SimulatedEngine(max_model_len=100, words=9), work)


@pytest.mark.parametrize("stream", [False, True])
def test_each_prompt_of_several_gets_its_own_choices_in_order(stream: bool) -> None:
    async def texts(service: Service, **fields: Any) -> dict[int, str]:
        reader = await complete(service, n=2, stream=stream, **fields)
        if stream:
            parts = [event["choices"][0] for event in await read_events(reader)]
        else:
            parts = (await read_answer(reader))["choices"]
        indices = sorted({part["index"] for part in parts})
        return {
            index: "".join(part["text"] for part in parts if part["index"] == index)
            for index in indices
        }

    async def work(service: Service) -> None:
        together = await texts(service)
        alone = [await texts(service, prompt=prompt) for prompt in PROMPTS]

        assert together == {
            2 * number + index: text
            for number, choices in enumerate(alone)
            for index, text in choices.items()
        }
        assert len(together) == 6

    on(SimulatedEngine(), work)


def test_all_chunks_of_an_answer_carry_its_name_and_answers_have_different_ones() -> None:
    async def work(service: Service) -> None:
        readers = [
            await chat(service, n=2, stream=True, stream_options=WITH_USAGE),
            await chat(service, n=2, stream=True, stream_options=WITH_USAGE),
            await complete(service, stream=True, stream_options=WITH_USAGE),
        ]
        names = [reader.generation.id for reader in readers]
        for reader in readers:
            events = await read_events(reader)
            assert {event["id"] for event in events} == {reader.generation.id}
            assert {event["model"] for event in events} == {MODEL}
            assert len({event["created"] for event in events}) == 1
            assert len({event["object"] for event in events}) == 1

        assert len(set(names)) == 3
        assert [name.partition("-")[0] for name in names] == ["chatcmpl", "chatcmpl", "cmpl"]

    on(SimulatedEngine(), work)


def test_usage_counts_each_prompt_once_and_the_tokens_of_all_choices() -> None:
    async def work(service: Service) -> None:
        reader = await complete(service, n=2, max_tokens=5, ignore_eos=True)

        assert (await read_answer(reader))["usage"] == {
            "prompt_tokens": 6,
            "completion_tokens": 30,
            "total_tokens": 36,
            "prompt_tokens_details": {"cached_tokens": 0},
        }

    on(SimulatedEngine(), work)


@pytest.mark.parametrize("options", [None, StreamOptions(), StreamOptions(include_usage=False)])
def test_events_tell_no_usage_where_nobody_asked(options: StreamOptions | None) -> None:
    async def work(service: Service) -> None:
        for reader in (
            await chat(service, stream=True, stream_options=options),
            await complete(service, stream=True, stream_options=options),
        ):
            events = await read_events(reader)
            assert all(event["choices"] and "usage" not in event for event in events)

    on(SimulatedEngine(), work)


@pytest.mark.parametrize(("max_tokens", "reason"), [(4, "length"), (5, "length"), (6, "stop")])
def test_an_answer_that_was_cut_says_so(max_tokens: int, reason: str) -> None:
    async def work(service: Service) -> None:
        for reader in (
            await chat(service, max_tokens=max_tokens),
            await complete(service, max_tokens=max_tokens),
        ):
            answer = await read_answer(reader)
            assert {choice["finish_reason"] for choice in answer["choices"]} == {reason}

    on(SimulatedEngine(words=5), work)


def test_the_events_of_one_engine_step_come_together() -> None:
    async def work(service: Service) -> None:
        opening, first, *_ = await read_steps(await chat(service, n=3, stream=True))

        for step in (opening, first):
            assert [event["choices"][0]["index"] for event in step] == [0, 1, 2]

    on(SimulatedEngine(), work)


@pytest.mark.parametrize("form", FORMS)
def test_deltas_without_text_make_no_chunk_but_their_tokens_count(form: type[Any]) -> None:
    steps = [[delta("")], [delta("a"), delta("")], [delta("")], [delta("b")], [delta("")]]

    async def choices(*steps: Any) -> tuple[list[Any], int]:
        reader = await over(form(MODEL), *steps)
        told = [event["choices"] for event in await read_events(reader)]
        assert isinstance(reader.generation, Generation)
        return told, reader.generation.completion_tokens

    plain, _ = asyncio.run(choices([delta("a")], [delta("b")]))
    assert asyncio.run(choices(*steps)) == (plain, 6)


@pytest.mark.parametrize("form", FORMS)
def test_the_reason_of_an_end_is_told_even_without_text(form: type[Any]) -> None:
    async def read() -> list[Any]:
        return await read_events(await over(form(MODEL), [delta("a")], [delta("", reason="stop")]))

    reasons = [event["choices"][0]["finish_reason"] for event in asyncio.run(read())]
    assert reasons[-2:] == [None, "stop"]


async def fail(form: AnswerForm, read: Any, *steps: Any) -> None:
    await read(await over(form, *steps, streamed=read is read_events))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("read", [read_answer, read_events])
def test_a_reason_that_is_none_of_the_contracts_is_a_failure(form: type[Any], read: Any) -> None:
    with pytest.raises(ServerError, match="abort"):
        asyncio.run(fail(form(MODEL), read, [delta("a")], [delta("", reason="abort")]))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("read", [read_answer, read_events])
def test_an_error_of_the_engine_reaches_the_reader(form: type[Any], read: Any) -> None:
    with pytest.raises(ServerError, match="broken"):
        asyncio.run(fail(form(MODEL), read, [delta("a")], ServerError("broken")))


@pytest.mark.parametrize("begin", [chat, complete])
def test_an_engine_that_dies_in_mid_answer_fails_the_events(begin: Any) -> None:
    engine = SimulatedEngine(words=5, token_seconds=60)

    async def work(service: Service) -> None:
        reader = await begin(service, stream=True)
        assert await reader.read()
        engine.fail("out of memory")
        with pytest.raises(EngineUnavailable):
            await read_events(reader)

    on(engine, work)


@pytest.mark.parametrize("begin", [chat, complete])
def test_an_engine_that_dies_in_mid_answer_fails_the_answer(begin: Any) -> None:
    engine = SimulatedEngine(first_token_seconds=60)

    async def work(service: Service) -> None:
        reader = await begin(service)
        reading = asyncio.create_task(read_answer(reader))
        await asyncio.sleep(0)
        engine.fail("out of memory")
        with pytest.raises(EngineUnavailable):
            await reading

    on(engine, work)


@pytest.mark.parametrize(("begin", "choices"), [(chat, 2), (complete, 6)])
@pytest.mark.parametrize("steps", [0, 1, 3])
def test_closing_aborts_what_the_engine_still_does(begin: Any, choices: int, steps: int) -> None:
    engine = SimulatedEngine()

    async def work(service: Service) -> None:
        reader = await begin(service, n=2, stream=True)
        for _ in range(steps):
            await reader.read()
        assert engine.running == choices
        assert service.busy
        await reader.aclose()
        await reader.aclose()
        assert engine.running == 0
        assert not service.busy

    on(engine, work)


def test_tokens_are_counted_once_however_often_it_is_closed() -> None:
    def counted() -> list[float]:
        names = ("inferneo_prompt_tokens_total", "inferneo_completion_tokens_total")
        return [REGISTRY.get_sample_value(name, {"model": MODEL}) or 0 for name in names]

    async def read() -> None:
        reader = await over(TextForm(MODEL), [delta("a"), delta("b")])
        await read_events(reader)
        await reader.aclose()

    before = counted()
    asyncio.run(read())

    assert [after - start for after, start in zip(counted(), before, strict=True)] == [3, 2]
