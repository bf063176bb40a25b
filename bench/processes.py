"""Receives a command; hands on a running process tree that never outlives the benchmark.

vLLM's `EngineCore` and `Worker` processes are known to survive their parent and to spin at full
load. So each command gets a session of its own, and what is left of it is killed by process id.
"""

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Final, NoReturn

_TERMINATE_S: Final = 20.0
_KILL_S: Final = 5.0
_LOG_LINES: Final = 40
_ENDING: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class ProcessTree:
    """A command and all that it starts.

    Attributes:
        pid: the command's own process.
        stdin, stdout: pipes, where `piped`; otherwise None, and all output goes to the log.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        log: Path,
        environment: Mapping[str, str],
        directory: Path,
        piped: bool = False,
    ) -> None:
        self._log = log
        with log.open("wb") as output:
            self._process: subprocess.Popen[bytes] = subprocess.Popen(
                command,
                stdin=subprocess.PIPE if piped else subprocess.DEVNULL,
                stdout=subprocess.PIPE if piped else output,
                stderr=output,
                env=environment,
                cwd=directory,
                start_new_session=True,
            )
        self.pid = self._process.pid
        self.stdin: IO[bytes] | None = self._process.stdin
        self.stdout: IO[bytes] | None = self._process.stdout

    def alive(self) -> bool:
        """Tells whether the command's own process still runs."""
        return self._process.poll() is None

    def log_tail(self) -> str:
        """Gives the last lines that it wrote, for the error message."""
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-_LOG_LINES:])

    def stop(self) -> None:
        """Asks the command to end, then kills what is left of its tree. May be called twice."""
        # Noted before anything dies: an orphan keeps its session but loses its parent.
        tree = _descendants(self.pid)
        for pipe in (self.stdin, self.stdout):
            if pipe is not None:
                # What was not yet flushed to a process that died can only be lost.
                with suppress(OSError):
                    pipe.close()
        if self.alive():
            self._process.terminate()
            try:
                self._process.wait(_TERMINATE_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait(_KILL_S)
        for pid, born in (tree | _of_session(self.pid)).items():
            # A process id may have been given to somebody else since; the start time tells.
            if _born(pid) == born:
                _kill(pid)


def end_by_signal() -> None:
    """Has signals, by which `make` and CI end a job, end what was started, then the program."""
    for number in _ENDING:
        signal.signal(number, _stop)


def _stop(number: int, _: object) -> NoReturn:
    # A second one, from an impatient hand, must not cut short what ends the servers.
    for ending in _ENDING:
        signal.signal(ending, signal.SIG_IGN)
    raise KeyboardInterrupt(signal.Signals(number).name)


def cpu_ns(pid: int) -> int:
    """Reads the CPU time of one process, all its threads with those that ended, without children.

    The clock of another process is what `clock_getcpuclockid(3)` gives; unlike `/proc/<pid>/stat`
    it counts ns, and unlike a sum over `task/*/schedstat` it loses no thread.
    """
    return time.clock_gettime_ns((~pid << 3) | 2)


def tree_cpu_ns(root: int) -> int:
    """Reads the same of a process and all its descendants that live."""
    total = 0
    for pid in (root, *_descendants(root)):
        with suppress(OSError):
            total += cpu_ns(pid)
    return total


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _stat(pid: int) -> list[str]:
    """Reads `/proc/<pid>/stat` from its third field on; empty for a process that is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return []
    # The name before may hold blanks and brackets.
    return text.rpartition(")")[2].split()


def _born(pid: int) -> str | None:
    """Gives the start time of a process that lives; a zombie does not."""
    stat = _stat(pid)
    return stat[19] if stat and stat[0] not in "ZX" else None


def _descendants(root: int) -> dict[int, str | None]:
    parents = {pid: int(stat[1]) for pid in _pids() if (stat := _stat(pid))}
    found: dict[int, str | None] = {}
    newest = {root}
    while newest:
        newest = {pid for pid, parent in parents.items() if parent in newest} - found.keys()
        found |= {pid: _born(pid) for pid in newest}
    return found


def _of_session(leader: int) -> dict[int, str | None]:
    return {pid: _born(pid) for pid in _pids() if (stat := _stat(pid)) and int(stat[3]) == leader}


def _pids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
