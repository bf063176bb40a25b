"""How a wait for a library ends: by what comes, by time, by another task, by cancellation."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import anyio
import pytest
import trio

from inferneo_client import ConnectionFailed, TimedOut
from inferneo_client.transports.waiting import new_wait

RUNS: dict[str, Callable[..., Any]] = {
    "asyncio": lambda work: asyncio.run(work()),
    "trio": trio.run,
}
SHORT = 0.01
LONG = 60.0


class Broken(Exception):
    """What the library raises."""


class Errors:
    kinds: tuple[type[Exception], ...] = (Broken,)

    def ours(self, error: Exception) -> ConnectionFailed:
        return ConnectionFailed(f"It broke: {error}")


ERRORS = Errors()


def run(loop: str, work: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        with anyio.fail_after(20):
            await work()

    RUNS[loop](bounded)


async def pieces(*given: bytes) -> AsyncIterator[bytes]:
    for piece in given:
        yield piece


async def forever() -> bytes:
    await anyio.sleep_forever()
    return b"never"


def test_what_is_there_already_takes_no_turn_of_the_event_loop() -> None:
    async def work() -> None:
        turns: list[int] = []
        asyncio.get_running_loop().call_soon(turns.append, 1)
        wait, source = new_wait(ERRORS), pieces(b"one", b"two")

        assert [await wait.of(source.__anext__, LONG) for _ in range(3)] == [b"one", b"two", b""]
        assert turns == []

    run("asyncio", work)


@pytest.mark.parametrize("loop", RUNS)
def test_the_end_of_an_iterator_is_an_empty_piece(loop: str) -> None:
    async def work() -> None:
        wait, source = new_wait(ERRORS), pieces(b"one")

        assert await wait.of(source.__anext__, None) == b"one"
        assert await wait.of(source.__anext__, None) == b""

    run(loop, work)


@pytest.mark.parametrize("loop", RUNS)
def test_a_wait_that_is_too_long_ends(loop: str) -> None:
    async def work() -> None:
        wait = new_wait(ERRORS)
        for _ in range(2):
            with pytest.raises(TimedOut) as raised:
                await wait.of(forever, SHORT)
            assert raised.value.phase == "idle"

    run(loop, work)


@pytest.mark.parametrize("loop", RUNS)
def test_a_short_wait_behind_a_long_one_has_its_own_time(loop: str) -> None:
    async def work() -> None:
        wait = new_wait(ERRORS)
        await wait.of(anyio.lowlevel.checkpoint, LONG)
        with pytest.raises(TimedOut):
            await wait.of(forever, SHORT)

    run(loop, work)


@pytest.mark.parametrize("timeout", [LONG, None])
def test_a_long_wait_outlives_the_time_of_a_short_one(timeout: float | None) -> None:
    async def work() -> None:
        loop, wait = asyncio.get_running_loop(), new_wait(ERRORS)
        first, second = loop.create_future(), loop.create_future()
        loop.call_soon(first.set_result, b"first")
        assert await wait.of(lambda: first, SHORT) == b"first"
        loop.call_later(SHORT * 3, second.set_result, b"second")

        assert await wait.of(lambda: second, timeout) == b"second"

    run("asyncio", work)


@pytest.mark.parametrize("loop", RUNS)
def test_a_wait_is_aborted_from_another_task_for_good(loop: str) -> None:
    async def work() -> None:
        wait, begun = new_wait(ERRORS), anyio.Event()

        async def waits() -> bytes:
            begun.set()
            return await forever()

        async def abort() -> None:
            await begun.wait()
            wait.abort()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(abort)
            with pytest.raises(ConnectionFailed, match="aborted") as raised:
                await wait.of(waits, LONG)
        assert not isinstance(raised.value, TimedOut)
        with pytest.raises(ConnectionFailed, match="aborted"):
            await wait.of(forever, LONG)

    run(loop, work)


@pytest.mark.parametrize("loop", RUNS)
def test_a_scope_of_the_callers_knows_its_own_cancellation(loop: str) -> None:
    async def work() -> None:
        with anyio.move_on_after(SHORT) as scope:
            await new_wait(ERRORS).of(forever, LONG)

        assert scope.cancelled_caught

    run(loop, work)


def test_a_cancelled_task_ends_as_cancelled_though_its_wait_was_aborted_too() -> None:
    async def work() -> None:
        wait = new_wait(ERRORS)
        task = asyncio.ensure_future(wait.of(forever, LONG))
        await asyncio.sleep(0)
        wait.abort()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run("asyncio", work)


def test_an_aborted_wait_leaves_the_task_uncancelled() -> None:
    async def work() -> None:
        task, wait = asyncio.current_task(), new_wait(ERRORS)
        asyncio.get_running_loop().call_soon(wait.abort)
        with pytest.raises(ConnectionFailed):
            await wait.of(forever, LONG)

        assert task is not None and task.cancelling() == 0

    run("asyncio", work)


def test_what_the_library_does_to_clean_up_is_not_ended() -> None:
    async def work() -> None:
        wait, loop, cleaned = new_wait(ERRORS), asyncio.get_running_loop(), []
        closed: asyncio.Future[None] = loop.create_future()

        async def waits() -> bytes:
            try:
                return await forever()
            finally:
                loop.call_soon(wait.abort)
                loop.call_soon(loop.call_soon, closed.set_result, None)
                await closed
                cleaned.append(True)

        with pytest.raises(ConnectionFailed):
            await wait.of(waits, SHORT)
        assert cleaned

    run("asyncio", work)


def test_a_library_that_only_lets_others_run_is_aborted_at_its_next_wait() -> None:
    async def work() -> None:
        wait = new_wait(ERRORS)

        async def waits() -> bytes:
            asyncio.get_running_loop().call_soon(wait.abort)
            await asyncio.sleep(0)
            return await forever()

        with pytest.raises(ConnectionFailed, match="aborted"):
            await wait.of(waits, LONG)

    run("asyncio", work)


@pytest.mark.parametrize("loop", RUNS)
def test_an_error_of_the_library_is_ours(loop: str) -> None:
    async def breaks() -> bytes:
        await anyio.lowlevel.checkpoint()
        raise Broken("a wire")

    async def work() -> None:
        with pytest.raises(ConnectionFailed, match="It broke: a wire"):
            await new_wait(ERRORS).of(breaks, LONG)

    run(loop, work)


def test_an_error_of_what_the_library_waits_for_reaches_the_library() -> None:
    async def work() -> None:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[bytes] = loop.create_future()
        loop.call_soon(future.set_exception, Broken("a wire"))

        async def waits() -> bytes:
            try:
                return await future
            except Broken:
                return b"mended"

        assert await new_wait(ERRORS).of(waits, LONG) == b"mended"

    run("asyncio", work)
