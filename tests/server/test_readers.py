"""Proves that all readers of a generation see the same, whoever of them waits for the engine."""

import asyncio
import json
import random
from typing import Any

import pytest

from inferneo_core.errors import EventsDropped
from inferneo_server.answers.chat import ChatForm
from inferneo_server.answers.text import TextForm
from inferneo_server.generation import EVENTS_AT_ONCE, Terms
from inferneo_server.streams import Reader
from tests.server.services import (
    KEPT,
    FedStream,
    delta,
    read_by,
    read_texts,
    run_quickly,
    settle,
    texts,
)

FORMS = [ChatForm, TextForm]


def test_readers_at_different_speeds_see_the_same_events() -> None:
    async def work() -> None:
        stream = FedStream()
        async with read_by(3, stream) as readers:
            eager, lazy, late = readers
            seen: dict[Reader, list[str]] = {reader: [] for reader in readers}
            for number in range(9):
                stream.give(f"{number}a", f"{number}b")
                seen[eager] += texts(await eager.read())
                if number % 3 == 1:
                    seen[lazy] += texts(await lazy.read())
            stream.end()
            assert late.position == 0
            for reader in readers:
                seen[reader] += await read_texts(reader)

            written = [f"{number}{part}" for number in range(9) for part in "ab"]
            assert [seen[reader] for reader in readers] == [written] * 3
            assert {reader.position for reader in readers} == {18}

    run_quickly(work())


async def pause(chance: random.Random) -> None:
    for _ in range(chance.randrange(4)):
        await asyncio.sleep(0)


async def read_leisurely(reader: Reader, chance: random.Random) -> list[str]:
    told: list[str] = []
    while events := await reader.read():
        told += texts(events)
        await pause(chance)
    return told


async def read_in_fits(reader: Reader, chance: random.Random) -> list[str]:
    """Read on and on, each time for as long as chance will have it."""
    told: list[str] = []
    while True:
        reading = asyncio.create_task(reader.read())
        await pause(chance)
        reading.cancel()
        try:
            events = await reading
        except asyncio.CancelledError:
            continue
        if not events:
            return told
        told += texts(events)


@pytest.mark.parametrize("seed", range(25))
def test_in_whatever_order_readers_get_their_turn_none_misses_an_event(seed: int) -> None:
    chance = random.Random(seed)

    async def work() -> None:
        stream = FedStream()
        async with read_by(5, stream) as readers:
            reading = [
                asyncio.create_task(
                    read_leisurely(reader, chance) if number < 3 else read_in_fits(reader, chance)
                )
                for number, reader in enumerate(readers)
            ]
            written: list[str] = []
            for number in range(30):
                step = [f"{number}.{part}" for part in range(chance.randrange(3))]
                stream.give(*step)
                written += step
                await pause(chance)
            stream.end()

            assert await asyncio.gather(*reading) == [written] * 5

    run_quickly(work())


def test_one_reader_waits_for_the_engine_and_the_others_for_that_one() -> None:
    async def work() -> None:
        stream = FedStream()
        async with read_by(4, stream) as readers:
            reading = [asyncio.create_task(reader.read()) for reader in readers]
            await stream.asked.wait()
            await settle()
            assert not any(task.done() for task in reading)

            stream.give("a")  # the stream itself asserts that no other asks as well
            assert [texts(await task) for task in reading] == [["a"]] * 4

    run_quickly(work())


@pytest.mark.parametrize("at_once", [False, True], ids=["before the step", "with the step"])
def test_when_the_reader_that_waits_for_the_engine_is_cut_another_takes_over(at_once: bool) -> None:
    async def work() -> None:
        stream = FedStream()
        async with read_by(3, stream) as readers:
            first, *others = [asyncio.create_task(reader.read()) for reader in readers]
            await stream.asked.wait()
            await settle()
            if at_once:
                stream.give("a")
            first.cancel()
            with pytest.raises(asyncio.CancelledError):
                await first
            if not at_once:
                await stream.asked.wait()
                stream.give("a")

            assert [texts(await task) for task in others] == [["a"], ["a"]]
            assert texts(await readers[0].read()) == ["a"]
            assert not readers[0].generation.ended

    run_quickly(work())


def test_a_cut_reader_that_waited_for_another_disturbs_nobody() -> None:
    async def work() -> None:
        stream = FedStream()
        async with read_by(3, stream) as readers:
            first, second, third = [asyncio.create_task(reader.read()) for reader in readers]
            await settle()
            second.cancel()
            await settle()
            stream.give("a")

            assert [texts(await task) for task in (first, third)] == [["a"], ["a"]]
            assert second.cancelled()

    run_quickly(work())


def test_a_reader_too_far_behind_is_told_so_and_the_others_go_on() -> None:
    async def work() -> None:
        stream = FedStream()
        async with read_by(3, stream, log_bytes=1024) as (quick, slow, whole):
            for number in range(40):
                stream.give(str(number))
                assert texts(await quick.read()) == [str(number)]
            for _ in range(2):
                with pytest.raises(EventsDropped, match="Event 0 is no longer kept"):
                    await slow.read()
            stream.end()

            assert await quick.read() == []
            answer = json.loads(await whole.answer())
            assert answer["choices"][0]["text"] == "".join(map(str, range(40)))

    run_quickly(work())


@pytest.mark.parametrize("terms", [Terms(), KEPT], ids=["plain", "kept"])
def test_of_a_large_step_a_reader_takes_piece_by_piece_and_misses_nothing(terms: Terms) -> None:
    async def work() -> None:
        stream = FedStream()
        written = [str(number) for number in range(3 * EVENTS_AT_ONCE + 1)]
        async with read_by(1, stream, terms=terms, log_bytes=10**6) as (reader,):
            stream.give(*written)
            stream.end()
            pieces = [texts(await reader.read()) for _ in range(5)]

            assert [len(piece) for piece in pieces] == [*[EVENTS_AT_ONCE] * 3, 1, 0]
            assert [text for piece in pieces for text in piece] == written

    run_quickly(work())


def test_a_reader_that_keeps_up_needs_no_log() -> None:
    async def work() -> None:
        stream = FedStream()
        async with read_by(1, stream, terms=Terms()) as (reader,):
            for number in range(100):
                stream.give(str(number))
                assert texts(await reader.read()) == [str(number)]

            assert (reader.generation.log.first, reader.generation.log.count) == (99, 100)

    run_quickly(work())


async def read_all(reader: Reader) -> list[Any]:
    told: list[Any] = []
    while events := await reader.read():
        told += [json.loads(event) for event in events]
    return told


def content(part: Any) -> str:
    """The text of a choice, or of what a chunk adds to it."""
    holder = part if "text" in part else part.get("delta", part.get("message"))
    return str(holder.get("text", holder.get("content", "")))


def told_by(events: list[Any]) -> list[tuple[str, str]]:
    """The text and the finish reason of each of two choices."""
    told = [("", ""), ("", "")]
    for part in (part for event in events for part in event["choices"]):
        text, reason = told[part["index"]]
        told[part["index"]] = (text + content(part), reason + (part["finish_reason"] or ""))
    return told


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("streamed", [True, False], ids=["streamed", "whole"])
def test_the_whole_answer_of_a_kept_generation_tells_what_its_events_tell(
    form: type[Any], streamed: bool
) -> None:
    options: dict[str, Any] = {"choices": 2, "streamed": streamed, "include_usage": streamed}

    async def work() -> None:
        stream = FedStream()
        async with read_by(2, stream, form=form, **options) as (first, second):
            reading = asyncio.create_task(first.answer())
            for deltas in (
                [delta("a"), delta("b", index=1)],
                [delta("c", index=1), delta("")],
                [delta("d", index=1, reason="length")],
                [delta("", reason="stop")],
            ):
                stream.give_deltas(*deltas)
            stream.end()
            answer, events = json.loads(await reading), await read_all(second)

            assert json.loads(await second.answer()) == answer
            assert told_by(events) == told_by([answer]) == [("a", "stop"), ("bcd", "length")]
            assert answer["usage"]["completion_tokens"] == 6
            assert [event["usage"] for event in events if "usage" in event] == (
                [answer["usage"]] if streamed else []
            )

    run_quickly(work())


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("include_usage", [True, False])
def test_the_event_of_the_usage_is_the_last_and_is_told_by_its_number(
    form: type[Any], include_usage: bool
) -> None:
    async def work() -> None:
        stream = FedStream()
        async with read_by(1, stream, form=form, include_usage=include_usage) as (reader,):
            stream.give("a")
            stream.give("b")
            stream.end()
            events = await read_all(reader)
            empty = [number for number, event in enumerate(events) if not event["choices"]]

            assert empty == ([len(events) - 1] if include_usage else [])
            assert reader.generation.usage_event == (empty[0] if include_usage else None)

    run_quickly(work())


def test_a_whole_answer_that_nobody_may_read_again_is_not_logged() -> None:
    async def work() -> None:
        stream = FedStream()
        options: dict[str, Any] = {"form": ChatForm, "streamed": False}
        async with read_by(1, stream, terms=Terms(), **options) as (reader,):
            stream.give("a")
            stream.end()

            assert content(json.loads(await reader.answer())["choices"][0]) == "a"
            assert reader.generation.log.count == 0

    run_quickly(work())
