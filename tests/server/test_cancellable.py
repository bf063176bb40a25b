"""Proves that who waits for Redis can be cancelled at any moment."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import date
from uuid import uuid4

import pytest

from inferneo_server.limits.base import Change, Slot
from inferneo_server.limits.redis import RedisStore, connect
from inferneo_server.sharing.round import answer
from inferneo_server.usage.base import Use
from inferneo_server.usage.redis import RedisUsage

DAY = date(2026, 11, 21)
BOUND_SECONDS = 60
# Steps of the loop, of which a call takes fewer than ten.
STEPS = 30

Call = Callable[[], Awaitable[object]]


@asynccontextmanager
async def called(url: str, name: str) -> AsyncIterator[Call]:
    """A call of a store over a connection that is open."""
    limits, usage, client = RedisStore(connect(url)), RedisUsage(connect(url)), connect(url)
    key = uuid4().hex

    def settle() -> Awaitable[None]:
        return limits.settle([Change(key=key, amount=1, ends_ms=1)], [])

    calls: dict[str, Call] = {
        "look": lambda: limits.look([key]),
        "settle": settle,
        "renew": limits.renew,
        "add": lambda: usage.add(Use(owner=key, model="m", day=DAY)),
        "uses": lambda: usage.uses(DAY, DAY, key),
        "answer": lambda: answer(client, "GET", key),
    }
    # What is renewed.
    await limits.charge([], [Slot(key=f"{key}|slots", limit=1, lease=key)])
    await calls[name]()
    try:
        yield calls[name]
    finally:
        await limits.aclose()
        await usage.aclose()
        await client.aclose()


@pytest.mark.parametrize("name", ["look", "settle", "renew", "add", "uses", "answer"])
def test_a_call_that_is_cancelled_ends_so(redis_url: str, name: str) -> None:
    async def wait_for(call: Call) -> None:
        await call()

    async def work() -> None:
        async with asyncio.timeout(BOUND_SECONDS), called(redis_url, name) as call:
            cancelled = 0
            for steps in range(STEPS):
                waiting = asyncio.create_task(wait_for(call))
                for _ in range(steps):
                    await asyncio.sleep(0)
                if waiting.cancel():
                    cancelled += 1
                    with pytest.raises(asyncio.CancelledError):
                        await waiting
            # In each of the steps that it takes at least; and what follows is answered.
            assert cancelled > 1
            await call()

    asyncio.run(work())
