"""Receives questions about the machine; hands on its devices, and what can run models on them."""

from collections.abc import Sequence
from typing import Any

from litestar import get
from msgspec import UNSET

from inferneo_core.devices import BackendInfo, DeviceInfo, DeviceStatus, GpuInfo, GpuList
from inferneo_server.backends import Backend, backends
from inferneo_server.devices import Device, devices_now
from inferneo_server.transports.errors import error_responses
from inferneo_server.transports.requests import ApiRequest

GIB = 2**30


@get("/v1/devices/status", responses=error_responses(401, 403), tags=["Devices"])
async def device_status(request: ApiRequest) -> DeviceStatus:
    """List the devices of this machine and the engines that could run models on them."""
    found = await devices_now()
    current = request.service.registry.status()
    return DeviceStatus(
        current_device=current.device,
        current_backend=current.engine,
        available_devices=[describe_device(device) for device in found],
        available_backends=describe_backends(found),
    )


@get("/v1/gpu/info", responses=error_responses(401, 403), tags=["Devices"])
async def gpu_info() -> GpuList:
    """List the GPUs of this machine; none is an empty list."""
    found = await devices_now()
    return GpuList(gpus=[describe_gpu(device) for device in found if device.type == "gpu"])


def describe_device(device: Device) -> DeviceInfo:
    """A device as the route tells it."""
    return DeviceInfo(
        device=f"{device.type}:{device.index}",
        device_type=device.type,
        device_id=device.index,
        name=device.model,
        vendor=device.vendor,
        memory_total_gb=_gib(device.memory_total),
        memory_free_gb=_gib(device.memory_free),
        cores=UNSET if device.cores is None else device.cores,
        compute_capability=device.compute_capability or UNSET,
        driver_version=device.driver_version or UNSET,
        cuda_version=device.cuda_version or UNSET,
    )


def describe_backends(
    found: Sequence[Device], candidates: Sequence[Backend] | None = None
) -> list[BackendInfo]:
    """All engines, beside the devices that are there: what has no device is not available."""
    types = {device.type for device in found}
    return [
        _describe_backend(backend, backend.device_type in types)
        for backend in (backends() if candidates is None else candidates)
    ]


def _describe_backend(backend: Backend, has_device: bool) -> BackendInfo:
    reason = backend.reason
    if backend.installed and not has_device:
        reason = f"There is no {backend.device_type.upper()} here"
    return BackendInfo(
        name=backend.name,
        display_name=backend.display_name,
        available=backend.installed and has_device,
        device_type=backend.device_type.upper(),
        engine=backend.engine,
        version=backend.version or UNSET,
        reason=reason or UNSET,
        install=backend.install or UNSET,
    )


def describe_gpu(device: Device) -> GpuInfo:
    """A GPU as DeepInfer's page shows it."""
    return GpuInfo(
        id=device.index,
        name=device.model,
        total_memory_gb=_gib(device.memory_total),
        free_memory_gb=_gib(device.memory_free),
        compute_capability=device.compute_capability or "",
        driver_version=device.driver_version or "",
        cuda_version=device.cuda_version or "",
        is_nvidia_5090="RTX 5090" in device.model,
        is_nvidia_4090="RTX 4090" in device.model,
    )


def _gib(size: int) -> float:
    return round(size / GIB, 2)


handlers: list[Any] = [device_status, gpu_info]
