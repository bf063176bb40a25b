"""Receives the answers of a batch as they come; hands on those of an earlier run: a file of them.

The file is JSON lines: first one that names the batch, then one for each answer. What a killed
process has written is whole up to the last newline; what follows that is dropped.
"""

import os
from hashlib import sha256
from types import ModuleType
from typing import IO, Any, Final
from uuid import uuid4

import msgspec
from msgspec import Raw, Struct

from inferneo_client._calls import Call

fcntl: ModuleType | None
try:
    import fcntl
except ImportError:  # Windows: nobody watches over two processes with one file.
    fcntl = None

_VERSION: Final = 1


class _Head(Struct, frozen=True):
    """The first line; its id makes the idempotency keys of this batch its own."""

    inferneo_batch: int
    id: str


class _Line(Struct, frozen=True):
    """An answer, and the digest of the request that it answers."""

    index: int
    request: str
    answer: Raw


_head = msgspec.json.Decoder(_Head).decode
_line = msgspec.json.Decoder(_Line).decode


def digest_of(call: Call) -> str:
    """What tells a request from another one."""
    return sha256(b"\0".join((call.path.encode(), call.content))).hexdigest()[:32]


class BatchFile:
    """The answers of one batch on disk.

    Raises:
        ValueError: the file holds something else.
        BlockingIOError: another process has it in use.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = os.fspath(path)
        self._file: IO[bytes] = open(path, "a+b")  # noqa: SIM115
        try:
            self._lock()
            self._id, self._lines = self._read()
        except BaseException:
            self._file.close()
            raise

    def _lock(self) -> None:
        if fcntl is None:
            return
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BlockingIOError(
                error.errno, "Another batch is at work on this file", self._path
            ) from None

    def _read(self) -> tuple[str, dict[int, _Line]]:
        self._file.seek(0)
        first = self._file.readline()
        if not first.endswith(b"\n"):
            return self._begin(first), {}
        try:
            head = _head(first)
        except ValueError:
            raise self._foreign() from None
        if head.inferneo_batch != _VERSION:
            raise self._foreign()
        return head.id, self._answers(len(first))

    def _begin(self, torn: bytes) -> str:
        """Write the first line; of what an earlier process was killed in there may be a piece."""
        identity = uuid4().hex
        head = msgspec.json.encode(_Head(_VERSION, identity)) + b"\n"
        if not head.startswith(torn[: head.index(identity.encode())]):
            raise self._foreign()
        self._file.truncate(0)
        self._append(head)
        return identity

    def _answers(self, end: int) -> dict[int, _Line]:
        lines = {}
        for text in self._file:
            if not text.endswith(b"\n"):
                break
            try:
                line = _line(text)
            except ValueError:
                raise ValueError(
                    f"{self._path} has a line that is no answer, at byte {end}"
                ) from None
            # A copy: what was decoded would keep its whole line alive.
            lines[line.index] = msgspec.structs.replace(line, answer=line.answer.copy())
            end += len(text)
        self._file.truncate(end)
        return lines

    def _foreign(self) -> ValueError:
        return ValueError(f"{self._path} is not the file of a batch; nothing was written to it")

    def key(self, index: int, digest: str) -> str:
        """The idempotency key of a request: the same in each run with this file."""
        return f"batch-{self._id}-{index}-{digest[:16]}"

    def answer(self, index: int, digest: str) -> bytes | None:
        """What an earlier run was answered; None where it was not.

        Raises:
            ValueError: the request was another one then.
        """
        line = self._lines.get(index)
        if line is None:
            return None
        if line.request != digest:
            raise ValueError(
                f"Request {index} is not the one that {self._path} has an answer to. Give the same"
                " requests in the same order, or another file."
            )
        return bytes(line.answer)

    def write(self, index: int, digest: str, answer: bytes) -> None:
        """Keep an answer."""
        if not self._file.closed:
            # Servers may send it over several lines.
            raw = Raw(msgspec.json.format(answer, indent=-1))
            self._append(msgspec.json.encode(_Line(index, digest, raw)) + b"\n")

    def _append(self, line: Any) -> None:
        self._file.write(line)
        self._file.flush()

    def close(self) -> None:
        """Leave the file to others."""
        if not self._file.closed:
            os.fsync(self._file.fileno())
            self._file.close()
