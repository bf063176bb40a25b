"""Receives what is done of a whole; hands on a line that tells of it, on a terminal alone."""

import sys
import time

_WIDTH = 30
_REFRESH_SECONDS = 0.1


class ProgressLine:
    """One line on standard error, written over and over.

    Args:
        total: how much there is to do.
        done: how much is done already.
        label: stands before the line.
        wanted: without it, or where standard error is no terminal, nothing is written.
    """

    def __init__(self, total: int, *, done: int = 0, label: str = "", wanted: bool = True) -> None:
        self._label = label
        self._total = total
        self._done = self._first = done
        self._failed = 0
        self._started = time.monotonic()
        self._shown = 0.0
        self._length = 0
        self._on = wanted and sys.stderr is not None and sys.stderr.isatty()
        self._show()

    def step(self, *, failed: bool = False) -> None:
        """One more is done."""
        self._done += 1
        self._failed += failed
        if time.monotonic() - self._shown >= _REFRESH_SECONDS:
            self._show()

    def _show(self) -> None:
        if not self._on:
            return
        self._shown = time.monotonic()
        line = self._line()
        sys.stderr.write("\r" + line.ljust(self._length))
        sys.stderr.flush()
        self._length = len(line)

    def _line(self) -> str:
        filled = _WIDTH * self._done // self._total if self._total else _WIDTH
        bar = "#" * filled + "-" * (_WIDTH - filled)
        failed = f", {self._failed} failed" if self._failed else ""
        return f"{self._label}[{bar}] {self._done}/{self._total}{failed}{self._left()}"

    def _left(self) -> str:
        fresh, left = self._done - self._first, self._total - self._done
        if not fresh or not left:
            return ""
        minutes, seconds = divmod(round((self._shown - self._started) / fresh * left), 60)
        return f", {minutes}:{seconds:02} left"

    def close(self) -> None:
        """Show the end, and leave the line."""
        self._show()
        if self._on:
            sys.stderr.write("\n")
            self._on = False
