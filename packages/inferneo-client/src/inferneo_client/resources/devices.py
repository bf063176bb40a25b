"""Receives the names of devices; hands on what the server tells of them, and where models run."""

from typing import TYPE_CHECKING

from inferneo_client._server_requests import device_status, device_switch, gpu_info
from inferneo_client.types.devices import DeviceStatus, DeviceSwitch, GpuInfo

if TYPE_CHECKING:
    from inferneo_client._async import AsyncInferneo
    from inferneo_client._sync import Inferneo


class Devices:
    """`client.devices`."""

    def __init__(self, client: "Inferneo") -> None:
        self._client = client

    def status(self) -> DeviceStatus:
        """List the devices and the engines that can run models on them. Raises `ApiError`."""
        return self._client._ask(device_status(self._client._options))

    def switch(self, device: str, *, model: str | None = None) -> DeviceSwitch:
        """Move a model to another device; where it is there already, nothing happens.

        Args:
            device: `gpu:0`, `cpu`, `rbln:0`, `auto`, as `status()` names them.
            model: which one; left out, the default model.

        Raises:
            InvalidRequest: there is no such device; the message names those that are there.
            ApiError: see the tree of errors.
        """
        return self._client._ask(device_switch(self._client._options, device, model))

    def gpu_info(self) -> GpuInfo:
        """Describe the GPUs. Raises `ApiError`."""
        return self._client._ask(gpu_info(self._client._options))


class AsyncDevices:
    """`client.devices`."""

    def __init__(self, client: "AsyncInferneo") -> None:
        self._client = client

    async def status(self) -> DeviceStatus:
        """List the devices and the engines that can run models on them. Raises `ApiError`."""
        return await self._client._ask(device_status(self._client._options))

    async def switch(self, device: str, *, model: str | None = None) -> DeviceSwitch:
        """Move a model to another device; where it is there already, nothing happens.

        Args:
            device: `gpu:0`, `cpu`, `rbln:0`, `auto`, as `status()` names them.
            model: which one; left out, the default model.

        Raises:
            InvalidRequest: there is no such device; the message names those that are there.
            ApiError: see the tree of errors.
        """
        return await self._client._ask(device_switch(self._client._options, device, model))

    async def gpu_info(self) -> GpuInfo:
        """Describe the GPUs. Raises `ApiError`."""
        return await self._client._ask(gpu_info(self._client._options))
