"""Proves that several prompts are read as one stream, and that all of them end with it."""

import asyncio
import gc
from collections.abc import Coroutine
from typing import Any

import pytest

from inferneo_core.errors import ServerError
from inferneo_server.engines.base import Delta
from inferneo_server.engines.joined import JoinedStream
from tests.server.services import BOUND_SECONDS, ScriptedStream, delta


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
