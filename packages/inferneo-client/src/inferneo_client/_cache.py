"""Receives requests that come again; hands on the answers that they had: kept only on request.

A cache holds bytes under keys. `MemoryCache` keeps them in this process, `DirectoryCache` on disk,
for several processes; anything with the same two methods will do.
"""

import contextlib
import logging
import os
import tempfile
import time
from collections import OrderedDict
from hashlib import sha256
from pathlib import Path
from threading import Lock
from typing import Final, Protocol

_LOG = logging.getLogger("inferneo_client")
_DIGEST: Final = 32
_ABANDONED_SECONDS: Final = 3600.0
# The directory is measured each time so much of its bound was written.
_MEASURED_PARTS: Final = 16


class Cache(Protocol):
    """Holds answers; safe across threads. It may forget any of them, and must not raise."""

    def get(self, key: str) -> bytes | None:
        """What was kept under a key; None where nothing is."""
        ...

    def put(self, key: str, value: bytes) -> None:
        """Keep an answer under a key of hexadecimal digits."""
        ...


class MemoryCache:
    """Keeps the answers that were used last, as long as this process lives.

    Args:
        max_bytes: of all answers together; one that is larger is not kept.

    Raises:
        ValueError: `max_bytes` is below 1.
    """

    def __init__(self, max_bytes: int = 64 * 2**20) -> None:
        if max_bytes < 1:
            raise ValueError(f"max_bytes is {max_bytes}, and must be 1 or more")
        self.max_bytes = max_bytes
        self.bytes: int = 0
        self._kept: OrderedDict[str, bytes] = OrderedDict()
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: str) -> bytes | None:
        """See `Cache`."""
        with self._lock:
            value = self._kept.get(key)
            if value is not None:
                self._kept.move_to_end(key)
            return value

    def put(self, key: str, value: bytes) -> None:
        """See `Cache`."""
        if len(value) > self.max_bytes:
            return
        with self._lock:
            self.bytes += len(value) - len(self._kept.pop(key, b""))
            self._kept[key] = value
            while self.bytes > self.max_bytes:
                self.bytes -= len(self._kept.popitem(last=False)[1])


class DirectoryCache:
    """Keeps answers in files of a directory, which several processes may share.

    A file appears whole or not at all, and says itself whether it is sound; what cannot be read or
    written counts as not kept. Files that were not used for longest go first.

    Args:
        path: of the directory; it is made where it is missing, for its owner alone.
        max_bytes: of all files together, roughly: a process measures after every sixteenth of it
            that it writes.

    Raises:
        OSError: the directory cannot be made.
        ValueError: `max_bytes` is below 1.
    """

    def __init__(self, path: str | os.PathLike[str], max_bytes: int = 2**30) -> None:
        if max_bytes < 1:
            raise ValueError(f"max_bytes is {max_bytes}, and must be 1 or more")
        self.path: Path = Path(path)
        self.max_bytes = max_bytes
        self._lock = Lock()
        self._unmeasured = 0
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)

    def _file(self, key: str) -> Path:
        return self.path / f"{key}.answer"

    def get(self, key: str) -> bytes | None:
        """See `Cache`."""
        path = self._file(key)
        try:
            kept = path.read_bytes()
        except OSError:
            return None
        value = kept[_DIGEST:]
        if sha256(value).digest() != kept[:_DIGEST]:
            return None
        # Only whoever may write can tell that it was used.
        with contextlib.suppress(OSError):
            os.utime(path)
        return value

    def put(self, key: str, value: bytes) -> None:
        """See `Cache`."""
        if len(value) > self.max_bytes:
            return
        try:
            self._write(self._file(key), sha256(value).digest() + value)
        except OSError as error:
            _LOG.warning("An answer was not kept in %s: %s", self.path, error)
            return
        with self._lock:
            self._unmeasured += len(value)
            due = self._unmeasured * _MEASURED_PARTS >= self.max_bytes
            if due:
                self._unmeasured = 0
        if due:
            self._make_room()

    def _write(self, path: Path, kept: bytes) -> None:
        handle, name = tempfile.mkstemp(dir=self.path, suffix=".part")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(kept)
            os.replace(name, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(name)
            raise

    def _make_room(self) -> None:
        """Remove what was not used for longest, and what killed processes have left."""
        found = []
        for entry in self._entries():
            # Another process may have removed it.
            with contextlib.suppress(OSError):
                state = entry.stat()
                found.append((state.st_mtime, state.st_size, entry.path))
        now, size = time.time(), sum(size for _, size, _ in found)
        for used, length, path in sorted(found):
            abandoned = path.endswith(".part") and now - used > _ABANDONED_SECONDS
            if abandoned or (size > self.max_bytes and path.endswith(".answer")):
                with contextlib.suppress(OSError):
                    os.unlink(path)
                size -= length

    def _entries(self) -> list[os.DirEntry[str]]:
        try:
            with os.scandir(self.path) as entries:
                return [entry for entry in entries if entry.name.endswith((".answer", ".part"))]
        except OSError:
            return []
