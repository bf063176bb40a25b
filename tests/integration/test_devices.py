"""What a client sees of the machine: its devices, its GPUs, and what could run models on them."""

import time

import httpx

from inferneo_server.devices import devices
from tests.servers import RunningServer

MAX_SECONDS = 0.05


def test_the_status_has_the_published_fields(simulated_server: RunningServer) -> None:
    told = httpx.get(f"{simulated_server.url}/v1/devices/status").json()

    assert told["status"] == "ok"
    assert (told["current_device"], told["current_backend"]) == ("cpu:0", "simulated")
    cpu = told["available_devices"][-1]
    assert (cpu["device_type"], cpu["device_id"]) == ("cpu", 0)
    assert cpu["name"] and cpu["vendor"]
    assert 0 < cpu["memory_free_gb"] <= cpu["memory_total_gb"]
    assert {backend["name"] for backend in told["available_backends"]} >= {"gpu", "cpu"}
    for backend in told["available_backends"]:
        assert isinstance(backend["available"], bool)
        assert backend["display_name"] and backend["device_type"].isupper()
        assert backend["available"] or backend["reason"]
        assert not backend["available"] or backend["version"]


def test_the_gpus_have_the_published_fields(simulated_server: RunningServer) -> None:
    answer = httpx.get(f"{simulated_server.url}/v1/gpu/info")

    gpus = answer.json()["gpus"]
    assert answer.status_code == 200
    assert len(gpus) == len([device for device in devices() if device.type == "gpu"])
    for gpu in gpus:
        assert gpu.keys() >= {"id", "name", "is_nvidia_5090", "is_nvidia_4090"}
        assert gpu["total_memory_gb"] >= gpu["free_memory_gb"] >= 0
        assert all(gpu[f"{what}"] for what in ("driver_version", "cuda_version"))


def test_the_status_comes_quickly(simulated_server: RunningServer) -> None:
    with httpx.Client(base_url=simulated_server.url) as http:
        http.get("/v1/devices/status")
        seconds = []
        for _ in range(20):
            started = time.perf_counter()
            http.get("/v1/devices/status")
            seconds.append(time.perf_counter() - started)

    assert sorted(seconds)[10] < MAX_SECONDS


def test_the_machine_is_told_to_those_with_a_key_only(keyed_server: RunningServer) -> None:
    for path in ("/v1/devices/status", "/v1/gpu/info"):
        assert httpx.get(f"{keyed_server.url}{path}").status_code == 401
