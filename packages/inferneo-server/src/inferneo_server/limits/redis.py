"""Receives charges; hands on what came of them, from a Redis that several machines share.

Each charge is one call of one Lua script, which Redis runs with nothing in between, by its clock.
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Sequence
from typing import Any, Final, cast

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from inferneo_server.cancellable import cancellable
from inferneo_server.limits.base import (
    DAY_MS,
    LEASE_MS,
    MINUTE_MS,
    Change,
    Charge,
    Level,
    Slot,
    StoreFailed,
    Window,
    window_end,
)

ANSWER_SECONDS = 2.0
CONNECTIONS = 32

_PREFIX = "inferneo:limits:"

# A window is a hash {used, ends}, a slot's key a sorted set of leases by their end. A number is
# formatted by hand: Lua writes a long one in exponents.
_SCRIPT: Final = """
local mode, windows, lease_ms = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local at = 4
local answer = {now}
local levels, lacking, full = {}, {}, {}

local function text(number) return string.format('%.0f', number) end

local function level(key, period, ends)
  local stored = redis.call('HMGET', key, 'used', 'ends')
  if stored[1] and tonumber(stored[2]) > now then
    return {tonumber(stored[1]), tonumber(stored[2])}
  end
  if period == 60000 then ends = now + period
  elseif period == 86400000 then ends = now - now % period + period
  elseif ends <= now then ends = now + 1000 end
  return {0, ends}
end

if mode == 'look' then
  for i = 1, windows do
    local stored = redis.call('HMGET', KEYS[i], 'used', 'ends')
    local running = stored[1] and tonumber(stored[2]) > now
    answer[i + 1] = running and {tonumber(stored[1]), tonumber(stored[2])} or {}
  end
  return answer
end

if mode == 'settle' then
  for i = 1, windows do
    local amount, ends = tonumber(ARGV[at]), tonumber(ARGV[at + 1])
    at = at + 2
    local stored = redis.call('HMGET', KEYS[i], 'used', 'ends')
    if stored[1] and tonumber(stored[2]) == ends then
      redis.call('HSET', KEYS[i], 'used', text(math.max(0, stored[1] + amount)))
    end
  end
  for i = windows + 1, #KEYS do
    redis.call('ZREM', KEYS[i], ARGV[at])
    at = at + 1
  end
  return answer
end

for i = 1, windows do
  local limit, cost = tonumber(ARGV[at]), tonumber(ARGV[at + 1])
  levels[i] = level(KEYS[i], tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3]))
  if levels[i][1] + cost > limit then lacking[#lacking + 1] = i - 1 end
  levels[i][3] = cost
  at = at + 4
end
local slots_at = at
for i = windows + 1, #KEYS do
  redis.call('ZREMRANGEBYSCORE', KEYS[i], '-inf', text(now))
  if redis.call('ZCARD', KEYS[i]) >= tonumber(ARGV[at]) then
    full[#full + 1] = i - windows - 1
  end
  at = at + 2
end
if #lacking == 0 and #full == 0 then
  for i = 1, windows do
    local one = levels[i]
    one[1] = one[1] + one[3]
    redis.call('HSET', KEYS[i], 'used', text(one[1]), 'ends', text(one[2]))
    redis.call('PEXPIREAT', KEYS[i], text(one[2]))
  end
  at = slots_at
  for i = windows + 1, #KEYS do
    redis.call('ZADD', KEYS[i], text(now + lease_ms), ARGV[at + 1])
    redis.call('PEXPIRE', KEYS[i], text(2 * lease_ms))
    at = at + 2
  end
end
return {now, levels, lacking, full}
"""
_PERIODS: Final = {"minute": MINUTE_MS, "day": DAY_MS, "month": 0, "total": 0}


def connect(url: str, *, decode_responses: bool = True) -> "Redis":
    """A client of a Redis, which connects when it is first used; it gives text, or else bytes. Each
    wait is bounded."""
    pool = BlockingConnectionPool.from_url(
        url,
        max_connections=CONNECTIONS,
        timeout=ANSWER_SECONDS,
        socket_timeout=ANSWER_SECONDS,
        socket_connect_timeout=ANSWER_SECONDS,
        decode_responses=decode_responses,
        # A charge that is tried again may be charged twice.
        retry=Retry(NoBackoff(), 0),
    )
    return Redis.from_pool(pool)  # which closes it


class RedisStore:
    """See `limits.base.Store`.

    Args:
        client: made by `connect`; closed with the store.
    """

    def __init__(self, client: "Redis") -> None:
        self._client = client
        self._script = client.register_script(_SCRIPT)
        self._held: dict[tuple[str, str], Slot] = {}
        self._undoing: set[asyncio.Task[None]] = set()

    async def charge(self, windows: Sequence[Window], slots: Sequence[Slot]) -> Charge:
        arguments: list[int | str] = []
        for window in windows:
            # Lua knows no months; the end of a minute and of a day is told by Redis' own clock.
            ends = window_end(window.period, int(time.time() * 1000))
            arguments += [window.limit, window.cost, _PERIODS[window.period], ends]
        for slot in slots:
            arguments += [slot.limit, slot.lease]
        work = asyncio.create_task(self._run("charge", windows, slots, arguments))
        try:
            answer = await asyncio.shield(work)
        except asyncio.CancelledError:
            # It may be charged all the same, and nobody is left to settle it.
            self._undoing.add(undo := asyncio.create_task(self._undo(work, windows, slots)))
            undo.add_done_callback(self._undoing.discard)
            raise
        charge = _charge(answer)
        if charge.admitted:
            self._held.update({(slot.key, slot.lease): slot for slot in slots})
        return charge

    async def _undo(
        self,
        work: "asyncio.Task[list[Any]]",
        windows: Sequence[Window],
        slots: Sequence[Slot],
    ) -> None:
        with contextlib.suppress(StoreFailed):
            charge = _charge(await work)
            if charge.admitted:
                changes = [
                    Change(key=window.key, amount=-window.cost, ends_ms=level.ends_ms)
                    for window, level in zip(windows, charge.levels, strict=True)
                ]
                await self._settle(changes, slots)

    def settle(self, changes: Sequence[Change], slots: Sequence[Slot]) -> Awaitable[None]:
        for slot in slots:
            self._held.pop((slot.key, slot.lease), None)
        return self._settle(changes, slots)

    async def _settle(self, changes: Sequence[Change], slots: Sequence[Slot]) -> None:
        arguments: list[int | str] = []
        for change in changes:
            arguments += [change.amount, change.ends_ms]
        arguments += [slot.lease for slot in slots]
        await self._run("settle", changes, slots, arguments)

    async def look(self, keys: Sequence[str]) -> tuple[int, list[Level | None]]:
        now, *levels = await self._run("look", [], [], [], names=keys)
        return now, [Level(used=each[0], ends_ms=each[1]) if each else None for each in levels]

    async def renew(self) -> None:
        if not self._held:
            return
        try:
            seconds, micros = await cancellable(self._client.time())
            ends = seconds * 1000 + micros // 1000 + LEASE_MS
            async with self._client.pipeline(transaction=False) as pipeline:
                for slot in self._held.values():
                    pipeline.zadd(_PREFIX + slot.key, {slot.lease: ends})
                    pipeline.pexpire(_PREFIX + slot.key, 2 * LEASE_MS)
                await cancellable(pipeline.execute())
        except (RedisError, OSError) as error:
            raise StoreFailed(str(error)) from error

    async def aclose(self) -> None:
        await asyncio.gather(*self._undoing, return_exceptions=True)
        slots, self._held = list(self._held.values()), {}
        with contextlib.suppress(StoreFailed):
            if slots:
                await self._settle([], slots)
        await self._client.aclose()

    async def _run(
        self,
        mode: str,
        windows: Sequence[Window] | Sequence[Change],
        slots: Sequence[Slot],
        arguments: Sequence[int | str],
        *,
        names: Sequence[str] = (),
    ) -> list[Any]:
        keys = [_PREFIX + key for key in (*names, *(each.key for each in (*windows, *slots)))]
        count = len(names) or len(windows)
        try:
            answer = await cancellable(
                self._script(keys=keys, args=[mode, count, LEASE_MS, *arguments])
            )
        except (RedisError, OSError) as error:
            raise StoreFailed(str(error)) from error
        return cast("list[Any]", answer)


def _charge(answer: Sequence[Any]) -> Charge:
    now, levels, lacking, full = answer
    return Charge(
        now_ms=now,
        levels=[Level(used=each[0], ends_ms=each[1]) for each in levels],
        lacking=lacking,
        full=full,
    )
