"""Receives the path of a Unix socket; hands on whether it is free, and takes our own away."""

import contextlib
import socket
from pathlib import Path

CONNECT_SECONDS = 2.0


class SocketFile:
    """The file of the Unix socket that a server listens on.

    Args:
        path: where it is.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._ours: tuple[int, int] | None = None

    def check_free(self) -> None:
        """Refuse a socket that answers: the loop replaces whichever is there, and one who listened
        on it would be out of reach. One that a dead server has left is as good as none.

        Raises:
            OSError: somebody listens there, or it may be that somebody does.
        """
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.settimeout(CONNECT_SECONDS)
            # A queue that is full would block.
            with contextlib.suppress(BlockingIOError, TimeoutError):
                try:
                    probe.connect(str(self._path))
                except (FileNotFoundError, ConnectionRefusedError):
                    return
        raise OSError("another server listens there")

    def note(self) -> None:
        """Note that the file is ours: the socket has just been opened."""
        self._ours = self._identity()

    def remove(self) -> None:
        """Take our file away; another server may have put its own there, as soon as ours closed."""
        with contextlib.suppress(FileNotFoundError):
            if self._identity() == self._ours:
                self._path.unlink()

    def _identity(self) -> tuple[int, int]:
        # Numbers of files are used again. An operator's `chmod` changes neither.
        found = self._path.stat()
        return found.st_ino, found.st_mtime_ns
