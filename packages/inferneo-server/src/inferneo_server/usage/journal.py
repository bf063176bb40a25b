"""Receives what was used; hands on lines in a file, which outlive the process however that ends.

A line is handed to the system by one call, a tenth of what SQLite takes. Whoever sums the lines up
notes in the same transaction how far that went: none is lost, none counted twice. A journal is
locked for as long as its process lives; who can lock one has found what a dead process left.
"""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import msgspec

from inferneo_core.codec import encode
from inferneo_server.usage.base import UsageFailed, Use

_SUFFIX = ".journal"
_decoder = msgspec.json.Decoder(Use)


class Journal:
    """The file that one process writes.

    Args:
        database: beside which it lies, under a name of its own.

    Attributes:
        size: bytes that were written.

    Raises:
        OSError: it cannot be made.
    """

    def __init__(self, database: Path) -> None:
        self.size = 0
        path = database.with_name(f"{database.name}-{uuid4().hex}{_SUFFIX}")
        # Under the name by which others find it only once it is locked.
        unlocked = path.with_suffix(".new")
        self._file = os.open(unlocked, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        with contextlib.suppress(OSError):  # as on some network drives: it is then not deleted
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        unlocked.rename(path)

    def add(self, use: Use) -> None:
        """Write a line.

        Raises:
            UsageFailed: it cannot be written.
        """
        line = encode(use) + b"\n"
        try:
            written = os.write(self._file, line)
            if written < len(line):
                os.ftruncate(self._file, self.size)
                raise UsageFailed("the disk is full")
        except OSError as error:
            raise UsageFailed(str(error)) from error
        self.size += written

    def close(self) -> None:
        """Leave it to who sums it up. Idempotent."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


class Lines:
    """What a journal holds behind the part that has been summed up.

    Attributes:
        uses: one for each line.
        end: where the last whole line ends, in bytes.
        dead: whether no more can come.
    """

    def __init__(self, path: Path, start: int) -> None:
        with path.open("rb") as file:
            # First of all: what is written between the two would be deleted unread.
            self.dead = _can_be_locked(file.fileno())
            file.seek(start)
            data = file.read()
        length = data.rfind(b"\n") + 1
        self.end = start + length
        self.uses = list(_decoded(data[:length]))


def journals(database: Path) -> list[Path]:
    """The journals beside a database, of living processes and of dead ones."""
    return sorted(database.parent.glob(f"{database.name}-*{_SUFFIX}"))


def _can_be_locked(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _decoded(data: bytes) -> Iterator[Use]:
    for line in data.splitlines():
        # A power cut may leave what was never written.
        with contextlib.suppress(msgspec.DecodeError):
            yield _decoder.decode(line)
