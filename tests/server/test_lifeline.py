"""Proves that a process of the engine ends with its parent, and that nothing else does."""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from inferneo_server.engines.lifeline import die_with_parent

DEATH_SECONDS = 5.0
POLL_SECONDS = 0.02
PR_GET_PDEATHSIG = 2  # prctl(2)

# A server in small: it starts its children as vLLM does, and waits.
PARENT = """
import multiprocessing, os, signal, sys
from inferneo_server.engines.lifeline import die_with_parent

def bound(pipe):
    die_with_parent()
    pipe.send(os.getpid())
    signal.pause()

def unbound(pipe):
    pipe.send(os.getpid())
    signal.pause()

def late(pipe):
    parent = os.getppid()
    pipe.send(os.getpid())
    while os.getppid() == parent:
        pass
    die_with_parent()
    signal.pause()

if __name__ == "__main__":
    context = multiprocessing.get_context("spawn")
    for name in sys.argv[1:]:
        ours, theirs = context.Pipe()
        context.Process(target=globals()[name], args=(theirs,)).start()
        print(ours.recv(), flush=True)
    signal.pause()
"""

Family = Callable[..., tuple[subprocess.Popen[str], list[int]]]


def alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and was not buried yet does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def ends_in_time(pid: int) -> bool:
    deadline = time.monotonic() + DEATH_SECONDS
    while alive(pid):
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True


@pytest.fixture
def family(tmp_path: Path) -> Iterator[Family]:
    """Starts a parent with children; ends all of them, whatever the test did."""
    started: list[int] = []
    script = tmp_path / "parent.py"
    script.write_text(PARENT)

    def start(*children: str) -> tuple[subprocess.Popen[str], list[int]]:
        parent = subprocess.Popen(
            [sys.executable, str(script), *children], stdout=subprocess.PIPE, text=True
        )
        started.append(parent.pid)
        assert parent.stdout is not None
        with parent.stdout:
            pids = [int(parent.stdout.readline()) for _ in children]
        started.extend(pids)
        return parent, pids

    yield start
    for pid in started:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def kill(process: subprocess.Popen[str]) -> None:
    process.kill()
    assert process.wait(DEATH_SECONDS) == -signal.SIGKILL


def test_a_bound_process_dies_with_its_parent_and_one_that_is_not_outlives_it(
    family: Family,
) -> None:
    parent, (bound, unbound) = family("bound", "unbound")
    assert alive(bound) and alive(unbound)

    kill(parent)

    assert ends_in_time(bound)
    assert alive(unbound)


def test_a_process_that_binds_itself_when_its_parent_is_already_dead_ends(family: Family) -> None:
    parent, (late,) = family("late")

    kill(parent)

    assert ends_in_time(late)


def test_a_main_process_is_bound_to_nothing() -> None:
    def bound_by() -> int:
        number = ctypes.c_int(-1)
        assert ctypes.CDLL(None).prctl(PR_GET_PDEATHSIG, ctypes.byref(number), 0, 0, 0) == 0
        return number.value

    before = bound_by()
    die_with_parent()

    assert bound_by() == before != signal.SIGKILL
