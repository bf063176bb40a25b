"""Receives what was used; hands on its sums, from a file that outlives the process."""

import asyncio
import sqlite3
import time
from collections.abc import Awaitable
from datetime import date
from pathlib import Path

from inferneo_server.database import checkpoint, is_busy, open_database
from inferneo_server.usage.base import UsageFailed, Use

PAUSE_SECONDS = 0.0005
WAIT_SECONDS = 2.0

_SCHEMA = """
CREATE TABLE IF NOT EXISTS usage (
    owner TEXT NOT NULL, model TEXT NOT NULL, day TEXT NOT NULL,
    requests INTEGER NOT NULL, prompt_tokens INTEGER NOT NULL, completion_tokens INTEGER NOT NULL,
    cached_tokens INTEGER NOT NULL, aborted INTEGER NOT NULL,
    PRIMARY KEY (owner, model, day)
) WITHOUT ROWID;
"""
_ADD = """
INSERT INTO usage VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET
    requests = requests + excluded.requests,
    prompt_tokens = prompt_tokens + excluded.prompt_tokens,
    completion_tokens = completion_tokens + excluded.completion_tokens,
    cached_tokens = cached_tokens + excluded.cached_tokens,
    aborted = aborted + excluded.aborted
"""
_READ = "SELECT * FROM usage WHERE day BETWEEN ? AND ? AND (?3 IS NULL OR owner = ?3)"


class SqliteUsage:
    """See `usage.base.UsageStore`.

    Args:
        path: the file; its folder is made.

    Raises:
        DatabaseError: the file cannot be used.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection = open_database(path, _SCHEMA)
        self._day: tuple[date, str] | None = None

    def add(self, use: Use) -> Awaitable[None] | None:
        if self._day is None or self._day[0] != use.day:
            self._day = (use.day, use.day.isoformat())
        row = (
            use.owner,
            use.model,
            self._day[1],
            use.requests,
            use.prompt_tokens,
            use.completion_tokens,
            use.cached_tokens,
            use.aborted,
        )
        return None if self._added(row) else self._add_in_turn(row)

    def _added(self, row: tuple[object, ...]) -> bool:
        """Write it, unless another process is writing."""
        try:
            self._connection.execute(_ADD, row)
        except sqlite3.Error as error:
            if is_busy(error):
                return False
            raise UsageFailed(str(error)) from error
        return True

    async def _add_in_turn(self, row: tuple[object, ...]) -> None:
        ends = time.monotonic() + WAIT_SECONDS
        # SQLite's own wait would hold up the loop.
        while not self._added(row):
            if time.monotonic() > ends:
                raise UsageFailed("the file is busy")
            await asyncio.sleep(PAUSE_SECONDS)

    async def uses(self, start: date, end: date, owner: str | None) -> list[Use]:
        return await asyncio.to_thread(self._read, start.isoformat(), end.isoformat(), owner)

    def _read(self, start: str, end: str, owner: str | None) -> list[Use]:
        # A connection of its own: a long reading must not hold up the loop's.
        try:
            connection = sqlite3.connect(self._path, timeout=5.0, isolation_level=None)
            try:
                rows = connection.execute(_READ, (start, end, owner)).fetchall()
            finally:
                connection.close()
        except sqlite3.Error as error:
            raise UsageFailed(str(error)) from error
        return [
            Use(
                owner=row[0],
                model=row[1],
                day=date.fromisoformat(row[2]),
                requests=row[3],
                prompt_tokens=row[4],
                completion_tokens=row[5],
                cached_tokens=row[6],
                aborted=row[7],
            )
            for row in rows
        ]

    async def tidy(self) -> None:
        await asyncio.to_thread(checkpoint, self._path)

    async def aclose(self) -> None:
        self._connection.close()
        await self.tidy()
