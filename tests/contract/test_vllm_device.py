"""Proves where vLLM's engines compute on CPUs, and that nothing else is told of it."""

import os
from typing import Any

import pytest

from inferneo_server.model_spec import EMBEDDED_MODEL, source_of

# Of the libraries that vLLM is made of.
pytestmark = pytest.mark.filterwarnings("ignore")


def executor(**given: Any) -> tuple[str, bool]:
    """What runs a model with such arguments, and whether its start tells OpenMP its threads."""
    from vllm.engine.arg_utils import AsyncEngineArgs

    from inferneo_server.engines.vllm_device import platform_defaults, without_worker

    model = {"model": source_of(EMBEDDED_MODEL), "max_model_len": 1024}
    arguments = AsyncEngineArgs(**platform_defaults() | model | given)
    config = arguments.create_engine_config()
    before = dict(os.environ)
    with without_worker(config, arguments):
        told = "OMP_NUM_THREADS" in os.environ
    assert dict(os.environ) == before
    backend = config.parallel_config.distributed_executor_backend
    return backend if isinstance(backend, str) else backend.__name__, told


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({}, ("UniProcExecutor", True)),
        ({"distributed_executor_backend": "mp"}, ("mp", False)),
        ({"tensor_parallel_size": 2}, ("mp", False)),
    ],
    ids=["alone", "as-asked", "several"],
)
def test_one_worker_is_its_engines_own_process(
    given: dict[str, Any], wanted: tuple[str, bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("OMP_NUM_THREADS", "VLLM_CPU_OMP_THREADS_BIND"):
        monkeypatch.delenv(name, raising=False)
    assert executor(**given) == wanted
