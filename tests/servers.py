"""Receives flags; hands on a real server in a process of its own, ready, and ends it."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

READY_SECONDS = 300.0  # an engine on a busy two-core machine
EXIT_SECONDS = 30.0

_LISTENING = re.compile(r"running on (https?://[^ ]+)")
_BANNER = re.compile(r"Inferneo serves (\S+) at ")


class RunningServer:
    """`inferneo-server serve` as a user starts it, on a free port.

    Attributes:
        url: where it listens, without a path.
        process: the server's own process, which the engine's processes descend from.
    """

    def __init__(self, *flags: str, environment: dict[str, str] | None = None) -> None:
        # Of its own: what one test leaves behind is no other's.
        self._state = tempfile.mkdtemp(prefix="inferneo-state-")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "inferneo_server", "serve", "--port", "0", *flags],
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "INFERNEO_STATE_DIR": self._state, **(environment or {})},
        )
        self.url = ""
        self._lines: list[str] = []
        self._listening = threading.Event()
        self._ready = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def log(self) -> str:
        """All that the server has written so far."""
        return "".join(self._lines)

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self._lines.append(line)
            if found := _LISTENING.search(line):
                self.url = found.group(1)
                self._listening.set()
            elif _BANNER.search(line):
                self._ready.set()
        self._listening.set()
        self._ready.set()

    def wait_listening(self) -> None:
        """Wait until the port is open; the engine may still be loading."""
        assert self._listening.wait(READY_SECONDS) and self.url, self.log

    def wait_ready(self) -> None:
        """Wait for the banner."""
        self.wait_listening()
        assert self._ready.wait(READY_SECONDS) and self.process.poll() is None, self.log

    def descendants(self) -> list[int]:
        """Process ids of all that the server has started."""
        children: dict[int, list[int]] = {}
        for status in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                # The name, in brackets, may hold spaces.
                parent = int(status.read_text().rpartition(")")[2].split()[1])
                children.setdefault(parent, []).append(int(status.parent.name))
        found: list[int] = []
        waiting = [self.process.pid]
        while waiting:
            more = children.get(waiting.pop(), [])
            found += more
            waiting += more
        return found

    def metric(self, name: str) -> float:
        """The sum of a metric's samples."""
        text = httpx.get(f"{self.url}/metrics", timeout=10).text
        found = re.findall(rf"^{re.escape(name)}(?:{{[^}}]*}})? (\S+)$", text, re.MULTILINE)
        return sum(float(value) for value in found)

    def stop(self, number: int = signal.SIGTERM) -> int:
        """End the server by a signal and wait for it.

        Returns:
            Its exit status; minus the signal's number where that ended it.
        """
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            return self.process.wait(EXIT_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        finally:
            self._reader.join(EXIT_SECONDS)
            if self.process.stderr:
                self.process.stderr.close()
            shutil.rmtree(self._state, ignore_errors=True)


@contextlib.contextmanager
def running_server(*flags: str, **options: Any) -> Iterator[RunningServer]:
    """A server that is ready, for as long as the block lasts."""
    server = RunningServer(*flags, **options)
    try:
        server.wait_ready()
        yield server
    finally:
        server.stop()
