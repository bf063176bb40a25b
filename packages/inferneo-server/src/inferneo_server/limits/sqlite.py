"""Receives charges; hands on what came of them, from a file that processes of a machine share."""

import asyncio
import contextlib
import sqlite3
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from inferneo_server.database import Busy, checkpoint, is_busy, open_database
from inferneo_server.limits.base import (
    LEASE_MS,
    Change,
    Charge,
    Level,
    Slot,
    StoreFailed,
    Window,
    judge,
)

# Another process is done with the file in a fraction of it; a second without a turn is a failure.
PAUSE_SECONDS = 0.0005
WAIT_SECONDS = 2.0

T = TypeVar("T")

_SCHEMA = """
CREATE TABLE IF NOT EXISTS windows (
    key TEXT PRIMARY KEY, used INTEGER NOT NULL, ends_ms INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS slots (
    key TEXT NOT NULL, lease TEXT NOT NULL, ends_ms INTEGER NOT NULL, PRIMARY KEY (key, lease)
) WITHOUT ROWID;
"""
_LEVEL = "SELECT used, ends_ms FROM windows WHERE key = ?"
_STORE = "INSERT OR REPLACE INTO windows VALUES (?, ?, ?)"
_SETTLE = "UPDATE windows SET used = max(0, used + ?) WHERE key = ? AND ends_ms = ?"
_HELD = "SELECT count(*) FROM slots WHERE key = ? AND ends_ms > ?"
_HOLD = "INSERT OR REPLACE INTO slots VALUES (?, ?, ?)"
_FREE = "DELETE FROM slots WHERE key = ? AND lease = ?"


class SqliteStore:
    """See `limits.base.Store`.

    Args:
        path: the file; its folder is made.
        clock: tells the time, in seconds since the epoch.

    Raises:
        DatabaseError: the file cannot be used.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        self._path = path
        self._clock = clock
        self._connection = open_database(path, _SCHEMA)
        self._held: dict[tuple[str, str], Slot] = {}

    async def charge(self, windows: Sequence[Window], slots: Sequence[Slot]) -> Charge:
        charge = await self._in_turn(lambda: self._charge(windows, slots))
        if charge.admitted:
            self._held.update({(slot.key, slot.lease): slot for slot in slots})
        return charge

    def _charge(self, windows: Sequence[Window], slots: Sequence[Slot]) -> Charge:
        with self._transaction() as run:
            now = self._now()
            stored = [_level(run(_LEVEL, (window.key,)).fetchone()) for window in windows]
            full = [
                number
                for number, slot in enumerate(slots)
                if run(_HELD, (slot.key, now)).fetchone()[0] >= slot.limit
            ]
            charge = judge(windows, stored, full, now)
            if charge.admitted:
                for window, level in zip(windows, charge.levels, strict=True):
                    run(_STORE, (window.key, level.used, level.ends_ms))
                for slot in slots:
                    run(_HOLD, (slot.key, slot.lease, now + LEASE_MS))
        return charge

    def settle(self, changes: Sequence[Change], slots: Sequence[Slot]) -> Awaitable[None] | None:
        for slot in slots:
            self._held.pop((slot.key, slot.lease), None)
        try:
            self._settle(changes, slots)
        except Busy:
            return self._in_turn(lambda: self._settle(changes, slots))
        return None

    def _settle(self, changes: Sequence[Change], slots: Sequence[Slot]) -> None:
        with self._transaction() as run:
            for change in changes:
                run(_SETTLE, (change.amount, change.key, change.ends_ms))
            for slot in slots:
                run(_FREE, (slot.key, slot.lease))

    async def look(self, keys: Sequence[str]) -> tuple[int, list[Level | None]]:
        # Readers do not wait for writers.
        now = self._now()
        try:
            rows = [self._connection.execute(_LEVEL, (key,)).fetchone() for key in keys]
        except sqlite3.Error as error:
            raise StoreFailed(str(error)) from error
        levels = map(_level, rows)
        return now, [level if level and level.ends_ms > now else None for level in levels]

    async def renew(self) -> None:
        await self._in_turn(self._renew)
        await asyncio.to_thread(checkpoint, self._path)

    def _renew(self) -> None:
        with self._transaction() as run:
            now = self._now()
            for slot in self._held.values():
                run(_HOLD, (slot.key, slot.lease, now + LEASE_MS))
            run("DELETE FROM slots WHERE ends_ms <= ?", (now,))
            run("DELETE FROM windows WHERE ends_ms <= ?", (now,))

    async def aclose(self) -> None:
        with contextlib.suppress(StoreFailed, Busy):
            self._settle([], list(self._held.values()))
        self._connection.close()
        await asyncio.to_thread(checkpoint, self._path)

    async def _in_turn(self, work: Callable[[], T]) -> T:
        """Do a transaction, when no other process does one.

        Raises:
            StoreFailed: the turn does not come, or the file cannot be written.
        """
        ends = time.monotonic() + WAIT_SECONDS
        while True:
            try:
                return work()
            except Busy:
                if time.monotonic() > ends:
                    raise StoreFailed("the file is busy") from None
                await asyncio.sleep(PAUSE_SECONDS)

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[Callable[..., sqlite3.Cursor]]:
        """All that the block runs, or nothing.

        Raises:
            Busy: another process is writing.
            StoreFailed: it cannot be written.
        """
        run = self._connection.execute
        try:
            # First of all: who reads first and writes then may find that another has written.
            run("BEGIN IMMEDIATE")
            try:
                yield run
                run("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    run("ROLLBACK")
                raise
        except sqlite3.Error as error:
            if is_busy(error):
                raise Busy from None
            raise StoreFailed(str(error)) from error

    def _now(self) -> int:
        return int(self._clock() * 1000)


def _level(row: tuple[int, int] | None) -> Level | None:
    return None if row is None else Level(used=row[0], ends_ms=row[1])
