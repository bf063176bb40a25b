"""Proves how long a generation outlives its last reader, and what becomes of it meanwhile."""

import asyncio

import pytest

from inferneo_core.errors import Cancelled, StreamNotFound
from inferneo_server.generation import Terms
from inferneo_server.streams import DRAIN_GRACE_SECONDS, Reader, Streams
from tests.server.services import (
    FedStream,
    begin,
    leave,
    read_texts,
    run_quickly,
    settle,
    texts,
)

HALF_A_MINUTE = Terms(resume_for=30)
REPEATED = Terms(idempotency_key="again")


def there(streams: Streams, reader: Reader) -> bool:
    """Whether who comes back would find the reader's generation."""
    try:
        streams.find(reader.generation.id, reader.generation.terms.owner)
    except StreamNotFound:
        return False
    return True


@pytest.mark.parametrize("terms", [Terms(), REPEATED], ids=["plain", "with a key only"])
def test_work_ends_with_its_last_reader_unless_it_was_to_wait(terms: Terms) -> None:
    async def work() -> None:
        stream, streams = FedStream(), Streams()
        reader = await begin(streams, stream, terms=terms)
        stream.give("a")
        await reader.read()
        assert stream.closed == 0
        await reader.aclose()

        assert stream.closed == 1
        assert isinstance(reader.generation.error, Cancelled)
        assert not there(streams, reader)
        assert not streams.awaited

    run_quickly(work())


def test_work_ends_when_its_reader_is_cut_while_it_waits() -> None:
    async def work() -> None:
        stream, streams = FedStream(), Streams()
        reader = await begin(streams, stream)
        reading = asyncio.create_task(reader.read())
        await stream.asked.wait()
        reading.cancel()
        await settle()
        assert stream.closed == 0
        await reader.aclose()

        assert stream.closed == 1

    run_quickly(work())


def test_a_reader_that_leaves_twice_counts_once() -> None:
    async def work() -> None:
        stream, streams = FedStream(), Streams()
        first = await begin(streams, stream, terms=REPEATED)
        second = await begin(streams, FedStream(), terms=REPEATED)
        assert second.joined
        await first.aclose()
        await first.aclose()
        assert not stream.closed
        await second.aclose()

        assert stream.closed

    run_quickly(work())


def test_what_is_to_wait_goes_on_without_a_reader_and_is_whole_for_who_comes_back() -> None:
    async def work() -> None:
        stream, streams = FedStream(), Streams()
        reader = await begin(streams, stream, terms=HALF_A_MINUTE)
        stream.give("a")
        assert texts(await reader.read()) == ["a"]
        await reader.aclose()
        for text in "bcd":
            await stream.asked.wait()
            stream.give(text)
        stream.end()
        await settle()

        assert reader.generation.ended
        again = streams.resume(reader.generation.id, "", 0)
        assert await read_texts(again) == ["b", "c", "d"]
        assert again.generation.error is None
        await leave(streams, again)

    run_quickly(work())


@pytest.mark.parametrize("at_once", [False, True], ids=["before the step", "with the step"])
def test_who_comes_back_while_it_runs_reads_on_itself_and_misses_nothing(at_once: bool) -> None:
    async def work() -> None:
        stream, streams = FedStream(), Streams()
        reader = await begin(streams, stream, terms=HALF_A_MINUTE)
        await reader.aclose()
        await stream.asked.wait()
        if at_once:
            stream.give("a")
        again = streams.resume(reader.generation.id, "", -1)
        reading = asyncio.create_task(again.read())
        if not at_once:
            await settle()
            assert asyncio.all_tasks() - {asyncio.current_task()} == {reading}  # no keeper
            stream.give("a")

        assert texts(await reading) == ["a"]
        stream.give("b")
        stream.end()
        assert await read_texts(again) == ["b"]
        await leave(streams, again)

    run_quickly(work())


@pytest.mark.parametrize("finished", [False, True], ids=["running", "finished"])
def test_its_time_runs_from_when_its_last_reader_left(finished: bool) -> None:
    async def work() -> None:
        stream, streams = FedStream(), Streams()
        reader = await begin(streams, stream, terms=HALF_A_MINUTE)
        if finished:
            stream.end()
            await reader.read()
        await asyncio.sleep(100)
        await reader.aclose()
        for _ in range(3):
            await asyncio.sleep(29)
            assert there(streams, reader)
            again = streams.resume(reader.generation.id, "", -1)
            await asyncio.sleep(100)
            await again.aclose()
        assert finished == bool(stream.closed)
        await asyncio.sleep(29)
        assert there(streams, reader)
        await asyncio.sleep(2)

        assert not there(streams, reader)
        assert stream.closed
        assert isinstance(reader.generation.error, Cancelled) == (not finished)

    run_quickly(work())


def test_its_time_is_not_made_longer_by_its_end() -> None:
    async def work() -> None:
        stream, streams = FedStream(), Streams()
        reader = await begin(streams, stream, terms=HALF_A_MINUTE)
        await reader.aclose()
        await asyncio.sleep(20)
        stream.end()
        await asyncio.sleep(9)
        assert there(streams, reader)
        await asyncio.sleep(2)

        assert not there(streams, reader)

    run_quickly(work())


@pytest.mark.parametrize(
    ("resume_for", "repeat_seconds", "kept"), [(0, 40, 40), (30, 40, 40), (60, 40, 60)]
)
def test_a_finished_answer_waits_for_repeats_or_readers_whichever_is_longer(
    resume_for: float, repeat_seconds: float, kept: float
) -> None:
    terms = Terms(resume_for=resume_for, idempotency_key="again")

    async def work() -> None:
        stream, streams = FedStream(), Streams(repeat_seconds=repeat_seconds)
        reader = await begin(streams, stream, terms=terms)
        stream.end()
        await reader.read()
        await reader.aclose()
        await asyncio.sleep(kept - 1)
        assert there(streams, reader)
        await asyncio.sleep(2)
        again = await begin(streams, FedStream(), terms=terms)

        assert not there(streams, reader)
        assert not again.joined
        await leave(streams, again)

    run_quickly(work())


def test_who_comes_back_while_its_time_is_over_finds_nothing_and_stops_nothing() -> None:
    class SlowToClose(FedStream):
        async def aclose(self) -> None:
            await asyncio.sleep(5)
            await super().aclose()

    async def work() -> None:
        stream, streams = SlowToClose(), Streams()
        reader = await begin(streams, stream, terms=HALF_A_MINUTE)
        await reader.aclose()
        await asyncio.sleep(32)
        assert not stream.closed
        assert not there(streams, reader)
        await asyncio.sleep(5)

        assert stream.closed

    run_quickly(work())


@pytest.mark.parametrize("state", ["waiting", "just left", "finished", "just finished", "failed"])
def test_closing_ends_all_that_nobody_reads_and_leaves_no_task(state: str) -> None:
    async def work() -> None:
        made, streams = [FedStream() for _ in range(3)], Streams()
        for stream in made:
            reader = await begin(streams, stream, terms=HALF_A_MINUTE)
            if "finished" in state:
                stream.end()
                await reader.read()
            if state == "failed":
                stream.fail(RuntimeError("broken"))
                await reader.read()
            await reader.aclose()
            if not state.startswith("just"):
                await settle()
        await streams.aclose()

        assert asyncio.all_tasks() == {asyncio.current_task()}
        assert all(stream.closed for stream in made)
        assert not streams.awaited

    run_quickly(work())


def test_closing_waits_for_what_is_being_ended() -> None:
    async def work() -> None:
        stream, streams = FedStream(), Streams()
        reader = await begin(streams, stream, terms=HALF_A_MINUTE)
        await reader.aclose()
        await stream.asked.wait()
        await streams.cancel(reader.generation.id, "")
        await streams.aclose()

        assert asyncio.all_tasks() == {asyncio.current_task()}
        assert stream.closed

    run_quickly(work())


def test_an_engine_that_will_not_close_one_keeps_no_other_open() -> None:
    class Stuck(FedStream):
        async def aclose(self) -> None:
            raise RuntimeError("will not close")

    async def work() -> None:
        made, streams = [Stuck(), FedStream()], Streams()
        for stream in made:
            await (await begin(streams, stream, terms=HALF_A_MINUTE)).aclose()
        await streams.aclose()

        assert asyncio.all_tasks() == {asyncio.current_task()}
        assert made[1].closed

    run_quickly(work())


@pytest.mark.parametrize("finished", [False, True], ids=["running", "finished"])
def test_a_reader_is_awaited_and_for_a_while_one_that_was_cut_off(finished: bool) -> None:
    async def work() -> None:
        stream, streams = FedStream(), Streams()
        assert not streams.awaited
        reader = await begin(streams, stream, terms=HALF_A_MINUTE)
        if finished:
            stream.end()
            await reader.read()
        await asyncio.sleep(100)
        assert streams.awaited
        await reader.aclose()
        assert streams.awaited
        await asyncio.sleep(DRAIN_GRACE_SECONDS - 0.5)
        assert streams.awaited
        await asyncio.sleep(1)

        assert not streams.awaited
        again = streams.resume(reader.generation.id, "", -1)
        assert streams.awaited
        await leave(streams, again)

    run_quickly(work())


def test_nobody_is_awaited_who_cannot_come_back() -> None:
    async def work() -> None:
        stream, streams = FedStream(), Streams()
        reader = await begin(streams, stream)
        assert not streams.awaited
        await reader.aclose()

    run_quickly(work())
