"""Receives nothing; hands on each engine, started, with the loop that it lives in."""

import asyncio
import gc
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from inferneo_server.devices import find_device
from inferneo_server.engines.base import Engine
from inferneo_server.engines.making import make_engine
from inferneo_server.settings import load_settings
from tests import sharing

ENGINE_ARGS = {name: {"max_model_len": 1024} for name in ("simulated", "torch", "vllm")}


@pytest.fixture(scope="session")
def runner() -> asyncio.Runner:
    """One event loop for all engines: an engine belongs to the loop that started it."""
    return sharing.enter("contract", asyncio.Runner())


@pytest.fixture(scope="session", params=["simulated", "torch", "vllm"])
def engine(request: pytest.FixtureRequest, runner: asyncio.Runner) -> Engine:
    """An engine that has been started."""
    return sharing.enter("contract", started(request.param, runner))


@contextmanager
def started(name: str, runner: asyncio.Runner) -> Iterator[Engine]:
    """An engine, for as long as the block lasts."""
    settings = load_settings(engine=name, engine_args=ENGINE_ARGS[name])
    with warnings.catch_warnings():
        # Those of vLLM's and its parts' own code are not ours to mend.
        warnings.simplefilter("ignore")
        engine = make_engine(settings.model_specs[0], find_device("cpu"))
        runner.run(engine.start())
    yield engine
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        runner.run(engine.aclose())
        # vLLM leaves an open context of zmq behind, which complains wherever it is collected.
        gc.collect()
    assert engine.running == 0
