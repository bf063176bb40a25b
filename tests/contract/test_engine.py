"""What every engine keeps to: the promises of `inferneo_server.engines.base`."""

import asyncio
import contextlib
import random
from collections import defaultdict
from collections.abc import Coroutine
from typing import Any

import pytest

from inferneo_core.chat import ChatCompletionRequest, Message
from inferneo_core.errors import ContextLengthExceeded, InvalidRequest
from inferneo_core.sampling import SamplingFields
from inferneo_server.engines.base import Delta, DeltaStream, Engine, Prompt

STEP_SECONDS = 60.0
GREEDY = SamplingFields(temperature=0, ignore_eos=True)


async def submit(
    engine: Engine,
    sampling: SamplingFields = GREEDY,
    *,
    max_tokens: int = 8,
    streamed: bool = True,
    text: str = "Inferneo is",
) -> DeltaStream:
    prompt = await engine.render_text(text)
    return await engine.submit("test", prompt, sampling, max_tokens=max_tokens, streamed=streamed)


async def steps(stream: DeltaStream) -> list[list[Delta]]:
    async with asyncio.timeout(STEP_SECONDS):
        return [list(deltas) async for deltas in stream]


async def texts(stream: DeltaStream) -> dict[int, str]:
    joined: dict[int, str] = defaultdict(str)
    for deltas in await steps(stream):
        for delta in deltas:
            joined[delta.index] += delta.text
    return dict(joined)


def run(runner: asyncio.Runner, work: Coroutine[Any, Any, Any]) -> Any:
    return runner.run(asyncio.wait_for(work, STEP_SECONDS))


def test_a_streamed_answer_joins_to_the_whole_one(engine: Engine, runner: asyncio.Runner) -> None:
    streamed = run(runner, _texts_of(engine, streamed=True))
    whole = run(runner, _texts_of(engine, streamed=False))
    assert streamed == whole
    assert streamed[0]


async def _texts_of(engine: Engine, *, streamed: bool) -> dict[int, str]:
    return await texts(await submit(engine, streamed=streamed))


def test_what_is_not_streamed_comes_as_one_step(engine: Engine, runner: asyncio.Runner) -> None:
    async def count() -> int:
        return len(await steps(await submit(engine, streamed=False)))

    assert run(runner, count()) == 1


@pytest.mark.parametrize("max_tokens", [1, 5])
def test_an_answer_that_may_not_end_has_just_max_tokens(
    engine: Engine, runner: asyncio.Runner, max_tokens: int
) -> None:
    found = run(runner, _steps_of(engine, max_tokens=max_tokens))
    assert sum(len(delta.token_ids) for deltas in found for delta in deltas) == max_tokens
    assert found[-1][-1].finish_reason == "length"


async def _steps_of(engine: Engine, **options: Any) -> list[list[Delta]]:
    return await steps(await submit(engine, **options))


def test_only_the_last_delta_of_a_choice_has_a_finish_reason(
    engine: Engine, runner: asyncio.Runner
) -> None:
    sampling = SamplingFields(n=3, seed=7, temperature=1, ignore_eos=True)
    found = run(runner, _steps_of(engine, sampling=sampling))
    reasons: dict[int, list[str | None]] = defaultdict(list)
    for delta in (delta for deltas in found for delta in deltas):
        reasons[delta.index].append(delta.finish_reason)
    assert sorted(reasons) == [0, 1, 2]
    for each in reasons.values():
        assert each[-1] == "length"
        assert set(each[:-1]) <= {None}


def test_greedy_choices_are_equal(engine: Engine, runner: asyncio.Runner) -> None:
    sampling = SamplingFields(n=2, temperature=0, ignore_eos=True)

    async def both() -> dict[int, str]:
        return await texts(await submit(engine, sampling))

    found = run(runner, both())
    assert sorted(found) == [0, 1]


def test_a_seed_gives_the_same_answer_again(engine: Engine, runner: asyncio.Runner) -> None:
    sampling = SamplingFields(seed=11, temperature=1, ignore_eos=True)

    async def once() -> dict[int, str]:
        return await texts(await submit(engine, sampling, max_tokens=12))

    assert run(runner, once()) == run(runner, once())


@pytest.mark.parametrize("choices", [1, 3])
@pytest.mark.parametrize("streamed", [True, False])
def test_closing_a_stream_frees_the_engine(
    engine: Engine, runner: asyncio.Runner, choices: int, streamed: bool
) -> None:
    sampling = SamplingFields(n=choices, temperature=1, ignore_eos=True)

    async def close() -> tuple[int, int]:
        stream = await submit(engine, sampling, max_tokens=900, streamed=streamed)
        if streamed:
            await anext(aiter(stream))
        before = engine.running
        await stream.aclose()
        await stream.aclose()
        return before, engine.running

    assert run(runner, close()) == (choices, 0)


@pytest.mark.parametrize("turns", range(8))
def test_a_submission_that_is_given_up_leaves_nothing_running(
    engine: Engine, runner: asyncio.Runner, turns: int
) -> None:
    sampling = SamplingFields(n=4, temperature=0, ignore_eos=True)

    async def give_up() -> int:
        submission = asyncio.create_task(submit(engine, sampling, max_tokens=900))
        for _ in range(turns):
            await asyncio.sleep(0)
        submission.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await (await submission).aclose()
        return engine.running

    assert run(runner, give_up()) == 0


async def steps_in_fits(stream: DeltaStream, chance: random.Random) -> list[list[Delta]]:
    """Wait for each step again and again, each time for as long as chance will have it."""
    found: list[list[Delta]] = []
    while True:
        reading = asyncio.ensure_future(anext(stream))
        await asyncio.wait([reading], timeout=chance.choice([0, 0, 0.001, 0.02]))
        reading.cancel()
        try:
            found.append(list(await reading))
        except asyncio.CancelledError:
            continue
        except StopAsyncIteration:
            return found


def told(found: list[list[Delta]]) -> dict[int, tuple[str, list[int], list[str]]]:
    """The text, the tokens and the finish reasons of each choice."""
    choices: dict[int, tuple[str, list[int], list[str]]] = {}
    for delta in (delta for deltas in found for delta in deltas):
        text, token_ids, reasons = choices.get(delta.index, ("", [], []))
        reasons = [*reasons, delta.finish_reason] if delta.finish_reason else reasons
        choices[delta.index] = (text + delta.text, [*token_ids, *delta.token_ids], reasons)
    return choices


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("choices", [1, 3])
@pytest.mark.parametrize("streamed", [True, False], ids=["streamed", "whole"])
def test_a_reader_that_is_cut_while_it_waits_loses_nothing(
    engine: Engine, runner: asyncio.Runner, streamed: bool, choices: int, seed: int
) -> None:
    sampling = SamplingFields(n=choices, temperature=0, ignore_eos=True)
    options: dict[str, Any] = {"max_tokens": 24, "streamed": streamed}

    async def both() -> None:
        uncut = told(await steps(await submit(engine, sampling, **options)))
        stream = await submit(engine, sampling, **options)
        assert told(await steps_in_fits(stream, random.Random(seed))) == uncut
        assert len(uncut) == choices
        await stream.aclose()

    run(runner, both())


def test_a_closed_stream_is_at_its_end(engine: Engine, runner: asyncio.Runner) -> None:
    async def read_after_close() -> list[list[Delta]]:
        stream = await submit(engine, max_tokens=900)
        await stream.aclose()
        return await steps(stream)

    assert run(runner, read_after_close()) == []


def test_many_streams_run_side_by_side(engine: Engine, runner: asyncio.Runner) -> None:
    async def many() -> list[dict[int, str]]:
        streams = [await submit(engine, text=f"Number {number}") for number in range(16)]
        assert engine.running == 16
        return await asyncio.gather(*(texts(stream) for stream in streams))

    assert len(run(runner, many())) == 16
    assert engine.running == 0


def test_a_longer_conversation_has_a_longer_prompt(engine: Engine, runner: asyncio.Runner) -> None:
    short = [Message(role="user", content="Hello")]
    longer = [*short, Message(role="assistant", content="Hi"), Message(role="user", content="Bye")]

    async def lengths() -> list[int]:
        prompts = [
            await engine.render_chat(ChatCompletionRequest(messages=each))
            for each in (short, longer)
        ]
        return [len(prompt.token_ids) for prompt in prompts]

    first, second = run(runner, lengths())
    assert 0 < first < second


def test_token_ids_reach_the_model_as_they_are(engine: Engine, runner: asyncio.Runner) -> None:
    prompt: Prompt = run(runner, engine.render_text([5, 6, 7]))
    assert list(prompt.token_ids) == [5, 6, 7]


@pytest.mark.parametrize("prompt", [[10_000_000], []])
def test_token_ids_that_the_model_does_not_have_are_refused(
    engine: Engine, runner: asyncio.Runner, prompt: list[int]
) -> None:
    with pytest.raises(InvalidRequest) as refused:
        run(runner, engine.render_text(prompt))
    assert refused.value.param == "prompt"


@pytest.mark.parametrize("words", [3_000, 60_000], ids=["short of a thread", "in a thread"])
def test_a_prompt_that_fills_the_context_is_refused(
    engine: Engine, runner: asyncio.Runner, words: int
) -> None:
    text = "word " * words

    async def render_both() -> None:
        with pytest.raises(ContextLengthExceeded):
            prompt = await engine.render_text(text)
            _check(prompt, engine)
        with pytest.raises(ContextLengthExceeded):
            prompt = await engine.render_chat(
                ChatCompletionRequest(messages=[Message(role="user", content=text)])
            )
            _check(prompt, engine)

    run(runner, render_both())


def _check(prompt: Prompt, engine: Engine) -> None:
    """As the service does: an engine may leave it to its caller to count."""
    if len(prompt.token_ids) >= engine.max_model_len:
        raise ContextLengthExceeded("counted")
