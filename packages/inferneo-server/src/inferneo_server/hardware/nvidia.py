"""Receives nothing, or what NVML says; hands on the NVIDIA GPUs of this machine.

Source: https://docs.nvidia.com/deploy/nvml-api/. No CUDA context is made, so that it costs no
memory of a GPU.
"""

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

import pynvml
from msgspec import Struct

from inferneo_server.hardware.device import Device


class Reading(Struct, frozen=True, kw_only=True):
    """What NVML says of one GPU; memory in bytes, `cuda_driver` as in 13000 for 13.0."""

    uuid: str
    model: str
    memory_total: int
    memory_free: int
    capability: tuple[int, int] | None
    driver: str | None
    cuda_driver: int | None


def read_nvml() -> list[Reading]:
    """Ask the driver; no driver, or one that fails, is no GPU. May take tens of milliseconds."""
    try:
        # Counted by NVML itself: only the first call is slow.
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return []
    driver = _ask(pynvml.nvmlSystemGetDriverVersion)
    cuda_driver = _ask(pynvml.nvmlSystemGetCudaDriverVersion_v2)
    readings = []
    for index in range(_ask(pynvml.nvmlDeviceGetCount) or 0):
        # One GPU that has fallen off the bus must not hide the others.
        handle = _ask(pynvml.nvmlDeviceGetHandleByIndex, index)
        if handle is None:
            continue
        memory = _ask(pynvml.nvmlDeviceGetMemoryInfo, handle)
        capability = _ask(pynvml.nvmlDeviceGetCudaComputeCapability, handle)
        readings.append(
            Reading(
                uuid=_ask(pynvml.nvmlDeviceGetUUID, handle) or "",
                model=_ask(pynvml.nvmlDeviceGetName, handle) or "NVIDIA GPU",
                memory_total=memory.total if memory else 0,
                memory_free=memory.free if memory else 0,
                capability=tuple(capability) if capability else None,
                driver=driver,
                cuda_driver=cuda_driver,
            )
        )
    return readings


def _ask(question: Callable[..., Any], *arguments: Any) -> Any:
    """What NVML answers, or None: not every GPU can tell everything."""
    with contextlib.suppress(pynvml.NVMLError):
        return question(*arguments)
    return None


def gpus(readings: Sequence[Reading], visible: str | None = None) -> list[Device]:
    """The GPUs that engines see, numbered as engines number them.

    Args:
        readings: all GPUs of the machine, in the driver's order.
        visible: `CUDA_VISIBLE_DEVICES`, None where it is not set.
    """
    return [_device(index, reading) for index, reading in enumerate(_visible(readings, visible))]


def _device(index: int, reading: Reading) -> Device:
    capability, cuda = reading.capability, reading.cuda_driver
    return Device(
        name=f"gpu:{index}",
        type="gpu",
        index=index,
        vendor="NVIDIA",
        model=reading.model,
        memory_total=reading.memory_total,
        memory_free=reading.memory_free,
        compute_capability=f"{capability[0]}.{capability[1]}" if capability else None,
        driver_version=reading.driver,
        cuda_version=f"{cuda // 1000}.{cuda % 1000 // 10}" if cuda else None,
        uuid=reading.uuid or None,
    )


def _visible(readings: Sequence[Reading], visible: str | None) -> list[Reading]:
    """Those that `CUDA_VISIBLE_DEVICES` names, in its order, by number or by a part of the id.

    Source: CUDA C++ Programming Guide, "CUDA Environment Variables": what follows the first entry
    that names no GPU does not count.
    """
    if visible is None:
        return list(readings)
    chosen: list[Reading] = []
    for entry in (part.strip() for part in visible.split(",")):
        if entry.isdecimal():
            found = readings[int(entry) : int(entry) + 1]
        else:
            found = [reading for reading in readings if entry and reading.uuid.startswith(entry)]
        if len(found) != 1:
            break
        chosen.append(found[0])
    return chosen
