"""Receives a condition; hands on once it holds: a bounded wait for what a server does by itself."""

import time
from collections.abc import Callable

from tests.servers import RunningServer

WAIT_SECONDS = 20.0  # below the simulated engine's silence: see `slow_server`


def wait_until(condition: Callable[[], bool], *, seconds: float = WAIT_SECONDS) -> None:
    """Ask until the answer is yes. The condition asks a server: that is pause enough."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"Not so within {seconds:g} s"


def wait_running(server: RunningServer, choices: int, *, seconds: float = WAIT_SECONDS) -> None:
    """Wait until the engine works on just so many choices."""
    wait_until(lambda: server.metric("inferneo_choices_running") == choices, seconds=seconds)
