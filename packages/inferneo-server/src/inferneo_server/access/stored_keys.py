"""Receives the file of keys; hands on those that count now, while other processes change them."""

import logging
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from inferneo_server.access.audit import audit
from inferneo_server.access.key_store import KeyStore, KeyStoreError, StoredKey

PAUSE_SECONDS = 0.5
# A server waits for no other process: it has requests to answer, and looks again.
BUSY_SECONDS = 0.001
USED_SECONDS = 3600.0

logger = logging.getLogger(__name__)


class StoredKeys:
    """The keys of a file as a running server knows them, at most `PAUSE_SECONDS` old.

    It looks when it is asked, and reads what has changed since: microseconds where nothing has. A
    file that is not there may come. One that goes, or cannot be read, changes nothing: who could
    remove it could not open the server by that.

    Args:
        path: the file; nothing is made of it here.
        clock: tells the seconds, for the pauses.
    """

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._clock = clock
        self._keys: dict[str, StoredKey] = {}
        self._any = False
        self._store: KeyStore | None = None
        self._file: tuple[int, int] | None = None
        self._data_version = -1
        self._version = 0
        self._used: dict[str, float] = {}
        self._failed = False
        self._next = clock()
        self._look()

    def find(self, key_id: str) -> StoredKey | None:
        """The key of that id, revoked or not."""
        if self._clock() >= self._next:
            self._look()
        return self._keys.get(key_id)

    @property
    def any(self) -> bool:
        """Whether there has been a key, even if it is revoked by now: then the server is closed."""
        if self._clock() >= self._next:
            self._look()
        return self._any

    def note_used(self, key: StoredKey) -> None:
        """A key was used; the file learns of it once in an hour."""
        record, now = key.record, time.time()
        if now - max(record.last_used_at or 0.0, self._used.get(record.id, 0.0)) > USED_SECONDS:
            self._used[record.id] = now

    def close(self) -> None:
        """Write down what was used, and close the file."""
        self._look()
        if self._store is not None:
            self._store.close()
            self._store = None

    def _look(self) -> None:
        self._next = self._clock() + PAUSE_SECONDS
        try:
            self._open()
            if self._store is None:
                return
            data_version = self._store.data_version()
            if data_version != self._data_version:
                self._read(self._store)
                self._data_version = data_version
        except (OSError, sqlite3.Error, KeyStoreError, msgspec.MsgspecError) as error:
            if not self._failed:
                logger.error("The keys cannot be read, those known go on: %s", error)
            self._failed = True
            return
        self._failed = False
        self._write_used(self._store)

    def _open(self) -> None:
        """Open the file where it has come, or was replaced by another one."""
        try:
            found = self._path.stat()
        except FileNotFoundError:
            return
        file = (found.st_dev, found.st_ino)
        if file == self._file:
            return
        store = KeyStore(self._path, busy_seconds=BUSY_SECONDS)
        if self._store is not None:
            self._store.close()
        self._store, self._file = store, file
        self._data_version, self._version = -1, 0

    def _read(self, store: KeyStore) -> None:
        first = self._data_version == -1
        known = {} if first else self._keys
        for key in store.changes(self._version):
            record = key.record
            if not first:
                what = "revoked" if record.revoked_at is not None else "changed"
                what = what if record.id in known else "made"
                audit(f"file {self._path.name}", f"key {record.id} ({record.name}) was {what}")
            known[record.id] = key
            self._version = key.version
        self._keys = known
        self._any = self._any or bool(known)

    def _write_used(self, store: KeyStore) -> None:
        if not self._used:
            return
        used, self._used = self._used, {}
        try:
            store.note_used(used)
        except sqlite3.Error as error:
            # Of no weight: it is written at another time.
            logger.debug("When keys were used cannot be written: %s", error)
        for key_id, when in used.items():
            key = self._keys[key_id]  # none is ever removed from a file
            record = msgspec.structs.replace(key.record, last_used_at=when)
            self._keys[key_id] = msgspec.structs.replace(key, record=record)
