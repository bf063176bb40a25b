"""Receives what was used; hands on its sums, from a file that outlives the process."""

import asyncio
import contextlib
import logging
import sqlite3
from datetime import date
from pathlib import Path

from inferneo_server.database import DatabaseError, open_database
from inferneo_server.usage.base import UsageFailed, Use
from inferneo_server.usage.journal import Journal, Lines, journals

# A journal of that size, 100,000 requests, is left for a new one.
MAX_JOURNAL_BYTES = 16 * 2**20
# In a thread: who waits for another process holds up nobody.
WAIT_SECONDS = 5.0

logger = logging.getLogger(__name__)

_SCHEMA = """
CREATE TABLE IF NOT EXISTS usage (
    owner TEXT NOT NULL, model TEXT NOT NULL, day TEXT NOT NULL,
    requests INTEGER NOT NULL, prompt_tokens INTEGER NOT NULL, completion_tokens INTEGER NOT NULL,
    cached_tokens INTEGER NOT NULL, aborted INTEGER NOT NULL,
    PRIMARY KEY (owner, model, day)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS journals (
    name TEXT PRIMARY KEY, summed_bytes INTEGER NOT NULL
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
    """See `usage.base.UsageStore`. What is added goes to a journal, which is summed up in the
    database every few seconds and before that is read; so are those that other processes left.

    Args:
        path: the database; its folder is made.

    Raises:
        DatabaseError: the file cannot be used.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        open_database(path, _SCHEMA).close()
        try:
            self._journal = Journal(path)
            self._sum_up()
        except (OSError, sqlite3.Error) as error:
            raise DatabaseError(f"{path} cannot be used: {error}") from None
        self._summed = 0

    def add(self, use: Use) -> None:
        self._journal.add(use)

    async def uses(self, start: date, end: date, owner: str | None) -> list[Use]:
        return await asyncio.to_thread(self._read, start.isoformat(), end.isoformat(), owner)

    def _read(self, start: str, end: str, owner: str | None) -> list[Use]:
        try:
            self._sum_up()
            with self._connected() as connection:
                rows = connection.execute(_READ, (start, end, owner)).fetchall()
        except (OSError, sqlite3.Error) as error:
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

    def _sum_up(self) -> None:
        """Bring what the journals tell into the database, and to the disk. For a thread."""
        with self._connected() as connection:
            dead = _summed_up(connection, self._path)
        for path in dead:
            path.unlink(missing_ok=True)

    def _connected(self) -> "contextlib.closing[sqlite3.Connection]":
        connection = sqlite3.connect(self._path, timeout=WAIT_SECONDS, isolation_level=None)
        return contextlib.closing(connection)

    async def tidy(self) -> None:
        if self._journal.size == self._summed:
            return
        try:
            if self._journal.size > MAX_JOURNAL_BYTES:
                full, self._journal = self._journal, Journal(self._path)
                full.close()
            summed = self._journal.size
            await asyncio.to_thread(self._sum_up)
            self._summed = summed
        except (OSError, sqlite3.Error) as error:
            logger.warning("Usage stays in its journal, it cannot be summed up: %s", error)

    async def aclose(self) -> None:
        self._journal.close()
        try:
            await asyncio.to_thread(self._sum_up)
        except (OSError, sqlite3.Error) as error:
            logger.error("What was used will be summed up at the next start: %s", error)


def _summed_up(connection: sqlite3.Connection, database: Path) -> list[Path]:
    """Sum up all journals in one transaction; gives those that may be deleted."""
    sums: dict[tuple[str, str, date], Use] = {}
    dead: list[Path] = []
    run = connection.execute
    run("PRAGMA synchronous = FULL")
    run("BEGIN IMMEDIATE")
    known: dict[str, int] = dict(run("SELECT name, summed_bytes FROM journals"))
    for path in journals(database):
        start = known.pop(path.name, 0)
        try:
            lines = Lines(path, start)
        except FileNotFoundError:
            continue  # another process has deleted it
        for use in lines.uses:
            before = sums.get(use.key)
            sums[use.key] = use if before is None else before + use
        if lines.dead:
            dead.append(path)
        if lines.end > start:
            run("INSERT OR REPLACE INTO journals VALUES (?, ?)", (path.name, lines.end))
    for use in sums.values():
        run(_ADD, _row(use))
    for gone in known:
        run("DELETE FROM journals WHERE name = ?", (gone,))
    run("COMMIT")
    return dead


def _row(use: Use) -> tuple[object, ...]:
    return (
        use.owner,
        use.model,
        use.day.isoformat(),
        use.requests,
        use.prompt_tokens,
        use.completion_tokens,
        use.cached_tokens,
        use.aborted,
    )
