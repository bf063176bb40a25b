"""Receives the shared servers; hands on each in turn, and servers that are slow or want a key."""

from collections.abc import Iterator
from typing import cast

import pytest

from tests.servers import RunningServer, running_server

KEY = "sk-test"

# Longer than any wait of a test: what ends earlier was ended.
SLOW_FLAGS = (
    "--engine=simulated",
    "--engine-args=first_token_seconds=60",
    "--engine-args=token_seconds=0.5",
    "--keep-alive-seconds=0.2",
    "--drain-seconds=0",
)


@pytest.fixture(scope="session", params=["simulated", "vllm"])
def server(request: pytest.FixtureRequest) -> RunningServer:
    """Each engine behind the same routes."""
    return cast("RunningServer", request.getfixturevalue(f"{request.param}_server"))


@pytest.fixture(scope="session")
def slow_server() -> Iterator[RunningServer]:
    """A simulated engine that lets a client wait for its tokens."""
    with running_server(*SLOW_FLAGS) as server:
        yield server


@pytest.fixture(scope="session", params=["slow", "vllm"])
def busy_server(request: pytest.FixtureRequest) -> RunningServer:
    """Each engine, where a long answer takes long."""
    return cast("RunningServer", request.getfixturevalue(f"{request.param}_server"))


@pytest.fixture(scope="session")
def keyed_server() -> Iterator[RunningServer]:
    """A server that wants `KEY`."""
    with running_server("--engine=simulated", f"--api-key={KEY}") as server:
        yield server


@pytest.fixture(scope="session")
def key() -> str:
    """The key of `keyed_server`."""
    return KEY
