"""The meter and its stores: sums, and what becomes of them where a store fails for a while."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import date
from pathlib import Path
from uuid import uuid4

import pytest

from inferneo_server.access.identity import Identity, Limits
from inferneo_server.database import DatabaseError, checkpoint, open_database
from inferneo_server.limits.base import Charge, Window
from inferneo_server.limits.limiter import Limiter
from inferneo_server.limits.redis import connect
from inferneo_server.limits.sqlite import SqliteStore
from inferneo_server.settings import load_settings
from inferneo_server.spending import Spending
from inferneo_server.stores import make_spending
from inferneo_server.usage.base import UsageStore, Use
from inferneo_server.usage.memory import MemoryUsage
from inferneo_server.usage.meter import Meter, today
from inferneo_server.usage.redis import RedisUsage
from inferneo_server.usage.sqlite import SqliteUsage
from tests.redis_server import running_redis

DAY = date(2026, 11, 21)

Opener = Callable[[], AbstractAsyncContextManager[UsageStore]]


@pytest.fixture(params=["memory", "sqlite", "redis"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Opener:
    """A store of each kind."""

    @asynccontextmanager
    async def opener() -> AsyncIterator[UsageStore]:
        store: UsageStore = MemoryUsage()
        if request.param == "sqlite":
            store = SqliteUsage(tmp_path / "usage.db")
        elif request.param == "redis":
            store = RedisUsage(connect(request.getfixturevalue("redis_url")))
        try:
            yield store
        finally:
            await store.aclose()

    return opener


def run(work: Awaitable[None]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(60):
            await work

    asyncio.run(bounded())


async def finish(later: Awaitable[None] | None) -> None:
    if later is not None:
        await later


def use(owner: str, *, model: str = "m", day: date = DAY, aborted: int = 0) -> Use:
    return Use(
        owner=owner,
        model=model,
        day=day,
        prompt_tokens=3,
        completion_tokens=5,
        cached_tokens=1,
        aborted=aborted,
    )


def test_what_is_added_is_summed_by_owner_model_and_day(opened: Opener) -> None:
    one, other = uuid4().hex, uuid4().hex
    tomorrow = date(2026, 11, 22)

    async def work() -> None:
        async with opened() as store:
            for each in (
                *(use(one, aborted=number % 2) for number in range(4)),
                use(one, model='=m"\x1f|'),
                use(one, day=tomorrow),
                use(other),
            ):
                await finish(store.add(each))
            found = {each.key: each for each in await store.uses(DAY, tomorrow, one)}
            assert found[one, "m", DAY] == Use(
                owner=one,
                model="m",
                day=DAY,
                requests=4,
                prompt_tokens=12,
                completion_tokens=20,
                cached_tokens=4,
                aborted=2,
            )
            assert found.keys() == {
                (one, "m", DAY),
                (one, '=m"\x1f|', DAY),
                (one, "m", tomorrow),
            }
            assert [each.key for each in await store.uses(DAY, DAY, other)] == [(other, "m", DAY)]
            assert {one, other} <= {each.owner for each in await store.uses(DAY, DAY, None)}

    run(work())


def test_a_file_that_another_process_writes_is_waited_for_without_holding_up_the_loop(
    tmp_path: Path,
) -> None:
    async def work() -> None:
        usage, limits = SqliteUsage(tmp_path / "u.db"), SqliteStore(tmp_path / "l.db")
        paths = (tmp_path / "u.db", tmp_path / "l.db")
        others = [sqlite3.connect(path, isolation_level=None) for path in paths]
        for other in others:
            other.execute("BEGIN IMMEDIATE")
        # What is added waits for nobody.
        usage.add(use("a"))
        waiting: list[asyncio.Future[object]] = [
            asyncio.ensure_future(usage.uses(DAY, DAY, "a")),
            asyncio.ensure_future(
                limits.charge([Window(key="a", limit=1, cost=1, period="day")], [])
            ),
        ]
        # The loop goes round meanwhile.
        done, _ = await asyncio.wait(waiting, timeout=0.05)
        assert not done
        for other in others:
            other.execute("COMMIT")
            other.close()
        found, charge = await asyncio.gather(*waiting)
        assert found == [use("a")]
        assert isinstance(charge, Charge) and charge.admitted
        await usage.aclose()
        await limits.aclose()

    run(work())


def test_what_a_redis_that_went_away_could_not_take_is_written_when_it_is_back(
    caplog: pytest.LogCaptureFixture,
) -> None:
    identity = Identity(owner="a", limits=Limits(tokens_per_day=1000))

    async def work() -> None:
        with running_redis() as url:
            port = int(url.rpartition(":")[2].partition("/")[0])
            meter = Meter(RedisUsage(connect(url)))
        await finish(meter.record(use(identity.owner)))
        for _ in range(2):
            # Nobody waits for it any more, and it is told of once.
            assert meter.record(use(identity.owner)) is None
            await meter.flush()
        assert [record.levelname for record in caplog.records] == ["ERROR"]
        with running_redis(port):
            await meter.flush()
            [found] = await meter.uses(DAY, DAY)
            assert (found.requests, found.completion_tokens) == (3, 15)
            await meter.flush()
            assert (await meter.uses(DAY, DAY)) == [found]
            await meter.aclose()

    run(work())


def test_a_request_that_ends_twice_is_metered_and_settled_once(tmp_path: Path) -> None:
    identity = Identity(owner="a", limits=Limits(tokens_per_day=1000))

    async def work() -> None:
        store = SqliteStore(tmp_path / "limits.db")
        spending = Spending(Limiter(store), Meter(SqliteUsage(tmp_path / "usage.db")))
        spend = spending.open(identity, "m")
        await spend.reserve(10, 1, 100)
        for _ in range(2):
            spend.end(prompt_tokens=10, completion_tokens=7)
        spend.refund()
        left = await spending.limiter.look(identity)
        assert left and left.tokens and left.tokens.remaining == 1000 - 17
        [found] = await spending.meter.uses(today(), today())
        assert (found.requests, found.completion_tokens) == (1, 7)
        await spending.aclose()

    run(work())


def test_who_has_little_left_may_ask_with_all_of_it() -> None:
    identity = Identity(owner="a", limits=Limits(tokens_per_minute=60))

    async def work() -> None:
        spending = Spending()
        spend = spending.open(identity, "m")
        # Up to 4,096 tokens are charged for a long answer, but not more than there can be.
        await spend.reserve(10, 1, 4000)
        left = spend.left()
        assert left and left.tokens and left.tokens.remaining == 0
        spend.refund()
        left = spend.left()
        assert left and left.tokens and left.tokens.remaining == 60

    run(work())


def test_what_is_no_database_is_told_by_name(tmp_path: Path) -> None:
    path = tmp_path / "usage.db"
    path.write_text("no database, but long enough to be read as the head of one" * 40)

    with pytest.raises(DatabaseError, match=f"{path} cannot be used"):
        SqliteUsage(path)


def test_only_its_owner_can_read_the_file(tmp_path: Path) -> None:
    path = tmp_path / "state" / "a.db"
    connection = open_database(path, "CREATE TABLE t (a)")
    connection.execute("INSERT INTO t VALUES (1)")

    assert {each.stat().st_mode & 0o777 for each in path.parent.iterdir()} == {0o600}
    assert path.parent.stat().st_mode & 0o777 == 0o700
    checkpoint(path)
    connection.close()


@pytest.mark.parametrize(
    ("store", "files"), [("unix:///nowhere/redis.sock", False), ("memory", True)]
)
def test_usage_is_where_limits_are_if_that_is_a_redis(
    tmp_path: Path, store: str, files: bool
) -> None:
    async def work() -> None:
        settings = load_settings(limits_store=store, state_dir=str(tmp_path))
        await make_spending(settings).aclose()

    run(work())
    assert (tmp_path / "usage.db").exists() == files
