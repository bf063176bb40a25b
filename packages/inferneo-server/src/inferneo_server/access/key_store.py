"""Receives what an operator wants of keys; hands on the keys, which a file keeps as hashes."""

import contextlib
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from inferneo_server.access.identity import Limits, Scope
from inferneo_server.access.secrets import digest_of, make_id, make_secret

FILE_NAME = "keys.db"
BUSY_SECONDS = 5.0
_FORMAT = 1
# `version` grows with each change, so that a server reads what has changed and no more.
_SCHEMA = """
CREATE TABLE keys (
    id TEXT PRIMARY KEY, name TEXT NOT NULL, digest BLOB NOT NULL, old_digest BLOB, old_until REAL,
    scopes TEXT NOT NULL, models TEXT, limits TEXT, weight REAL NOT NULL, created_at REAL NOT NULL,
    expires_at REAL, revoked_at REAL, last_used_at REAL, version INTEGER NOT NULL
) STRICT;
CREATE INDEX keys_by_version ON keys (version);
CREATE UNIQUE INDEX keys_by_name ON keys (name) WHERE revoked_at IS NULL;
"""
_COLUMNS = (
    "id, name, digest, old_digest, old_until, scopes, models, limits, weight, created_at, "
    "expires_at, revoked_at, last_used_at, version"
)


class KeyStoreError(Exception):
    """The file does not do what was asked; the message is for the operator."""


class KeyRecord(Struct, frozen=True, kw_only=True):
    """What an operator sees of a key. All times are seconds since the epoch.

    Attributes:
        id: public; the key itself begins with it.
        name: the operator's name for it, of which only one key that is not revoked has the same.
        scopes: what it may do.
        models: the models it may use; None is all.
        limits: what it may use; None is the server's default.
        weight: its share of a busy engine.
        expires_at: when it ends by itself.
        revoked_at: when it was revoked.
        last_used_at: when it was last used, to an hour.
    """

    id: str
    name: str
    scopes: list[Scope]
    models: list[str] | None = None
    limits: Limits | None = None
    weight: float = 1.0
    created_at: float
    expires_at: float | None = None
    revoked_at: float | None = None
    last_used_at: float | None = None


class StoredKey(Struct, frozen=True, kw_only=True):
    """A key as a server checks it: the record, and the hashes of its secret.

    After a rotation the hash before it counts until `old_until`.
    """

    record: KeyRecord
    digest: bytes
    old_digest: bytes | None
    old_until: float
    version: int


class KeyStore:
    """The keys of a file, which is made where it is not there. Blocks for less than a millisecond,
    unless another process writes.

    Args:
        path: the file. Its folder is made too; both are for their owner alone.
        busy_seconds: how long to wait for another process that writes.
        clock: tells the seconds since the epoch.

    Raises:
        KeyStoreError: the file cannot be used.
    """

    def __init__(
        self,
        path: Path,
        *,
        busy_seconds: float = BUSY_SECONDS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._path = path
        self._clock = clock
        with self._explained():
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            # SQLite would make it by the umask; its journals take the rights of the file.
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
            self._db = sqlite3.connect(
                path, timeout=busy_seconds, isolation_level=None, check_same_thread=False
            )
            try:
                self._prepare()
            except BaseException:
                self._db.close()
                raise

    def _prepare(self) -> None:
        # Readers and a writer do not wait for each other.
        self._db.execute("PRAGMA journal_mode = WAL")
        if self._format() == 0:
            with self._writing():
                # Another process may have been first.
                if self._format() == 0:
                    for statement in filter(str.strip, _SCHEMA.split(";")):
                        self._db.execute(statement)
                    self._db.execute(f"PRAGMA user_version = {_FORMAT}")
        if self._format() != _FORMAT:
            raise KeyStoreError(f"{self._path} was made by another version of Inferneo")

    def _format(self) -> int:
        return int(self._db.execute("PRAGMA user_version").fetchone()[0])

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def create(
        self,
        name: str,
        *,
        scopes: list[Scope],
        models: list[str] | None = None,
        limits: Limits | None = None,
        weight: float = 1.0,
        expires_at: float | None = None,
    ) -> tuple[str, KeyRecord]:
        """Make a key.

        Returns:
            The secret, which nothing can tell again, and the record.

        Raises:
            KeyStoreError: a key of that name is there, or the file cannot be written.
        """
        key_id = make_id()
        secret = make_secret(key_id)
        values = {
            "id": key_id,
            "name": name,
            "digest": digest_of(secret.encode()),
            "created_at": self._clock(),
            **_as_columns(scopes, models, limits, weight, expires_at),
        }
        columns, marks = ", ".join(values), ", ".join(f":{name}" for name in values)
        with self._explained(), self._writing():
            if self._named(name):
                raise KeyStoreError(f"there is a key named {name!r} already")
            self._db.execute(
                f"INSERT INTO keys ({columns}, version) VALUES ({marks}, {_NEXT})", values
            )
        return secret, self.find(key_id)

    def update(
        self,
        name: str,
        *,
        scopes: list[Scope],
        models: list[str] | None,
        limits: Limits | None,
        weight: float,
        expires_at: float | None,
    ) -> KeyRecord:
        """Change what a key may do, from its next request on.

        Raises:
            KeyStoreError: as in `find`, or it is revoked.
        """
        return self._change(name, _as_columns(scopes, models, limits, weight, expires_at))

    def revoke(self, name: str) -> KeyRecord:
        """End a key for good.

        Raises:
            KeyStoreError: as in `find`, or it is revoked already.
        """
        return self._change(name, {"revoked_at": self._clock()})

    def rotate(self, name: str, *, grace_seconds: float = 0.0) -> tuple[str, KeyRecord]:
        """Give a key a new secret; its id, limits and what belongs to it stay.

        Args:
            name: its name or id.
            grace_seconds: how long the secret before counts too.

        Raises:
            KeyStoreError: as in `find`, or it is revoked.
        """
        record = self.find(name)
        secret = make_secret(record.id)
        until = self._clock() + grace_seconds
        (old,) = self._db.execute("SELECT digest FROM keys WHERE id = ?", [record.id]).fetchone()
        return secret, self._change(
            record.id,
            {
                "digest": digest_of(secret.encode()),
                "old_digest": old if grace_seconds > 0 else None,
                "old_until": until if grace_seconds > 0 else None,
            },
        )

    def _change(self, name: str, values: dict[str, Any]) -> KeyRecord:
        with self._explained(), self._writing():
            record = self.find(name)
            if record.revoked_at is not None:
                raise KeyStoreError(f"the key {name!r} is revoked")
            changes = ", ".join(f"{column} = :{column}" for column in values)
            self._db.execute(
                f"UPDATE keys SET {changes}, version = {_NEXT} WHERE id = :key_id",
                {**values, "key_id": record.id},
            )
            return self.find(record.id)

    def find(self, name: str) -> KeyRecord:
        """The key of a name or id; of several revoked ones of that name the last.

        Raises:
            KeyStoreError: there is none.
        """
        with self._explained():
            row = self._db.execute(
                f"SELECT {_COLUMNS} FROM keys WHERE id = :name OR name = :name "
                "ORDER BY id = :name DESC, revoked_at IS NULL DESC, created_at DESC LIMIT 1",
                {"name": name},
            ).fetchone()
        if row is None:
            raise KeyStoreError(f"there is no key {name!r}; see `inferneo-server keys list`")
        return _stored(row).record

    def records(self) -> list[KeyRecord]:
        """All keys, revoked ones too, the oldest first."""
        with self._explained():
            rows = self._db.execute(f"SELECT {_COLUMNS} FROM keys ORDER BY created_at, id")
            return [_stored(row).record for row in rows]

    def _named(self, name: str) -> bool:
        found = self._db.execute(
            "SELECT 1 FROM keys WHERE id = :name OR (name = :name AND revoked_at IS NULL)",
            {"name": name},
        )
        return found.fetchone() is not None

    def data_version(self) -> int:
        """A number that changes when another process has changed the file.

        Source: https://sqlite.org/pragma.html#pragma_data_version
        """
        return int(self._db.execute("PRAGMA data_version").fetchone()[0])

    def changes(self, since: int) -> list[StoredKey]:
        """The keys that have changed after a version; 0 gives all."""
        rows = self._db.execute(
            f"SELECT {_COLUMNS} FROM keys WHERE version > ? ORDER BY version", [since]
        )
        return [_stored(row) for row in rows]

    def note_used(self, used: dict[str, float]) -> None:
        """Write down when keys were last used. It counts as no change of theirs."""
        # A power cut may take it back: a server does not wait for the disk. Commands do.
        self._db.execute("PRAGMA synchronous = NORMAL")
        with self._writing():
            self._db.executemany(
                "UPDATE keys SET last_used_at = ? WHERE id = ?",
                [(when, key_id) for key_id, when in used.items()],
            )

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (OSError, sqlite3.Error) as error:
            raise KeyStoreError(f"{self._path} cannot be used: {error}") from error


_NEXT = "(SELECT coalesce(max(version), 0) + 1 FROM keys)"


def _as_columns(
    scopes: list[Scope],
    models: list[str] | None,
    limits: Limits | None,
    weight: float,
    expires_at: float | None,
) -> dict[str, Any]:
    return {
        "scopes": _json(scopes),
        "models": None if models is None else _json(models),
        "limits": None if limits is None else _json(limits),
        "weight": weight,
        "expires_at": expires_at,
    }


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _stored(row: Any) -> StoredKey:
    key_id, name, digest, old_digest, old_until, scopes, models, limits, weight, *times = row
    created_at, expires_at, revoked_at, last_used_at, version = times
    record = KeyRecord(
        id=key_id,
        name=name,
        scopes=msgspec.json.decode(scopes, type=list[Scope]),
        models=None if models is None else msgspec.json.decode(models, type=list[str]),
        limits=None if limits is None else msgspec.json.decode(limits, type=Limits),
        weight=weight,
        created_at=created_at,
        expires_at=expires_at,
        revoked_at=revoked_at,
        last_used_at=last_used_at,
    )
    return StoredKey(
        record=record,
        digest=digest,
        old_digest=old_digest,
        old_until=old_until or 0.0,
        version=version,
    )
