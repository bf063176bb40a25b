"""Proves that replicas agree on a generation in what can hardly be timed between servers."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest

from inferneo_core.completions import CompletionRequest
from inferneo_core.errors import (
    Cancelled,
    Conflict,
    EngineUnavailable,
    EventsDropped,
    InvalidRequest,
    Overloaded,
    StreamNotFound,
)
from inferneo_server.access.identity import Identity
from inferneo_server.generation import Generation, Terms
from inferneo_server.limits.redis import connect
from inferneo_server.sharing.copied import Copy
from inferneo_server.sharing.redis import SharedStreams
from inferneo_server.streams import Reader, Streams
from tests.server.services import BOUND_SECONDS, FedStream, begin, make, read_texts

KEPT = Terms(identity=Identity(owner="ann"), resume_for=60)


def replica(url: str, **options: Any) -> Streams:
    """The streams of a server, which says nothing of itself until it is started."""
    client = connect(url, decode_responses=False)
    bounds: dict[str, Any] = {"log_bytes": 2**20, "repeat_seconds": 60.0, **options}
    return Streams(**bounds, shared=SharedStreams(client, **bounds))


@asynccontextmanager
async def replicas(url: str, **options: Any) -> AsyncIterator[tuple[Streams, Streams]]:
    """Two of them, which live as long as the block lasts."""
    first, second = replica(url, **options), replica(url, **options)
    try:
        async with asyncio.timeout(BOUND_SECONDS):
            first.start()
            second.start()
            yield first, second
    finally:
        await first.aclose()
        await second.aclose()


def keyed(name: str) -> Terms:
    return Terms(identity=Identity(owner="ann"), resume_for=60, idempotency_key=name)


async def resume(streams: Streams, reader: Reader, after: int = -1) -> Reader:
    found = await streams.locate(reader.generation.id, "ann", after)
    return streams.go_on(found, after)


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(work)


def test_each_step_comes_over_as_it_is_made_and_the_end_behind_the_last(redis_url: str) -> None:
    async def work() -> None:
        async with replicas(redis_url) as (first, second):
            stream = FedStream()
            here = await begin(first, stream, terms=KEPT, include_usage=True)
            there = await resume(second, here)
            assert isinstance(there.generation, Copy)
            for text in ("a", "b"):
                stream.give(text)
                assert await there.read() == await here.read()
            stream.end()
            assert await there.read() == await here.read() != []
            assert there.generation.usage_event == here.generation.usage_event == 2
            assert await there.read() == await here.read() == []
            assert await there.answer() == await here.answer()
            assert there.generation.usage() == here.generation.usage()
            await there.aclose()
            await here.aclose()

    run(work())


def test_a_client_that_is_ahead_of_redis_is_waited_for_or_told_the_end(redis_url: str) -> None:
    async def work() -> None:
        # The first one never says that it lives.
        first, second = replica(redis_url), replica(redis_url)
        here = await begin(first, FedStream(), terms=KEPT)
        there = await resume(second, here, after=57)
        assert await there.read() == []
        assert isinstance(there.generation.error, EngineUnavailable)
        # The end has the number behind the last event that the client has seen.
        assert there.position == 58
        with pytest.raises(EngineUnavailable):
            await there.answer()
        for reader in (there, here):
            await reader.aclose()
        await first.aclose()
        await second.aclose()

        async with replicas(redis_url) as (first, second):
            stream = FedStream()
            here = await begin(first, stream, terms=KEPT)
            asking = asyncio.create_task(resume(second, here, after=1))
            for text in ("a", "b", "c"):
                stream.give(text)
                await here.read()
            there = await asking
            assert there.position == 2
            stream.end()
            assert await read_texts(there) == ["c"]
            with pytest.raises(InvalidRequest):
                await resume(second, here, after=9)
            await there.aclose()
            await here.aclose()

    run(work())


def test_who_is_too_far_behind_is_told_and_never_given_a_gap(redis_url: str) -> None:
    async def work() -> None:
        async with replicas(redis_url, log_bytes=1024) as (first, second):
            stream = FedStream()
            here = await begin(first, stream, terms=KEPT)
            there = await resume(second, here)
            for _ in range(200):
                stream.give("many words")
                await here.read()
            stream.end()
            with pytest.raises(EventsDropped):
                while await there.read():
                    pass
            log = there.generation.log
            assert log.first > 0 and log.bytes <= 1024
            with pytest.raises(EventsDropped):
                await resume(second, here, after=0)
            await there.aclose()
            await here.aclose()

    run(work())


@pytest.mark.parametrize("late", [False, True], ids=["at once", "once it had begun"])
def test_a_repeat_elsewhere_begins_anew_where_the_first_failed(redis_url: str, late: bool) -> None:
    async def work() -> None:
        async with replicas(redis_url) as (first, second):
            terms, request = keyed(f"failing {late}"), CompletionRequest(prompt="a")
            may_fail, begun = asyncio.Event(), asyncio.Event()

            async def failing() -> Generation:
                begun.set()
                if late:
                    return await make(first, FedStream(), terms=terms)
                await may_fail.wait()
                raise Overloaded("full")

            async def sound() -> Generation:
                return await make(second, FedStream(), terms=terms)

            asked = asyncio.create_task(first.begin(request, terms, failing))
            await begun.wait()
            if late:
                reader = await asked
                await reader.generation.stop(Overloaded("full"))
                found = await resume(second, reader)
                assert await found.read() == []
                await found.aclose()
            again = asyncio.create_task(second.begin(request, terms, sound))
            may_fail.set()
            anew = await again
            assert isinstance(anew.generation, Generation) and not anew.joined
            if late:
                await reader.aclose()
            else:
                with pytest.raises(Overloaded):
                    await asked
            # From here on it is the second one's.
            joined = await first.begin(request, terms, failing)
            assert joined.joined and joined.generation.id == anew.generation.id
            with pytest.raises(Conflict):
                await first.begin(CompletionRequest(prompt="b"), terms, failing)
            await joined.aclose()
            await anew.aclose()

    run(work())


def test_what_is_begun_elsewhere_is_waited_for_and_can_be_cancelled(redis_url: str) -> None:
    async def work() -> None:
        async with replicas(redis_url) as (first, second):
            terms, request = keyed("slow"), CompletionRequest(prompt="a")
            begun, may_begin = asyncio.Event(), asyncio.Event()

            async def slow() -> Generation:
                begun.set()
                await may_begin.wait()
                return await make(first, FedStream(), terms=terms)

            async def never() -> Generation:
                raise AssertionError("begun twice")

            asked = asyncio.create_task(first.begin(request, terms, slow))
            await begun.wait()
            repeat = asyncio.create_task(second.begin(request, terms, never))
            ending = asyncio.create_task(second.cancel_begun("slow", "ann"))
            may_begin.set()
            here, there = await asked, await repeat
            assert there.joined and await ending == here.generation.id
            for reader in (here, there):
                await reader.read()  # the opening, or nothing any more
                while await reader.read():
                    pass
                assert isinstance(reader.generation.error, Cancelled)
                await reader.aclose()
            with pytest.raises(StreamNotFound):
                await second.cancel_begun("unknown", "ann")

    run(work())
