"""Proves how what the driver says of GPUs is told, and which of them engines see."""

import time

import pytest

from inferneo_server.hardware.nvidia import Reading, gpus, read_nvml

# As an H200 and an RTX 5090 answer.
H200 = Reading(
    uuid="GPU-11111111-aaaa",
    model="NVIDIA H200",
    memory_total=150_754_820_096,
    memory_free=150_213_754_880,
    capability=(9, 0),
    driver="580.95.05",
    cuda_driver=13000,
)
RTX = Reading(
    uuid="GPU-22222222-bbbb",
    model="NVIDIA GeForce RTX 5090",
    memory_total=34_190_917_632,
    memory_free=1,
    capability=(12, 0),
    driver="550.54.14",
    cuda_driver=12040,
)
SILENT = Reading(
    uuid="",
    model="NVIDIA GPU",
    memory_total=0,
    memory_free=0,
    capability=None,
    driver=None,
    cuda_driver=None,
)


def test_a_gpu_is_told_with_its_memory_and_versions() -> None:
    (found,) = gpus([H200])

    assert (found.name, found.type, found.index) == ("gpu:0", "gpu", 0)
    assert (found.vendor, found.model, found.uuid) == ("NVIDIA", "NVIDIA H200", H200.uuid)
    assert (found.memory_total, found.memory_free) == (H200.memory_total, H200.memory_free)
    assert (found.compute_capability, found.driver_version) == ("9.0", "580.95.05")
    assert found.cuda_version == "13.0"


def test_the_version_of_cuda_has_its_minor_number() -> None:
    assert gpus([RTX])[0].cuda_version == "12.4"


def test_what_a_driver_does_not_say_is_left_out() -> None:
    (found,) = gpus([SILENT])

    assert (found.compute_capability, found.driver_version, found.cuda_version) == (None,) * 3
    assert found.uuid is None


@pytest.mark.parametrize(
    ("visible", "models"),
    [
        (None, ["H200", "5090"]),
        ("0,1", ["H200", "5090"]),
        ("1,0", ["5090", "H200"]),
        (" 1 ", ["5090"]),
        ("GPU-2222", ["5090"]),
        ("GPU-22222222-bbbb,0", ["5090", "H200"]),
        ("", []),
        ("-1", []),
        ("7,0", []),
        ("0,7,1", ["H200"]),
        ("GPU-", []),  # it could be either
    ],
)
def test_engines_see_the_gpus_that_the_variable_names_numbered_anew(
    visible: str | None, models: list[str]
) -> None:
    found = gpus([H200, RTX], visible)

    assert [device.model.split()[-1] for device in found] == models
    assert [device.name for device in found] == [f"gpu:{index}" for index in range(len(models))]


def test_a_machine_without_a_driver_says_so_at_once() -> None:
    started = time.monotonic()
    found = read_nvml()

    if not found:
        assert time.monotonic() - started < 0.5
    assert all(reading.model for reading in found)
