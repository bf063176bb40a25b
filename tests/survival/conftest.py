"""Receives nothing; hands on a server that writes slowly enough to be cut off from."""

from collections.abc import Iterator

import pytest

from tests.servers import RunningServer, running_server

WRITING_FLAGS = (
    "--engine=simulated",
    "--engine-args=token_seconds=0.01",
    # The first token waits for a comment or two.
    "--engine-args=first_token_seconds=0.1",
    "--keep-alive-seconds=0.04",
    "--repeat-seconds=1",
    "--no-access-log",
)


@pytest.fixture(scope="session")
def writing_server() -> Iterator[RunningServer]:
    """The simulated engine, at a hundred tokens a second; it has nothing to complain of."""
    with running_server(*WRITING_FLAGS) as server:
        yield server
    assert "Traceback" not in server.log and "ERROR" not in server.log, server.log


@pytest.fixture(scope="session")
def fast_server() -> Iterator[RunningServer]:
    """An engine that writes as fast as it is read."""
    with running_server("--engine=simulated", "--repeat-seconds=1", "--no-access-log") as server:
        yield server
    assert "Traceback" not in server.log and "ERROR" not in server.log, server.log


ABUSED_FLAGS = (
    "--engine=simulated",
    "--engine-args=token_seconds=0.01",
    "--repeat-seconds=1",
)


@pytest.fixture(scope="session")
def abused_server() -> Iterator[RunningServer]:
    """A server that is sent what no client should send, and takes it without a complaint."""
    with running_server(*ABUSED_FLAGS) as server:
        yield server
    assert "Traceback" not in server.log and "ERROR" not in server.log, server.log
