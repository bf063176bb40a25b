"""Proves that several prompts are read as one stream, and that all of them end with it."""

import asyncio
import gc
import random
from collections.abc import Coroutine, Iterator
from typing import Any

import pytest

from inferneo_core.errors import Overloaded, ServerError
from inferneo_server.engines.base import Delta, DeltaStream
from inferneo_server.engines.joined import JoinedStream, submit_all
from tests.server.services import BOUND_SECONDS, FedStream, ScriptedStream, delta, settle


def run(work: Coroutine[Any, Any, None]) -> None:
    """Run to the end; neither a task nor an error may be left behind unseen."""
    unseen: list[Any] = []

    async def bounded() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: unseen.append(context))
        async with asyncio.timeout(BOUND_SECONDS):
            await work
        assert asyncio.all_tasks() == {asyncio.current_task()}
        gc.collect()

    asyncio.run(bounded())
    assert unseen == []


async def read(stream: JoinedStream) -> list[Delta]:
    return [one async for deltas in stream for one in deltas]


def test_choices_are_counted_over_all_prompts_and_keep_their_order() -> None:
    async def work() -> None:
        parts = [
            ScriptedStream([delta("a", index=0), delta("b", index=1)], [delta("c", index=0)]),
            ScriptedStream([delta("d", index=1)], [delta("e", index=1, reason="stop")]),
            ScriptedStream([delta("f", index=0)]),
        ]
        joined = JoinedStream(parts, 2)
        deltas = await read(joined)
        texts = {
            index: "".join(one.text for one in deltas if one.index == index) for index in range(6)
        }
        await joined.aclose()

        assert texts == {0: "ac", 1: "b", 2: "", 3: "de", 4: "f", 5: ""}
        assert [one.finish_reason for one in deltas if one.text == "e"] == ["stop"]
        assert sum(len(one.token_ids) for one in deltas) == 6

    run(work())


def test_a_prompt_that_waits_holds_up_no_other() -> None:
    async def work() -> None:
        gate = asyncio.Event()
        slow = ScriptedStream([delta("slow")], gate=gate)
        joined = JoinedStream([slow, ScriptedStream([delta("1")], [delta("2")])], 1)

        first, second = await anext(joined), await anext(joined)
        gate.set()
        rest = await read(joined)
        await joined.aclose()

        assert [[one.text for one in step] for step in (first, second)] == [["1"], ["2"]]
        assert [(one.index, one.text) for one in rest] == [(0, "slow")]

    run(work())


def test_it_ends_with_its_last_prompt_and_stays_ended() -> None:
    async def work() -> None:
        joined = JoinedStream([ScriptedStream([delta("a")]), ScriptedStream()], 1)

        assert len(await read(joined)) == 1
        assert await read(joined) == []
        await joined.aclose()

    run(work())


def test_tokens_from_the_cache_are_added_up() -> None:
    parts = [ScriptedStream(cached_tokens=3), ScriptedStream(cached_tokens=4)]

    assert JoinedStream(parts, 1).cached_tokens == 7


def test_the_failure_of_one_prompt_is_raised_and_all_are_closed() -> None:
    async def work() -> None:
        parts = [
            ScriptedStream([delta("a")], gate=asyncio.Event()),
            ScriptedStream([delta("b")], ServerError("broken")),
            ScriptedStream(*[[delta("c")]] * 5),
        ]
        joined = JoinedStream(parts, 1)
        with pytest.raises(ServerError, match="broken"):
            await read(joined)
        await joined.aclose()

        assert [part.closed for part in parts] == [1, 1, 1]

    run(work())


def test_of_several_failures_at_once_none_is_left_unseen() -> None:
    async def work() -> None:
        parts = [ScriptedStream(ServerError(f"broken {number}")) for number in range(3)]
        joined = JoinedStream(parts, 1)
        with pytest.raises(ServerError, match=r"broken \d"):
            await read(joined)
        await joined.aclose()

        assert [part.closed for part in parts] == [1, 1, 1]

    run(work())


def test_closing_before_the_first_step_closes_all() -> None:
    async def work() -> None:
        parts = [ScriptedStream([delta("a")]), ScriptedStream([delta("b")])]
        await JoinedStream(parts, 1).aclose()

        assert [part.closed for part in parts] == [1, 1]

    run(work())


def test_closing_ends_the_prompts_that_are_still_waited_for() -> None:
    async def work() -> None:
        parts = [
            ScriptedStream([delta("a")], [delta("b")]),
            ScriptedStream([delta("c")], gate=asyncio.Event()),
        ]
        joined = JoinedStream(parts, 1)
        await anext(joined)
        await joined.aclose()

        assert [part.closed for part in parts] == [1, 1]

    run(work())


def test_closing_after_the_reader_was_cancelled_leaves_nothing_running() -> None:
    async def work() -> None:
        parts = [ScriptedStream([delta("a")], gate=asyncio.Event()) for _ in range(2)]
        joined = JoinedStream(parts, 1)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await read(joined)
        await joined.aclose()

        assert [part.closed for part in parts] == [1, 1]

    run(work())


def test_a_prompt_that_fails_to_close_keeps_no_other_open_and_is_told() -> None:
    async def work() -> None:
        parts = [
            ScriptedStream([delta("a")], close_error=ServerError("will not close")),
            ScriptedStream([delta("b")]),
        ]
        joined = JoinedStream(parts, 1)
        await anext(joined)
        with pytest.raises(ServerError, match="will not close"):
            await joined.aclose()

        assert [part.closed for part in parts] == [1, 1]

    run(work())


async def pause(chance: random.Random) -> None:
    for _ in range(chance.randrange(8)):
        await asyncio.sleep(0)


async def read_in_fits(stream: JoinedStream, chance: random.Random) -> list[tuple[int, str]]:
    """Wait for each step again and again, each time for as long as chance will have it."""
    found: list[tuple[int, str]] = []
    while True:
        reading = asyncio.ensure_future(anext(stream))
        await pause(chance)
        reading.cancel()
        try:
            found += [(one.index, one.text) for one in await reading]
        except asyncio.CancelledError:
            continue
        except StopAsyncIteration:
            return found


@pytest.mark.parametrize("seed", range(10))
def test_a_reader_that_is_cut_while_it_waits_loses_nothing(seed: int) -> None:
    chance = random.Random(seed)

    async def feed(parts: list[FedStream]) -> None:
        for step in range(5):
            for number, part in enumerate(parts):
                part.give(f"{number}{step}a", f"{number}{step}b")
                await pause(chance)
        for part in parts:
            part.end()

    async def work() -> None:
        parts = [FedStream() for _ in range(3)]
        joined = JoinedStream(parts, 1)
        feeding = asyncio.create_task(feed(parts))
        found = await read_in_fits(joined, chance)
        await feeding
        await joined.aclose()

        for number in range(3):
            assert [text for index, text in found if index == number] == [
                f"{number}{step}{part}" for step in range(5) for part in "ab"
            ]

    run(work())


def test_a_step_that_comes_with_the_cut_is_given_to_the_next_reader() -> None:
    async def work() -> None:
        part = FedStream()
        joined = JoinedStream([part, FedStream()], 1)
        reading = asyncio.ensure_future(anext(joined))
        await settle()
        part.give("a")
        await asyncio.sleep(0)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading

        assert [one.text for one in await anext(joined)] == ["a"]
        await joined.aclose()

    run(work())


class Submissions:
    """Submits streams, so many without delay; one of them may be refused."""

    def __init__(self, *streams: FedStream | Exception, room: int = 10) -> None:
        self.begun = 0
        self._room = asyncio.Semaphore(room)
        self._streams = streams

    def __iter__(self) -> Iterator[Coroutine[Any, Any, DeltaStream]]:
        return (self._submit(stream) for stream in self._streams)

    async def _submit(self, stream: FedStream | Exception) -> DeltaStream:
        self.begun += 1
        await self._room.acquire()
        if isinstance(stream, Exception):
            raise stream
        return stream


def test_one_submission_is_its_own_stream_and_several_are_joined() -> None:
    async def work() -> None:
        alone = FedStream()
        assert await submit_all(Submissions(alone), 3) is alone

        first, second = FedStream(), FedStream()
        joined = await submit_all(Submissions(first, second), 2)
        second.give("a")
        assert [(one.index, one.text) for one in await anext(joined)] == [(2, "a")]
        await joined.aclose()
        assert (first.closed, second.closed) == (1, 1)

    run(work())


def test_a_refusal_half_way_closes_what_was_submitted_and_submits_no_more() -> None:
    async def work() -> None:
        before, after = [FedStream(), FedStream()], FedStream()
        submissions = Submissions(*before, Overloaded("full"), after)
        with pytest.raises(Overloaded, match="full"):
            await submit_all(submissions, 1)

        assert [stream.closed for stream in before] == [1, 1]
        assert (submissions.begun, after.closed) == (3, 0)

    run(work())


def test_a_caller_who_gives_up_half_way_leaves_nothing_submitted() -> None:
    async def work() -> None:
        streams = [FedStream() for _ in range(3)]
        submissions = Submissions(*streams, room=2)
        submitting = asyncio.create_task(submit_all(submissions, 1))
        await settle()
        assert submissions.begun == 3
        submitting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await submitting

        assert [stream.closed for stream in streams] == [1, 1, 0]

    run(work())
