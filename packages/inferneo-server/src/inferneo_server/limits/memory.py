"""Receives charges; hands on what came of them, from the memory of this process alone."""

import time
from collections.abc import Callable, Sequence

from inferneo_server.limits.base import Change, Charge, Level, Slot, Window, judge

# Of callers by address there may be any number: what is over is looked for after so many.
SWEEP_AT = 10_000


class MemoryStore:
    """See `limits.base.Store`; what was used is forgotten with the process.

    Args:
        clock: tells the time, in seconds since the epoch.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._levels: dict[str, Level] = {}
        self._leases: dict[str, set[str]] = {}
        self._sweep_at = SWEEP_AT

    async def charge(self, windows: Sequence[Window], slots: Sequence[Slot]) -> Charge:
        now = self._now()
        full = [
            number
            for number, slot in enumerate(slots)
            if len(self._leases.get(slot.key, ())) >= slot.limit
        ]
        charge = judge(windows, [self._levels.get(window.key) for window in windows], full, now)
        if charge.admitted:
            for window, level in zip(windows, charge.levels, strict=True):
                self._levels[window.key] = level
            for slot in slots:
                self._leases.setdefault(slot.key, set()).add(slot.lease)
            if len(self._levels) > self._sweep_at:
                await self.renew()
        return charge

    def settle(self, changes: Sequence[Change], slots: Sequence[Slot]) -> None:
        for change in changes:
            level = self._levels.get(change.key)
            if level is not None and level.ends_ms == change.ends_ms:
                used = max(0, level.used + change.amount)
                self._levels[change.key] = Level(used=used, ends_ms=level.ends_ms)
        for slot in slots:
            held = self._leases.get(slot.key, set())
            held.discard(slot.lease)
            if not held:
                self._leases.pop(slot.key, None)

    async def look(self, keys: Sequence[str]) -> tuple[int, list[Level | None]]:
        now = self._now()
        levels = [self._levels.get(key) for key in keys]
        return now, [level if level and level.ends_ms > now else None for level in levels]

    async def renew(self) -> None:
        now = self._now()
        self._levels = {key: level for key, level in self._levels.items() if level.ends_ms > now}
        self._sweep_at = max(SWEEP_AT, 2 * len(self._levels))

    async def aclose(self) -> None:
        self._leases.clear()

    def _now(self) -> int:
        return int(self._clock() * 1000)
