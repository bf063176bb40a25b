"""Proves that a repeated request joins its generation, or begins anew where that went wrong."""

import asyncio
from typing import Any

import pytest

from inferneo_core.completions import CompletionRequest
from inferneo_core.errors import (
    Conflict,
    Overloaded,
    ServerError,
)
from inferneo_server.access.identity import Identity
from inferneo_server.generation import Generation, Terms
from inferneo_server.streams import Reader, Streams
from tests.server.services import (
    KEPT,
    FedStream,
    leave,
    make,
    read_texts,
    run_quickly,
    settle,
    texts,
)

AGAIN = Terms(identity=Identity(owner="ann"), resume_for=60, idempotency_key="again")
REQUEST = CompletionRequest(prompt="a")


class Engine:
    """Makes generations as requests ask for them, each when it may, and counts.

    Args:
        refusals: what the first, the second ... meets instead.

    Attributes:
        stillborn: how many of the next ones fail before anybody can read them.
    """

    stillborn = 0

    def __init__(self, *refusals: Exception) -> None:
        self.made: list[FedStream] = []
        self.asked = 0
        self.free = asyncio.Event()
        self._refusals = list(refusals)

    async def begin(
        self, streams: Streams, terms: Terms = AGAIN, request: CompletionRequest = REQUEST
    ) -> Reader:
        async def made() -> Generation:
            self.asked += 1
            refusal = self._refusals.pop(0) if self._refusals else None
            await self.free.wait()
            if refusal:
                raise refusal
            self.made.append(FedStream())
            generation = await make(streams, self.made[-1], terms=terms)
            if self.stillborn:
                self.stillborn -= 1
                await generation.stop(ServerError("at once"))
            return generation

        return await streams.begin(request, terms, made)


@pytest.mark.parametrize("finished", [False, True], ids=["running", "finished"])
def test_a_repeat_joins_the_generation_and_gets_all_of_it(finished: bool) -> None:
    async def work() -> None:
        engine, streams = Engine(), Streams()
        engine.free.set()
        first = await engine.begin(streams)
        (stream,) = engine.made
        stream.give("a", "b")
        assert texts(await first.read()) == ["a", "b"]
        if finished:
            stream.end()
            assert await first.read() == []
            await first.aclose()
        second = await engine.begin(streams)
        if not finished:
            stream.end()

        assert (first.joined, second.joined) == (False, True)
        assert await read_texts(second) == ["a", "b"]
        assert second.generation is first.generation
        assert engine.asked == 1
        await leave(streams, first, second)

    run_quickly(work())


def test_repeats_that_come_before_the_first_has_begun_wait_for_it() -> None:
    async def work() -> None:
        engine, streams = Engine(), Streams()
        calls = [asyncio.create_task(engine.begin(streams)) for _ in range(4)]
        await settle()
        assert not any(call.done() for call in calls)
        engine.free.set()
        readers = await asyncio.gather(*calls)

        assert engine.asked == 1
        assert [reader.joined for reader in readers] == [False, True, True, True]
        assert len({reader.generation.id for reader in readers}) == 1
        engine.made[0].give("a")
        engine.made[0].end()
        assert [await read_texts(reader) for reader in readers] == [["a"]] * 4
        await leave(streams, *readers)

    run_quickly(work())


def test_when_the_first_is_refused_the_next_tries_for_itself_and_the_others_join_that() -> None:
    async def work() -> None:
        engine, streams = Engine(Overloaded("full")), Streams()
        calls = [asyncio.create_task(engine.begin(streams)) for _ in range(4)]
        await settle()
        engine.free.set()
        refused, *readers = await asyncio.gather(*calls, return_exceptions=True)

        assert isinstance(refused, Overloaded)
        assert engine.asked == 2
        assert all(isinstance(reader, Reader) for reader in readers)
        assert len({reader.generation.id for reader in readers if isinstance(reader, Reader)}) == 1
        await leave(streams, *(reader for reader in readers if isinstance(reader, Reader)))

    run_quickly(work())


def test_when_each_try_is_refused_each_is_told_and_nothing_is_remembered() -> None:
    async def work() -> None:
        engine, streams = Engine(*(Overloaded(str(number)) for number in range(4))), Streams()
        engine.free.set()
        calls = [asyncio.create_task(engine.begin(streams)) for _ in range(4)]
        told = await asyncio.gather(*calls, return_exceptions=True)

        assert [str(error) for error in told] == ["0", "1", "2", "3"]
        other = CompletionRequest(prompt="quite another")
        reader = await engine.begin(streams, request=other)
        assert not reader.joined
        await leave(streams, reader)

    run_quickly(work())


def test_when_the_first_is_cut_before_it_has_begun_the_next_begins_for_itself() -> None:
    async def work() -> None:
        engine, streams = Engine(), Streams()
        first, second = [asyncio.create_task(engine.begin(streams)) for _ in range(2)]
        await settle()
        first.cancel()
        await settle()
        engine.free.set()
        reader = await second

        assert first.cancelled()
        assert (engine.asked, reader.joined) == (2, False)
        await leave(streams, reader)

    run_quickly(work())


def test_a_repeat_that_is_cut_while_it_waits_disturbs_nobody() -> None:
    async def work() -> None:
        engine, streams = Engine(), Streams()
        first, second = [asyncio.create_task(engine.begin(streams)) for _ in range(2)]
        await settle()
        second.cancel()
        await settle()
        engine.free.set()

        assert second.cancelled()
        assert (await first).generation.readers == 1
        await leave(streams, await first)

    run_quickly(work())


@pytest.mark.parametrize("begun", [False, True])
def test_the_key_of_another_request_is_a_conflict(begun: bool) -> None:
    async def work() -> None:
        engine, streams = Engine(), Streams()
        first = asyncio.create_task(engine.begin(streams))
        await settle()
        if begun:
            engine.free.set()
            await first
        for fields in ({"prompt": "b"}, {"prompt": "a", "stream": True}, {"prompt": "a", "n": 2}):
            other: dict[str, Any] = fields
            with pytest.raises(Conflict, match="'again'") as told:
                await engine.begin(streams, request=CompletionRequest(**other))
            assert (told.value.status, told.value.code) == (409, "idempotency_conflict")
        engine.free.set()

        assert engine.asked == 1
        await leave(streams, await first)

    run_quickly(work())


def test_the_same_key_of_another_owner_is_another_key() -> None:
    async def work() -> None:
        engine, streams = Engine(), Streams()
        engine.free.set()
        ann = await engine.begin(streams)
        bob = await engine.begin(
            streams,
            Terms(identity=Identity(owner="bob"), idempotency_key="again"),
            CompletionRequest(prompt="b"),
        )

        assert not bob.joined
        assert ann.generation is not bob.generation
        await leave(streams, ann, bob)

    run_quickly(work())


def test_without_a_key_each_request_begins_a_generation() -> None:
    async def work() -> None:
        engine, streams = Engine(), Streams()
        engine.free.set()
        readers = [await engine.begin(streams, terms) for terms in (KEPT, KEPT, Terms(), Terms())]

        assert len({reader.generation.id for reader in readers}) == engine.asked == 4
        await leave(streams, *readers)

    run_quickly(work())


@pytest.mark.parametrize("end", ["failed", "cancelled", "left"])
@pytest.mark.parametrize("repeats", [1, 3])
def test_a_repeat_of_what_did_not_end_well_begins_anew(end: str, repeats: int) -> None:
    terms = (
        Terms(identity=Identity(owner="ann"), idempotency_key="again") if end == "left" else AGAIN
    )

    async def work() -> None:
        engine, streams = Engine(), Streams()
        engine.free.set()
        first = await engine.begin(streams, terms)
        if end == "failed":
            engine.made[0].fail(ServerError("broken"))
            assert await first.read() == []
        elif end == "cancelled":
            await streams.cancel(first.generation.id, "ann")
        await first.aclose()
        assert first.generation.error is not None
        engine.free.clear()
        calls = [asyncio.create_task(engine.begin(streams, terms)) for _ in range(repeats)]
        await settle()
        engine.free.set()
        readers = await asyncio.gather(*calls)

        assert engine.asked == 2
        assert [reader.joined for reader in readers] == [False, True, True][:repeats]
        engine.made[1].give("b")
        engine.made[1].end()
        assert [await read_texts(reader) for reader in readers] == [["b"]] * repeats
        await leave(streams, *readers)

    run_quickly(work())


def test_repeats_that_waited_for_one_that_failed_at_once_begin_one_anew() -> None:
    async def work() -> None:
        engine, streams = Engine(), Streams()
        engine.stillborn = 1
        calls = [asyncio.create_task(engine.begin(streams)) for _ in range(4)]
        await settle()
        engine.free.set()
        failed, *readers = await asyncio.gather(*calls)

        assert engine.asked == 2
        assert isinstance(failed.generation.error, ServerError)
        assert [reader.joined for reader in readers] == [False, True, True]
        await leave(streams, failed, *readers)

    run_quickly(work())
