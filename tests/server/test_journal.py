"""The journals of usage: what they hold is counted once, whatever ends their process."""

import asyncio
import resource
from collections.abc import Awaitable
from datetime import date
from pathlib import Path

import pytest

from inferneo_server.usage import sqlite
from inferneo_server.usage.base import UsageFailed, Use
from inferneo_server.usage.journal import Journal, journals
from inferneo_server.usage.meter import Meter
from inferneo_server.usage.sqlite import SqliteUsage

DAY = date(2026, 11, 21)
USE = Use(owner="a", model='=m"\n|', day=DAY, prompt_tokens=3, completion_tokens=5)


def run(work: Awaitable[None]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(60):
            await work

    asyncio.run(bounded())


async def counted(store: SqliteUsage) -> int:
    """How many requests the store tells of."""
    return sum(use.requests for use in await store.uses(DAY, DAY, None))


def left_behind(database: Path, requests: int) -> Path:
    """The journal of a process that is no more."""
    before = set(journals(database))
    journal = Journal(database)
    for _ in range(requests):
        journal.add(USE)
    journal.close()
    [path] = set(journals(database)) - before
    return path


def test_what_dead_processes_left_is_counted_at_the_next_start_and_deleted(tmp_path: Path) -> None:
    database = tmp_path / "usage.db"
    paths = [left_behind(database, 3), left_behind(database, 0), left_behind(database, 4)]

    async def work() -> None:
        store = SqliteUsage(database)
        assert not any(path.exists() for path in paths)
        [found] = await store.uses(DAY, DAY, "a")
        assert found == Use(
            owner="a", model=USE.model, day=DAY, requests=7, prompt_tokens=21, completion_tokens=35
        )
        await store.aclose()

    run(work())
    assert not journals(database)


def test_processes_see_what_the_others_wrote_and_leave_their_journals_alone(tmp_path: Path) -> None:
    database = tmp_path / "usage.db"

    async def work() -> None:
        one, other = SqliteUsage(database), SqliteUsage(database)
        for expected in range(1, 5):
            one.add(USE)
            counts = await asyncio.gather(counted(one), counted(other))
            assert [*counts] == [expected, expected]
        assert len(journals(database)) == 2
        await one.aclose()
        other.add(USE)
        assert await counted(other) == 5
        assert len(journals(database)) == 1
        await other.aclose()

    run(work())


def test_a_death_between_the_sum_and_the_end_of_its_journal_counts_nothing_twice(
    tmp_path: Path,
) -> None:
    database = tmp_path / "usage.db"
    path = left_behind(database, 3)
    content = path.read_bytes()

    async def work() -> None:
        store = SqliteUsage(database)
        # As if it had not been deleted yet.
        path.write_bytes(content)
        assert await counted(store) == 3
        assert not path.exists()
        await store.aclose()

    run(work())


def test_lines_that_a_power_cut_left_in_pieces_cost_no_other(tmp_path: Path) -> None:
    database = tmp_path / "usage.db"
    path = left_behind(database, 2)
    whole = path.read_bytes()
    path.write_bytes(whole + b"\0" * 7 + b'\n{"owner":\n' + whole + whole[:20])

    async def work() -> None:
        store = SqliteUsage(database)
        assert await counted(store) == 4
        await store.aclose()

    run(work())


def test_a_line_for_which_there_is_no_room_is_kept_in_memory_until_there_is(tmp_path: Path) -> None:
    store = SqliteUsage(tmp_path / "usage.db")
    meter = Meter(store)
    meter.record(USE)
    [path] = journals(tmp_path / "usage.db")
    size = path.stat().st_size
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    # A part of the next line still fits.
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 9, before[1]))
    try:
        with pytest.raises(UsageFailed):
            store.add(USE)
        meter.record(USE)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert path.stat().st_size == size

    async def work() -> None:
        await meter.tidy()
        assert await counted(store) == 2
        await meter.aclose()

    run(work())


def test_a_long_journal_is_left_for_a_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "MAX_JOURNAL_BYTES", 200)

    async def work() -> None:
        store = SqliteUsage(tmp_path / "usage.db")
        seen = set(journals(tmp_path / "usage.db"))
        for _ in range(10):
            store.add(USE)
            await store.tidy()
        seen |= set(journals(tmp_path / "usage.db"))
        assert len(seen) == 2 and len(journals(tmp_path / "usage.db")) == 1
        assert await counted(store) == 10
        await store.aclose()

    run(work())


def test_a_closed_store_takes_nothing_more(tmp_path: Path) -> None:
    async def work() -> None:
        store = SqliteUsage(tmp_path / "usage.db")
        await store.aclose()
        await store.aclose()
        with pytest.raises(UsageFailed):
            store.add(USE)

    run(work())


def test_what_cannot_be_summed_up_now_is_summed_up_later(tmp_path: Path) -> None:
    database = tmp_path / "usage.db"

    async def work() -> None:
        store = SqliteUsage(database)
        store.add(USE)
        aside = database.rename(tmp_path / "aside")
        database.mkdir()
        await store.tidy()
        with pytest.raises(UsageFailed):
            await store.uses(DAY, DAY, None)
        store.add(USE)
        database.rmdir()
        aside.rename(database)
        assert await counted(store) == 2
        await store.aclose()

    run(work())
