"""Proves that what is kept stays within its bound, and that nothing is lost or left on the way."""

import asyncio
import random
from typing import Any

import pytest

from inferneo_core.errors import (
    ApiError,
    Cancelled,
    ServerError,
    StreamNotFound,
)
from inferneo_server.answers.chat import ChatForm
from inferneo_server.generation import Terms
from inferneo_server.streams import Streams
from tests.server.services import (
    FedStream,
    begin,
    leave,
    read_texts,
    run_quickly,
    settle,
    texts,
)

TERMS = Terms(resume_for=30, idempotency_key="a")
EVENT_BYTES = 200  # a little more than an event has
TOTAL_BYTES = 100 * EVENT_BYTES


async def left(streams: Streams, *, words: int, finished: bool = True) -> tuple[FedStream, str]:
    """A generation that its reader has left when there were so many words, and its id."""
    stream = FedStream()
    reader = await begin(streams, stream, terms=Terms(resume_for=30))
    stream.give(*["word"] * words)
    await reader.read()
    if finished:
        stream.end()
        await reader.read()
    await reader.aclose()
    await settle()
    return stream, reader.generation.id


def found(streams: Streams, *names: str) -> list[bool]:
    """Which of the generations are still there."""
    there = []
    for name in names:
        try:
            streams.find(name, "")
        except StreamNotFound:
            there.append(False)
        else:
            there.append(True)
    return there


@pytest.mark.parametrize("finished", [True, False], ids=["finished", "running"])
def test_of_what_nobody_reads_the_oldest_go_when_there_is_too_much(finished: bool) -> None:
    async def work() -> None:
        streams = Streams(total_bytes=TOTAL_BYTES)
        made = [await left(streams, words=45, finished=finished) for _ in range(2)]
        names = [name for _, name in made]
        assert found(streams, *names) == [True, True]
        made.append(await left(streams, words=45, finished=finished))
        await settle()
        names.append(made[-1][1])

        assert found(streams, *names) == [False, True, True]
        assert [bool(stream.closed) for stream, _ in made] == [True, finished, finished]
        await streams.aclose()

    run_quickly(work())


def test_who_came_back_and_left_again_is_the_youngest() -> None:
    async def work() -> None:
        streams = Streams(total_bytes=TOTAL_BYTES)
        names = [(await left(streams, words=45))[1] for _ in range(2)]
        await streams.resume(names[0], "", -1).aclose()
        names.append((await left(streams, words=45))[1])

        assert found(streams, *names) == [True, False, True]
        await streams.aclose()

    run_quickly(work())


def test_what_somebody_reads_never_goes_and_makes_no_other_go() -> None:
    async def work() -> None:
        streams = Streams(total_bytes=TOTAL_BYTES)
        names = [(await left(streams, words=45))[1] for _ in range(2)]
        reader = streams.resume(names[0], "", -1)
        more = [(await left(streams, words=45))[1] for _ in range(2)]

        assert found(streams, *names, *more) == [True, False, True, True]
        assert await read_texts(reader) == ["word"] * 45
        await reader.aclose()  # the youngest now
        assert found(streams, *names, *more) == [True, False, False, True]
        await streams.aclose()

    run_quickly(work())


@pytest.mark.parametrize("finished", [True, False], ids=["finished", "running"])
def test_what_alone_is_too_much_goes_at_once(finished: bool) -> None:
    async def work() -> None:
        streams = Streams(total_bytes=TOTAL_BYTES)
        stream, name = await left(streams, words=200, finished=finished)

        assert found(streams, name) == [False]
        assert stream.closed
        assert asyncio.all_tasks() == {asyncio.current_task()}

    run_quickly(work())


def test_what_grows_without_a_reader_is_counted_and_makes_the_oldest_go() -> None:
    async def work() -> None:
        streams = Streams(total_bytes=TOTAL_BYTES)
        _, finished = await left(streams, words=10)
        old, older = await left(streams, words=1, finished=False)
        new, newer = await left(streams, words=1, finished=False)
        seen = []
        for _ in range(30):
            for stream in (old, new):
                if not stream.closed:
                    stream.give("more", "more")
            await settle()
            seen.append(found(streams, finished, older, newer))

        assert seen[0] == [True, True, True]
        assert seen[-1] == [False, False, True]
        assert [False, True, True] in seen
        assert (bool(old.closed), bool(new.closed)) == (True, False)
        await streams.aclose()

    run_quickly(work())


def test_what_grows_without_a_reader_beyond_all_room_is_stopped() -> None:
    async def work() -> None:
        streams = Streams(total_bytes=TOTAL_BYTES)
        stream, name = await left(streams, words=1, finished=False)
        generation = streams.find(name, "")
        for _ in range(100):
            if not stream.closed:
                stream.give("more", "more")
                await settle()

        assert stream.closed
        assert isinstance(generation.error, Cancelled)
        assert found(streams, name) == [False]
        assert asyncio.all_tasks() == {asyncio.current_task()}

    run_quickly(work())


def test_what_outgrows_the_room_by_its_end_ends_well_and_is_forgotten() -> None:
    options: dict[str, Any] = {"form": ChatForm, "terms": TERMS, "include_usage": True}

    async def work() -> None:
        measured = await begin(Streams(), FedStream(), **options)
        streams = Streams(total_bytes=measured.generation.log.bytes)
        stream = FedStream()
        reader = await begin(streams, stream, **options)
        await reader.aclose()
        assert found(streams, reader.generation.id) == [True]
        stream.end()
        await settle()

        assert found(streams, reader.generation.id) == [False]
        assert reader.generation.ended and reader.generation.error is None
        assert stream.closed
        assert asyncio.all_tasks() == {asyncio.current_task()}

    run_quickly(work())


def test_a_repeat_of_what_had_to_go_begins_anew() -> None:
    async def work() -> None:
        streams = Streams(total_bytes=TOTAL_BYTES)
        stream = FedStream()
        reader = await begin(streams, stream, terms=TERMS)
        stream.give(*["word"] * 60)
        await reader.read()
        await reader.aclose()
        await left(streams, words=60)
        assert found(streams, reader.generation.id) == [False]
        again = await begin(streams, FedStream(), terms=TERMS)

        assert not again.joined
        await leave(streams, again)

    run_quickly(work())


async def write(stream: FedStream, chance: random.Random) -> None:
    """Be an engine that writes 0, 1, 2, ... in steps, and ends one way or the other."""
    written = 0
    for _ in range(chance.randrange(60)):
        await asyncio.sleep(chance.choice([0, 0.01, 0.5]))
        step = chance.randrange(4)
        stream.give(*[str(number) for number in range(written, written + step)])
        written += step
    stream.fail(chance.choice([StopAsyncIteration(), StopAsyncIteration(), ServerError("broken")]))


async def visit(streams: Streams, stream: FedStream, chance: random.Random) -> str:
    """Be a client whose connection is cut again and again, and say how it ended for it."""
    key = chance.choice([None, f"{id(stream)}"])
    terms = Terms(resume_for=chance.choice([0, 5, 30]), idempotency_key=key)
    reader = await begin(streams, stream, terms=terms)
    told: list[str] = []
    end = ""
    while not end:
        try:
            async with asyncio.timeout(chance.choice([0, 0.1, 3, 30])):
                while events := await reader.read():
                    told += texts(events)
                    await asyncio.sleep(chance.choice([0, 0, 0.3, 3]))
            end = "failed" if reader.generation.error else "whole"
        except TimeoutError:
            await reader.aclose()
            await asyncio.sleep(chance.choice([0, 0, 1, 4.9, 5.1]))
            try:
                reader = streams.resume(reader.generation.id, "", len(told) - 1)
            except ApiError as error:
                end = error.code
    await reader.aclose()
    assert told == [str(number) for number in range(len(told))]
    assert end not in ("whole", "failed") or len(told) == reader.generation.log.count
    return end


@pytest.mark.parametrize("seed", range(10))
def test_whatever_befalls_its_connections_a_client_misses_nothing_unsaid(seed: int) -> None:
    chance = random.Random(seed)

    async def work() -> None:
        streams = Streams(log_bytes=16 * EVENT_BYTES, total_bytes=TOTAL_BYTES)
        made = [FedStream() for _ in range(40)]
        writing = [asyncio.create_task(write(stream, chance)) for stream in made]
        ends = await asyncio.gather(*(visit(streams, stream, chance) for stream in made))
        await asyncio.gather(*writing)
        await streams.aclose()

        # How many of each there are is up to the machine's speed as well.
        assert {"whole"} <= set(ends) <= {"whole", "failed", "stream_not_found", "stream_truncated"}
        assert all(stream.closed for stream in made)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    run_quickly(work())
