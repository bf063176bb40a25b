"""Receives the LoRA adapters of a model; hands on vLLM's arguments for them, and loads them."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, get_args

import msgspec
from vllm.config.lora import LoRAConfig, MaxLoRARanks
from vllm.lora.request import LoRARequest
from vllm.platforms import current_platform
from vllm.v1.engine.async_llm import AsyncLLM

from inferneo_server.engines.base import EngineStartError
from inferneo_server.engines.vllm_errors import start_failure

# Each takes memory of the device for the largest rank of all.
MAX_SLOTS = 8

# What vLLM's processes put around a failure on its way here.
_WRAPPING = re.compile(
    "Call to add_lora method failed: |Worker failed with error |, please check the stack trace.*"
)


class _AdapterConfig(msgspec.Struct, frozen=True):
    """What PEFT's `adapter_config.json` says of ranks."""

    r: int
    rank_pattern: dict[str, int] | None = None


def adapter_requests(adapters: Mapping[str, str]) -> dict[str, LoRARequest]:
    """What vLLM takes for each adapter, by its name.

    Args:
        adapters: Hugging Face ids or local paths, by names.
    """
    return {
        name: LoRARequest(lora_name=name, lora_int_id=number, lora_path=_source(path))
        for number, (name, path) in enumerate(adapters.items(), start=1)
    }


def adapter_arguments(adapters: Mapping[str, str], given: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments that fit the adapters; whatever the operator gives wins.

    Args:
        adapters: as in `adapter_requests`.
        given: what the operator gives.

    Raises:
        EngineStartError: the operator leaves no room for them, or one of them cannot be read.
    """
    if not adapters:
        return {}
    if not given.get("enable_lora", True):
        raise EngineStartError("lora_modules need enable_lora, which engine_args turn off")
    slots = _slots(len(adapters), given.get("max_loras"))
    return {
        "enable_lora": True,
        "max_lora_rank": _max_rank(adapters),
        "max_loras": slots,
        # All stay in memory: a file that is gone, or spoilt, ends no running engine.
        "max_cpu_loras": max(slots, len(adapters)),
    }


def _slots(adapters: int, given: int | None) -> int:
    """How many adapters a batch has places for."""
    if not current_platform.is_cpu():
        # With fewer than there are, requests for one wait until none of another runs.
        return min(adapters, MAX_SLOTS) if given is None else given
    # On a CPU, vLLM has requests for the model alone use the last place, instead of none: it must
    # stay empty. See https://github.com/vllm-project/vllm/pull/48421
    least = adapters + 1
    if given is not None and given < least:
        raise EngineStartError(
            f"max_loras must be {least} or more for {adapters} adapters on a CPU: with fewer, vLLM "
            "writes with an adapter where none is asked for"
        )
    return least if given is None else given


async def load_adapters(
    llm: AsyncLLM, requests: Iterable[LoRARequest], *, again: bool = False
) -> None:
    """Load adapters into an engine, `again` in the place of what it has of them.

    Raises:
        EngineStartError: vLLM refuses one.
    """
    for request in requests:
        try:
            await llm.add_lora(msgspec.structs.replace(request, load_inplace=again))
        except Exception as error:
            reason = _WRAPPING.sub("", start_failure(error))
            raise EngineStartError(
                f"the adapter '{request.lora_name}' cannot be loaded: {reason}"
            ) from error


def _source(path: str) -> str:
    folder = Path(path).expanduser()
    # Absolute: vLLM's processes may work elsewhere.
    return str(folder.absolute()) if folder.is_dir() else path


def _max_rank(adapters: Mapping[str, str]) -> int:
    """The least of the ranks that vLLM allows which holds all adapters; of those that are not here
    its own default is expected."""
    needed = max(_rank(name, Path(_source(path))) for name, path in adapters.items())
    allowed: tuple[int, ...] = get_args(MaxLoRARanks)
    return next((rank for rank in allowed if rank >= needed), allowed[-1])


def _rank(name: str, folder: Path) -> int:
    if not folder.is_dir():
        return int(LoRAConfig.max_lora_rank)
    file = folder / "adapter_config.json"
    try:
        config = msgspec.json.decode(file.read_bytes(), type=_AdapterConfig)
    except OSError:
        raise EngineStartError(f"the adapter '{name}' has no {file}") from None
    except msgspec.DecodeError as error:
        raise EngineStartError(f"the adapter '{name}' has a broken {file}: {error}") from None
    return max(config.r, *(config.rank_pattern or {}).values(), 1)
