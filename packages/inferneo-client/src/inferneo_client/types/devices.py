"""Receives nothing; hands on what a server tells of its devices. Memory is in GiB, 0 if unknown.

Sources: the published pages of RM Abstract Layer and DeepInfer.
"""

from inferneo_client.types.answer import Answer
from inferneo_client.types.response import ResponseInfo


class Device(Answer, frozen=True, kw_only=True, gc=False):
    """A device; `device` is the name to ask for it by. A GPU tells the versions of its driver."""

    device: str = ""
    device_type: str = ""
    device_id: int = 0
    name: str = ""
    vendor: str = ""
    memory_total_gb: float = 0.0
    memory_free_gb: float = 0.0
    cores: float | None = None
    compute_capability: str | None = None
    driver_version: str | None = None
    cuda_version: str | None = None


class Backend(Answer, frozen=True, kw_only=True, gc=False):
    """A build of an engine: whether it can run models here, else why not, and what installs it."""

    name: str = ""
    display_name: str = ""
    available: bool = False
    device_type: str = ""
    engine: str | None = None
    version: str | None = None
    reason: str | None = None
    install: str | None = None


class DeviceStatus(Answer, frozen=True, kw_only=True, gc=False):
    """The devices and the engines of a server; what is current is the default model's."""

    status: str = ""
    current_device: str | None = None
    current_backend: str | None = None
    available_devices: list[Device] = []
    available_backends: list[Backend] = []
    response: ResponseInfo | None = None


class DeviceSwitch(Answer, frozen=True, kw_only=True, gc=False):
    """That a model has moved to another device."""

    success: bool = False
    previous_device: str = ""
    current_device: str = ""
    message: str = ""
    response: ResponseInfo | None = None


class Gpu(Answer, frozen=True, kw_only=True, gc=False):
    """A GPU; the versions are empty where its driver does not tell them."""

    id: int = 0
    name: str = ""
    total_memory_gb: float = 0.0
    free_memory_gb: float = 0.0
    compute_capability: str = ""
    driver_version: str = ""
    cuda_version: str = ""
    is_nvidia_5090: bool = False
    is_nvidia_4090: bool = False


class GpuInfo(Answer, frozen=True, kw_only=True, gc=False):
    """The GPUs of a server; none where it has none."""

    gpus: list[Gpu] = []
    response: ResponseInfo | None = None
