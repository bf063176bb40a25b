"""Receives arguments; hands on what the program `inferneo` does with them, in a pipe or a pty."""

import os
import subprocess
import sys
from typing import Any

import pexpect

SECONDS = 60.0
_PROGRAM = ["-m", "inferneo_client.cli"]
_INHERITED = ("INFERNEO_", "OPENAI_")


def environment(**more: str) -> dict[str, str]:
    """That of the tests, without any settings of the SDK."""
    inherited = {name: text for name, text in os.environ.items() if not name.startswith(_INHERITED)}
    return {**inherited, "COLUMNS": "100", **more}


def run(*arguments: str, given: str | None = None, **more: str) -> subprocess.CompletedProcess[str]:
    """Run the program to its end, in a pipe."""
    done = subprocess.run(
        [sys.executable, *_PROGRAM, *arguments],
        input=given or "",
        env=environment(**more),
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    assert "Traceback" not in done.stderr
    return done


def on_terminal(*arguments: str, rows: int = 24, **more: str) -> Any:
    """Start the program on a terminal of its own."""
    return pexpect.spawn(
        sys.executable,
        [*_PROGRAM, *arguments],
        env=environment(TERM="xterm", **more),
        timeout=SECONDS,
        encoding="utf-8",
        dimensions=(rows, 100),
    )


def end_of(terminal: Any) -> int:
    """Wait for the program's end, and give its exit status."""
    terminal.expect(pexpect.EOF)
    terminal.close()
    status: int = terminal.exitstatus
    return status
