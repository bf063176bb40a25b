"""The stores of limits: each charges exactly, all or nothing, and is shared by who opens it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import datetime
from pathlib import Path
from uuid import uuid4

import pytest

from inferneo_server.limits.base import (
    DAY_MS,
    LEASE_MS,
    NEVER_MS,
    Change,
    Charge,
    Period,
    Slot,
    Store,
    StoreFailed,
    Window,
    window_end,
)
from inferneo_server.limits.memory import MemoryStore
from inferneo_server.limits.redis import RedisStore, connect
from inferneo_server.limits.sqlite import SqliteStore

CLIENTS = 200

# Opens one store as often as is said, each time as another process would.
Opener = Callable[[int], AbstractAsyncContextManager[list[Store]]]


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 1_795_268_260.25

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["memory", "sqlite", "redis"])
def opened(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> Opener:
    """One store of each kind; that in memory is shared by handing on the same one."""

    def make(first: Store | None) -> Store:
        if request.param == "memory":
            return first or MemoryStore(clock)
        if request.param == "sqlite":
            return SqliteStore(tmp_path / "limits.db", clock)
        return RedisStore(connect(request.getfixturevalue("redis_url")))

    @asynccontextmanager
    async def opener(times: int) -> AsyncIterator[list[Store]]:
        stores: list[Store] = []
        for _ in range(times):
            stores.append(make(stores[0] if stores else None))
        try:
            yield stores
        finally:
            for store in stores:
                await store.aclose()

    return opener


def window(limit: int, cost: int = 1, *, key: str, period: Period = "day") -> Window:
    return Window(key=key, limit=limit, cost=cost, period=period)


def slot(limit: int, key: str) -> Slot:
    return Slot(key=key, limit=limit, lease=uuid4().hex)


def run(work: Awaitable[None]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(60):
            await work

    asyncio.run(bounded())


async def finish(later: Awaitable[None] | None) -> None:
    if later is not None:
        await later


def used(charge: Charge) -> list[int]:
    return [level.used for level in charge.levels]


def test_two_hundred_at_once_get_what_there_is_and_no_more(opened: Opener) -> None:
    name = uuid4().hex

    async def work() -> None:
        async with opened(2) as stores:
            charges = await asyncio.gather(
                *(
                    stores[number % 2].charge(
                        [window(60, key=f"{name}a"), window(1000, 7, key=f"{name}b")],
                        [slot(100, f"{name}c")],
                    )
                    for number in range(CLIENTS)
                )
            )
            assert sum(charge.admitted for charge in charges) == 60
            _, levels = await stores[0].look([f"{name}a", f"{name}b"])
            assert [level.used for level in levels if level] == [60, 60 * 7]

    run(work())


def test_what_one_window_lacks_is_charged_to_none(opened: Opener) -> None:
    name = uuid4().hex

    async def work() -> None:
        async with opened(1) as [store]:
            windows = [window(10, key=f"{name}a"), window(10, 6, key=f"{name}b")]
            places = [slot(5, f"{name}c")]
            first, second = [await store.charge(windows, places) for _ in range(2)]
            assert first.admitted and used(first) == [1, 6]
            assert list(second.lacking) == [1] and used(second) == [1, 6]
            full = await store.charge([window(10, key=f"{name}a")], [slot(1, f"{name}c")])
            assert list(full.full) == [0] and used(full) == [1]

    run(work())


def test_a_settlement_corrects_what_was_charged(opened: Opener) -> None:
    name = uuid4().hex

    async def work() -> None:
        async with opened(1) as [store]:
            charge = await store.charge([window(100, 60, key=name)], [])
            ends = charge.levels[0].ends_ms
            await finish(store.settle([Change(key=name, amount=-50, ends_ms=ends)], []))
            assert used(await store.charge([window(100, 5, key=name)], [])) == [15]
            # It may be more than there was: then nothing is left.
            await finish(store.settle([Change(key=name, amount=200, ends_ms=ends)], []))
            assert not (await store.charge([window(100, 1, key=name)], [])).admitted
            await finish(store.settle([Change(key=name, amount=-999, ends_ms=ends)], []))
            assert used(await store.charge([window(100, 1, key=name)], [])) == [1]

    run(work())


def test_a_settlement_of_a_window_that_is_over_changes_nothing(opened: Opener) -> None:
    name = uuid4().hex

    async def work() -> None:
        async with opened(1) as [store]:
            charge = await store.charge([window(100, 60, key=name)], [])
            before = charge.levels[0].ends_ms - DAY_MS
            await finish(store.settle([Change(key=name, amount=-50, ends_ms=before)], []))
            await finish(store.settle([Change(key=f"{name}x", amount=5, ends_ms=before)], []))
            assert used(await store.charge([window(100, 1, key=name)], [])) == [61]

    run(work())


@pytest.mark.parametrize("period", ["minute", "day", "month", "total"])
def test_a_window_ends_when_it_says(opened: Opener, period: Period) -> None:
    name = uuid4().hex

    async def work() -> None:
        async with opened(1) as [store]:
            charge = await store.charge([window(1, key=name, period=period)], [])
            assert charge.levels[0].ends_ms == window_end(period, charge.now_ms)
            again = await store.charge([window(1, key=name, period=period)], [])
            assert again.levels[0].ends_ms == charge.levels[0].ends_ms and not again.admitted

    run(work())


def test_a_window_begins_anew_at_its_end_and_not_before(clock: Clock, tmp_path: Path) -> None:
    async def work() -> None:
        for store in (MemoryStore(clock), SqliteStore(tmp_path / "limits.db", clock)):
            charge = await store.charge([window(1, key="a", period="minute")], [])
            ends = charge.levels[0].ends_ms / 1000
            for now, admitted in ((ends - 0.001, False), (ends, True), (ends + 59.9, False)):
                clock.now = now
                again = await store.charge([window(1, key="a", period="minute")], [])
                assert again.admitted is admitted
            await store.aclose()

    run(work())


def test_redis_begins_a_window_anew_at_its_end(redis_url: str) -> None:
    name = uuid4().hex

    async def work() -> None:
        client = connect(redis_url)
        store = RedisStore(client)
        charge = await store.charge([window(1, key=name, period="minute")], [])
        key = f"inferneo:limits:{name}"
        # The clock is Redis' own: the window is moved instead.
        await client.hset(key, "ends", str(charge.now_ms - 1))
        again = await store.charge([window(1, key=name, period="minute")], [])
        assert again.admitted and used(again) == [1]
        assert 0 < await client.pttl(key) <= 60_000
        await store.aclose()

    run(work())


def test_slots_are_free_again_when_they_are_given_back(opened: Opener) -> None:
    name = uuid4().hex

    async def work() -> None:
        async with opened(2) as [one, other]:
            places = [slot(2, name) for _ in range(3)]
            assert (await one.charge([], places[:1])).admitted
            assert (await other.charge([], places[1:2])).admitted
            assert not (await one.charge([], places[2:])).admitted
            await finish(one.settle([], places[:1]))
            # Twice is once.
            await finish(one.settle([], places[:1]))
            assert (await other.charge([], places[2:])).admitted
            assert not (await one.charge([], [slot(2, name)])).admitted

    run(work())


def test_a_process_that_died_holds_no_slot_for_long(clock: Clock, tmp_path: Path) -> None:
    async def work() -> None:
        died = SqliteStore(tmp_path / "limits.db", clock)
        lives = SqliteStore(tmp_path / "limits.db", clock)
        assert (await died.charge([], [slot(2, "a")])).admitted
        assert (await lives.charge([], [slot(2, "a")])).admitted
        for _ in range(2):
            clock.now += 0.6 * LEASE_MS / 1000
            await lives.renew()
        # Of the two one is free: that which nobody renewed.
        assert (await lives.charge([], [slot(2, "a")])).admitted
        assert not (await lives.charge([], [slot(2, "a")])).admitted

    run(work())


def test_a_replica_that_died_holds_no_slot_of_redis_for_long(redis_url: str) -> None:
    name = uuid4().hex

    async def work() -> None:
        client = connect(redis_url)
        died, lives = RedisStore(connect(redis_url)), RedisStore(client)
        places = [slot(2, name), slot(2, name)]
        assert (await died.charge([], places[:1])).admitted
        assert (await lives.charge([], places[1:])).admitted
        # The clock is Redis' own: the ends are moved instead.
        await client.zadd(
            f"inferneo:limits:{name}", dict.fromkeys([place.lease for place in places], 1)
        )
        await lives.renew()
        assert (await lives.charge([], [slot(2, name)])).admitted
        assert not (await lives.charge([], [slot(2, name)])).admitted
        await lives.aclose()
        await died.aclose()

    run(work())


def test_what_was_used_outlives_the_store(clock: Clock, tmp_path: Path) -> None:
    async def work() -> None:
        for expected in (1, 2, 3):
            store = SqliteStore(tmp_path / "limits.db", clock)
            assert used(await store.charge([window(9, key="a", period="total")], [])) == [expected]
            await store.renew()
            await store.aclose()

    run(work())


def test_a_charge_whose_caller_left_is_taken_back(redis_url: str) -> None:
    name = uuid4().hex

    async def work() -> None:
        store = RedisStore(connect(redis_url))
        await store.charge([], [slot(1, f"{name}w")])
        leaving = asyncio.create_task(
            store.charge([window(9, 3, key=name, period="total")], [slot(1, f"{name}s")])
        )
        await asyncio.sleep(0)
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        await store.aclose()
        store = RedisStore(connect(redis_url))
        charge = await store.charge([window(9, 3, key=name, period="total")], [slot(1, f"{name}s")])
        assert charge.admitted and used(charge) == [3]
        await store.aclose()

    run(work())


def test_a_redis_that_is_not_there_is_told_at_once() -> None:
    async def work() -> None:
        store = RedisStore(connect("redis://127.0.0.1:1/0"))
        calls: Sequence[Awaitable[object]] = (
            store.charge([window(1, key="a")], []),
            store.look(["a"]),
            store.settle([Change(key="a", amount=1, ends_ms=1)], []),
        )
        for call in calls:
            with pytest.raises(StoreFailed):
                await call
        await store.aclose()

    run(work())


@pytest.mark.parametrize(
    ("now", "month", "day"),
    [
        ("2026-11-21", "2026-12-01", "2026-11-22"),
        ("2026-12-31", "2027-01-01", "2027-01-01"),
        ("2028-02-28", "2028-03-01", "2028-02-29"),
    ],
)
def test_days_and_months_are_those_of_the_calendar(now: str, month: str, day: str) -> None:
    def at(text: str) -> int:
        return int(datetime.fromisoformat(f"{text}T00:00:00+00:00").timestamp()) * 1000

    late = at(now) + DAY_MS - 1
    assert window_end("month", late) == at(month)
    assert window_end("day", late) == at(day)
    assert window_end("minute", late) == late + 60_000
    assert window_end("total", late) == NEVER_MS
