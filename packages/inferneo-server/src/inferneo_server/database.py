"""Receives a path and a schema; hands on an SQLite connection that is quick enough for the loop.

Several processes may share a file. A writer that finds another one at work is told so at once
(`Busy`), and waits as its loop allows; SQLite's own wait would hold up the loop.
"""

import contextlib
import sqlite3
from pathlib import Path

# Beyond it the log of a file that is always written to is cut by force, which holds up its writers.
MAX_LOG_BYTES = 64 * 2**20


class DatabaseError(Exception):
    """A file cannot be used; the message is for the operator."""


class Busy(Exception):
    """Another process is writing to the file at this moment."""


def open_database(path: Path, schema: str) -> sqlite3.Connection:
    """Open a file, which is made where there is none, readable by its owner alone.

    A write is handed to the system and not waited for until it is on the disk: what was written
    survives the process, however that ends, and takes some 20 microseconds. A power cut may lose
    what came after the last `checkpoint`, which is where the disk is waited for, in a thread.

    Raises:
        DatabaseError: it cannot be opened, or is no database.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.touch(mode=0o600)
        connection = sqlite3.connect(
            path, timeout=5.0, isolation_level=None, check_same_thread=False
        )
        # Rows are short, and each write copies a page into the log.
        connection.execute("PRAGMA page_size = 1024")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        connection.executescript(schema)
        # From here on nobody waits in SQLite.
        connection.execute("PRAGMA busy_timeout = 0")
    except (OSError, sqlite3.Error) as error:
        raise DatabaseError(f"{path} cannot be used: {error}") from None
    return connection


def is_busy(error: sqlite3.Error) -> bool:
    """Whether another process was writing, so that it is worth trying again."""
    # What the module itself refuses, as a file that was closed, has no code.
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def checkpoint(path: Path) -> None:
    """Bring what was written into the file itself, and wait for the disk. For a thread."""
    log = Path(f"{path}-wal")
    with contextlib.suppress(OSError, sqlite3.Error):
        how = "TRUNCATE" if log.stat().st_size > MAX_LOG_BYTES else "PASSIVE"
        connection = sqlite3.connect(path, timeout=1.0, isolation_level=None)
        try:
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute(f"PRAGMA wal_checkpoint({how})").fetchall()
        finally:
            connection.close()
