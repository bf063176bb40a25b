"""Receives nothing; hands on the contract of a store of what callers have used.

All times are in milliseconds since the epoch, by the store's own clock.
"""

import calendar
from collections.abc import Awaitable, Sequence
from datetime import UTC, datetime
from typing import Literal, Protocol

from msgspec import Struct

Period = Literal["minute", "day", "month", "total"]

MINUTE_MS = 60_000
DAY_MS = 86_400_000
NEVER_MS = 253_402_300_800_000  # the year 10000
# How long a slot outlives a process that cannot give it back, and how often it is kept.
LEASE_MS = 30_000
RENEW_SECONDS = 10.0


class Window(Struct, frozen=True, kw_only=True):
    """A stretch of time in which so much may be used, and what a request wants of it.

    A minute begins with its first request, days and months are those of UTC.

    Attributes:
        key: whose and which it is.
        limit: what may be used.
        cost: what is wanted now.
        period: how long it is.
    """

    key: str
    limit: int
    cost: int
    period: Period


class Slot(Struct, frozen=True, kw_only=True):
    """One of `limit` places of a key, which a request holds by its lease for as long as it runs."""

    key: str
    limit: int
    lease: str


class Level(Struct, frozen=True, kw_only=True):
    """What is used of a window, and when it ends."""

    used: int
    ends_ms: int


class Charge(Struct, frozen=True, kw_only=True):
    """What came of a charge.

    Attributes:
        now_ms: the store's time.
        levels: of each window: with the charge, or without it where that was refused.
        lacking: numbers of the windows that hold too little; with one of them, nothing was charged.
        full: numbers of the slots of which none is free; likewise.
    """

    now_ms: int
    levels: Sequence[Level]
    lacking: Sequence[int] = ()
    full: Sequence[int] = ()

    @property
    def admitted(self) -> bool:
        """Whether all was charged; else nothing was."""
        return not self.lacking and not self.full


class Change(Struct, frozen=True, kw_only=True):
    """A later correction of the window that ends then; where that is over, of nothing."""

    key: str
    amount: int
    ends_ms: int


class StoreFailed(Exception):
    """The store cannot be reached, or written to."""


class Store(Protocol):
    """What callers have used, shared by all who use the same store."""

    async def charge(self, windows: Sequence[Window], slots: Sequence[Slot]) -> Charge:
        """Charge all windows and take all slots, or nothing; no other charge comes in between.

        Raises:
            StoreFailed: nothing can be said; it may have been charged.
        """
        ...

    def settle(self, changes: Sequence[Change], slots: Sequence[Slot]) -> Awaitable[None] | None:
        """Correct what was charged and give slots back. Done at once where None is returned; what
        is returned raises StoreFailed, as this does.
        """
        ...

    async def look(self, keys: Sequence[str]) -> tuple[int, list[Level | None]]:
        """The store's time, and the levels; None for a window that has not begun, or is over.

        Raises:
            StoreFailed: nothing can be said.
        """
        ...

    async def renew(self) -> None:
        """Keep the leases that are held here, and drop what is over. Every `RENEW_SECONDS`.

        Raises:
            StoreFailed: it was not possible.
        """
        ...

    async def aclose(self) -> None:
        """Give back what is held. Idempotent."""
        ...


def window_end(period: Period, now_ms: int) -> int:
    """When a window ends that begins now."""
    if period == "minute":
        return now_ms + MINUTE_MS
    if period == "day":
        return now_ms - now_ms % DAY_MS + DAY_MS
    if period == "total":
        return NEVER_MS
    now = datetime.fromtimestamp(now_ms / 1000, UTC)
    days = calendar.monthrange(now.year, now.month)[1]
    first = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return int(first.timestamp()) * 1000 + days * DAY_MS


def current(stored: Level | None, period: Period, now_ms: int) -> Level:
    """A window's level now: as it was stored, or that of a new one."""
    if stored is not None and stored.ends_ms > now_ms:
        return stored
    return Level(used=0, ends_ms=window_end(period, now_ms))


def judge(
    windows: Sequence[Window], stored: Sequence[Level | None], full: Sequence[int], now_ms: int
) -> Charge:
    """What comes of a charge, by what is stored; the caller stores the levels if it is admitted."""
    levels = [
        current(level, window.period, now_ms) for window, level in zip(windows, stored, strict=True)
    ]
    lacking = [
        number
        for number, (window, level) in enumerate(zip(windows, levels, strict=True))
        if level.used + window.cost > window.limit
    ]
    if not lacking and not full:
        levels = [
            Level(used=level.used + window.cost, ends_ms=level.ends_ms)
            for window, level in zip(windows, levels, strict=True)
        ]
    return Charge(now_ms=now_ms, levels=levels, lacking=lacking, full=full)
