"""Proves that a failure, a deadline or a stop reaches all readers, and the engine, at once."""

import asyncio
import json
from typing import Any

import pytest
from prometheus_client import REGISTRY

from inferneo_core.errors import ApiError, Cancelled, DeadlineExceeded, ServerError
from inferneo_server.generation import Generation, Terms
from inferneo_server.sharing.copied import Copy
from inferneo_server.streams import Reader, Streams
from tests.server.services import (
    KEPT,
    MODEL,
    FedStream,
    begin,
    read_by,
    read_texts,
    run_quickly,
    settle,
    texts,
)

STOPPED = Cancelled("Somebody stopped it")


def until(seconds: float, *, resume_for: float = 0) -> Terms:
    """Terms with a deadline so far from now."""
    deadline = asyncio.get_running_loop().time() + seconds
    return Terms(deadline=deadline, resume_for=resume_for)


async def failure(reader: Reader) -> ApiError:
    """Read to the end, before which nothing is told, and which is bad."""
    assert await read_texts(reader) == []
    assert isinstance(reader.generation.error, ApiError)
    with pytest.raises(ApiError) as told:
        await reader.answer()
    assert told.value is reader.generation.error
    return told.value


@pytest.mark.parametrize(("number", "terms"), [(1, Terms()), (1, KEPT), (3, KEPT)])
def test_an_error_of_the_engine_reaches_all_readers_behind_what_was_written(
    number: int, terms: Terms
) -> None:
    async def work() -> None:
        stream = FedStream()
        async with read_by(number, stream, terms=terms) as readers:
            reading = [asyncio.create_task(read_texts(reader)) for reader in readers]
            await stream.asked.wait()
            stream.give("a", "b")
            stream.fail(ServerError("broken"))

            assert [await task for task in reading] == [["a", "b"]] * number
            for reader in readers:
                assert str(await failure(reader)) == "broken"

    run_quickly(work())


def test_a_reader_that_comes_after_the_failure_gets_what_was_written_and_the_error() -> None:
    async def work() -> None:
        stream, streams = FedStream(), Streams()
        first = await begin(streams, stream, terms=KEPT)
        stream.give("a")
        stream.fail(ServerError("broken"))
        await read_texts(first)
        late = streams.resume(first.generation.id, "", -1)

        assert await read_texts(late) == ["a"]
        assert str(await failure(late)) == "broken"
        await first.aclose()
        await late.aclose()
        await streams.aclose()

    run_quickly(work())


@pytest.mark.parametrize(("number", "resume_for"), [(1, 0), (1, 60), (3, 60)])
def test_a_deadline_interrupts_all_readers_and_closes_the_engines_stream(
    number: int, resume_for: float
) -> None:
    async def work() -> None:
        loop, stream = asyncio.get_running_loop(), FedStream()
        terms = until(5, resume_for=resume_for)
        async with read_by(number, stream, terms=terms) as readers:
            failures = await asyncio.gather(*[failure(reader) for reader in readers])

            assert {type(error) for error in failures} == {DeadlineExceeded}
            assert terms.deadline is not None
            assert terms.deadline <= loop.time() < terms.deadline + 1
            assert stream.closed

    run_quickly(work())


@pytest.mark.parametrize("resume_for", [0, 60])
def test_a_deadline_closes_the_engines_stream_while_nobody_waits_for_it(resume_for: float) -> None:
    async def work() -> None:
        stream = FedStream()
        async with read_by(1, stream, terms=until(5, resume_for=resume_for)) as (reader,):
            stream.give("a")
            assert texts(await reader.read()) == ["a"]
            await asyncio.sleep(4)
            assert not stream.closed
            await asyncio.sleep(2)

            assert stream.closed
            assert isinstance(await failure(reader), DeadlineExceeded)

    run_quickly(work())


def test_a_deadline_that_is_over_at_the_beginning_ends_it_at_once() -> None:
    async def work() -> None:
        stream = FedStream()
        async with read_by(1, stream, terms=until(-1)) as (reader,):
            assert isinstance(await failure(reader), DeadlineExceeded)

    run_quickly(work())


def test_a_deadline_after_the_end_changes_nothing() -> None:
    async def work() -> None:
        stream = FedStream()
        async with read_by(1, stream, terms=until(5, resume_for=60)) as (reader,):
            stream.give("a")
            stream.end()
            assert await read_texts(reader) == ["a"]
            await asyncio.sleep(10)

            assert reader.generation.error is None
            assert json.loads(await reader.answer())["choices"][0]["text"] == "a"

    run_quickly(work())


@pytest.mark.parametrize("number", [1, 3])
def test_a_stop_interrupts_all_readers_and_leaves_their_tasks_alone(number: int) -> None:
    async def work() -> None:
        stream = FedStream()
        async with read_by(number, stream) as readers:
            reading = [asyncio.create_task(failure(reader)) for reader in readers]
            await stream.asked.wait()
            await settle()
            await readers[-1].generation.stop(STOPPED)

            assert await asyncio.gather(*reading) == [STOPPED] * number
            assert [task.cancelling() for task in reading] == [0] * number
            assert stream.closed == 1

    run_quickly(work())


def test_a_stop_while_nobody_waits_closes_the_engines_stream() -> None:
    async def work() -> None:
        stream = FedStream()
        async with read_by(2, stream) as (first, second):
            stream.give("a")
            assert texts(await first.read()) == ["a"]
            await first.generation.stop(STOPPED)

            assert stream.closed == 1
            assert await failure(first) is STOPPED
            assert await read_texts(second) == ["a"]
            assert await failure(second) is STOPPED

    run_quickly(work())


def test_a_step_that_comes_with_the_stop_is_not_told_behind_it() -> None:
    async def work() -> None:
        stream = FedStream()
        async with read_by(2, stream) as (first, second):
            reading = asyncio.create_task(failure(first))
            await stream.asked.wait()
            stream.give("a")
            await first.generation.stop(STOPPED)

            assert await reading is STOPPED
            assert await failure(second) is STOPPED

    run_quickly(work())


@pytest.mark.parametrize("first", ["stop", "cancel"])
def test_a_reader_that_is_stopped_and_cut_at_once_is_cut_and_the_stream_is_closed(
    first: str,
) -> None:
    async def work() -> None:
        stream = FedStream()
        async with read_by(2, stream) as (reader, other):
            reading = asyncio.create_task(reader.read())
            await stream.asked.wait()
            if first == "cancel":
                reading.cancel()
            await reader.generation.stop(STOPPED)
            if first == "stop":
                reading.cancel()
            with pytest.raises(asyncio.CancelledError):
                await reading

            assert stream.closed == 1
            assert await failure(other) is STOPPED

    run_quickly(work())


def test_only_the_first_of_several_ends_counts() -> None:
    async def stop_twice(generation: Generation | Copy) -> None:
        assert isinstance(generation, Generation)
        await generation.stop(STOPPED)
        await generation.stop(Cancelled("Again"))
        await generation.close()

    async def work() -> None:
        stream = FedStream()
        async with read_by(1, stream) as (reader,):
            await stop_twice(reader.generation)
            assert await failure(reader) is STOPPED

        stream = FedStream()
        async with read_by(1, stream) as (reader,):
            stream.end()
            assert await read_texts(reader) == []
            await stop_twice(reader.generation)
            assert reader.generation.error is None

    run_quickly(work())


@pytest.mark.parametrize("end", ["well", "broken", "stopped", "left"])
def test_tokens_are_counted_once_however_it_ends_and_however_many_read(end: str) -> None:
    def counted() -> list[float]:
        names = ("inferneo_prompt_tokens_total", "inferneo_completion_tokens_total")
        return [REGISTRY.get_sample_value(name, {"model": MODEL}) or 0 for name in names]

    async def work() -> None:
        stream = FedStream()
        ends: dict[str, Any] = {"well": StopAsyncIteration(), "broken": ServerError("broken")}
        async with read_by(3, stream) as readers:
            stream.give("a", "b")
            for reader in readers:
                assert texts(await reader.read()) == ["a", "b"]
            if end in ends:
                stream.fail(ends[end])
                await asyncio.gather(*(reader.read() for reader in readers))
            elif end == "stopped":
                await readers[0].generation.stop(STOPPED)

    before = counted()
    run_quickly(work())

    assert [after - start for after, start in zip(counted(), before, strict=True)] == [3, 2]
