"""Receives nothing; hands on the scripted servers, one of each kind for the session."""

from collections.abc import Iterator

import pytest

from tests.client.scripted import ScriptedServer, scripted_server


@pytest.fixture(scope="session")
def _ours() -> Iterator[ScriptedServer]:
    with scripted_server(ours=True) as server:
        yield server


@pytest.fixture(scope="session")
def _other() -> Iterator[ScriptedServer]:
    with scripted_server(ours=False) as server:
        yield server


@pytest.fixture
def ours(_ours: ScriptedServer) -> Iterator[ScriptedServer]:
    """A server that joins requests, and lets streams be picked up."""
    yield from _fresh(_ours)


@pytest.fixture
def other(_other: ScriptedServer) -> Iterator[ScriptedServer]:
    """Any other server."""
    yield from _fresh(_other)


def _fresh(server: ScriptedServer) -> Iterator[ScriptedServer]:
    server.reset()
    yield server
    server.answer, server.hold = None, None
    assert server.wait(lambda: server.open == 0), "the test has left a connection open"
