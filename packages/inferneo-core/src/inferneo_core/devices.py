"""Receives nothing; hands on the structs of `/v1/devices/status` and `/v1/gpu/info`.

Sources: the published pages of RM Abstract Layer and DeepInfer. Memory is in GiB, which both call
GB, and 0 where it is not known.
"""

from typing import Literal

from msgspec import UNSET, Struct, UnsetType


class DeviceInfo(Struct, frozen=True, kw_only=True):
    """A device; `device` is the name to ask for it by. A GPU tells the versions of its driver."""

    device: str
    device_type: Literal["gpu", "cpu", "rbln"]
    device_id: int
    name: str
    vendor: str
    memory_total_gb: float
    memory_free_gb: float
    cores: float | UnsetType = UNSET
    compute_capability: str | UnsetType = UNSET
    driver_version: str | UnsetType = UNSET
    cuda_version: str | UnsetType = UNSET


class BackendInfo(Struct, frozen=True, kw_only=True):
    """A build of an engine, and whether it can run models here.

    Where it cannot, `reason` says why, and `install` is the command that installs it, if that would
    help.
    """

    name: str
    display_name: str
    available: bool
    device_type: str
    engine: str
    version: str | UnsetType = UNSET
    reason: str | UnsetType = UNSET
    install: str | UnsetType = UNSET


class DeviceStatus(Struct, frozen=True, kw_only=True):
    """Answer of `GET /v1/devices/status`; what is current is the default model's."""

    status: Literal["ok"] = "ok"
    current_device: str
    current_backend: str
    available_devices: list[DeviceInfo]
    available_backends: list[BackendInfo]


class GpuInfo(Struct, frozen=True, kw_only=True):
    """A GPU; the versions are empty where its driver does not tell them."""

    id: int
    name: str
    total_memory_gb: float
    free_memory_gb: float
    compute_capability: str
    driver_version: str
    cuda_version: str
    is_nvidia_5090: bool
    is_nvidia_4090: bool


class GpuList(Struct, frozen=True, kw_only=True):
    """Answer of `GET /v1/gpu/info`."""

    gpus: list[GpuInfo]
