"""Receives the name of a device; hands on the device of this machine, and the list of all.

Nothing here imports an engine, nor makes a context on a GPU.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Collection, Sequence

from inferneo_core.errors import InvalidRequest, ServerError
from inferneo_server.backends import device_types
from inferneo_server.environment import visible_gpus
from inferneo_server.hardware.device import Device, DeviceType
from inferneo_server.hardware.nvidia import gpus, read_nvml
from inferneo_server.hardware.processors import cpu
from inferneo_server.hardware.rebellions import npus

__all__ = ["Device", "DeviceType", "Inventory", "choose", "devices", "devices_now", "find_device"]

# How long a reading counts as new: free memory changes, and drivers answer slowly.
KEPT_SECONDS = 1.0
MAX_WAIT_SECONDS = 5.0


class Inventory:
    """The devices of this machine, read again after a second.

    Args:
        read: reads them all; may take its time, and is called by one thread at a time.
    """

    def __init__(self, read: Callable[[], list[Device]]) -> None:
        self._read = read
        self._lock = threading.Lock()
        self._found: list[Device] = []
        self._read_at = float("-inf")
        self._reading: asyncio.Task[list[Device]] | None = None

    def devices(self) -> list[Device]:
        """All devices, GPUs first. May block for tens of milliseconds, at the first call longer."""
        with self._lock:
            if not self._fresh:
                self._found = self._read()
                self._read_at = time.monotonic()
            return self._found

    async def devices_now(self) -> list[Device]:
        """The same, read in a thread.

        Raises:
            ServerError: a driver does not answer.
        """
        if self._fresh:
            return self._found
        # One reading for all who ask: a driver that hangs must not take a thread from each.
        if self._reading is None or self._reading.done():
            self._reading = asyncio.create_task(asyncio.to_thread(self.devices))
        try:
            async with asyncio.timeout(MAX_WAIT_SECONDS):
                return await asyncio.shield(self._reading)
        except TimeoutError:
            raise ServerError("A driver of a device does not answer") from None

    @property
    def _fresh(self) -> bool:
        return time.monotonic() - self._read_at < KEPT_SECONDS


def read_devices() -> list[Device]:
    """All devices of this machine: GPUs, NPUs, and the CPU last."""
    return [*gpus(read_nvml(), visible_gpus()), *npus(), cpu()]


_inventory = Inventory(read_devices)
devices = _inventory.devices
devices_now = _inventory.devices_now


def find_device(name: str, engine: str | None = None) -> Device:
    """The device of that name. Blocks as `devices` does: call it in a thread.

    Args:
        name: `gpu:1`, `cpu`, `rbln:0`; also `cuda:1` and `cpu:0`; a type alone is its first one.
            `auto` is the first GPU or NPU that the engine can use, else the CPU.
        engine: the engine that is to use it; None is any that is installed.

    Raises:
        InvalidRequest: there is none; the message lists those that are there.
    """
    return choose(name, devices(), device_types(engine))


def choose(name: str, found: Sequence[Device], usable: Collection[DeviceType]) -> Device:
    """The device of that name among those that were found; `auto` takes a usable one."""
    wanted = name.strip().lower()
    if wanted == "auto":
        return next(
            (device for device in found if device.type in usable),
            next(device for device in found if device.type == "cpu"),
        )
    kind, _, index = wanted.partition(":")
    kind = "gpu" if kind == "cuda" else kind
    for device in found:
        if device.type == kind and (index or "0") == str(device.index):
            return device
    names = ", ".join(device.name for device in found)
    raise InvalidRequest(
        f"There is no device '{name}' here. There are: {names}",
        param="device",
        code="device_not_found",
    )
