"""Receives nothing; hands on the servers that tests share: one of each kind for the session."""

from collections.abc import Iterator

import pytest

from tests.servers import RunningServer, running_server

# Small enough to start beside other work, and to make what does not fit easy to send.
VLLM_FLAGS = ("--engine-args", "max_model_len=2048", "--drain-seconds", "5")


@pytest.fixture(scope="session")
def vllm_server() -> Iterator[RunningServer]:
    """The embedded model on vLLM."""
    with running_server(*VLLM_FLAGS) as server:
        yield server


@pytest.fixture(scope="session")
def simulated_server() -> Iterator[RunningServer]:
    """The simulated engine: words without a model, at once."""
    with running_server("--engine", "simulated") as server:
        yield server
