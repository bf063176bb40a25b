"""Receives nothing; hands on the struct that all kinds of devices are told in."""

from typing import Literal

from msgspec import Struct

DeviceType = Literal["gpu", "cpu", "rbln"]


class Device(Struct, frozen=True, kw_only=True):
    """A device that can run a model.

    `name` is what requests and settings call it: `gpu:0`, `cpu`, `rbln:0`. Memory is in bytes, 0
    where it is not known. The other fields are there where they mean something: for GPUs the
    compute capability (`9.0`), the versions of the driver and of its CUDA, and the id that
    `CUDA_VISIBLE_DEVICES` takes; for the CPU how many cores this process may use.
    """

    name: str
    type: DeviceType
    index: int
    vendor: str
    model: str
    memory_total: int = 0
    memory_free: int = 0
    compute_capability: str | None = None
    driver_version: str | None = None
    cuda_version: str | None = None
    uuid: str | None = None
    cores: float | None = None
