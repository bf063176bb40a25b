"""The custom interface, devices and models by the client."""

import asyncio
import json
from typing import Any

import pytest
import trio

from inferneo_client import AsyncInferneo, Inferneo, RequestError, StreamInterruptedError
from tests.client.scripted import ScriptedServer, sse, whole
from tests.servers import RunningServer

TOKENS = [{"token": "Hel", "finished": False}, {"token": "lo", "finished": True}]


def events(*documents: dict[str, Any]) -> bytes:
    return b"".join(b"data: %b\n\n" % json.dumps(document).encode() for document in documents)


def test_a_stream_of_tokens_ends_with_the_finished_one(other: ScriptedServer) -> None:
    other.answer = sse(events(*TOKENS))
    with Inferneo(base_url=other.url) as client:
        stream = client.generate.create(prompt="Hi", stream=True)

        assert [(chunk.token, chunk.finished) for chunk in stream] == [("Hel", False), ("lo", True)]
        assert stream.final().text == "Hello"
    head, body = other.requests[-1]
    assert head.path == "/api/v1/generate/stream" and json.loads(body) == {"prompt": "Hi"}
    # Its events have no ids: the route refuses whoever asks for what can be picked up.
    assert "inferneo-resume-for" not in head.headers


def test_a_cut_stream_of_tokens_is_never_whole(other: ScriptedServer) -> None:
    other.answer = sse(events(TOKENS[0]))
    with Inferneo(base_url=other.url) as client, pytest.raises(StreamInterruptedError) as raised:
        client.generate.create(prompt="Hi", stream=True).final()

    assert raised.value.partial.text == "Hel"


def test_a_load_tells_its_progress_and_how_the_model_stands(other: ScriptedServer) -> None:
    progress = {"id": "m", "object": "model.progress", "status": "loading", "seconds": 0.5}
    status = {"id": "m", "object": "model.status", "status": "ready", "device": "cpu:0"}
    other.answer = sse(events({**progress, "message": "Reading"}, status) + b"data: [DONE]\n\n")
    with Inferneo(base_url=other.url) as client:
        stream = client.models.load("a/m", name="m", engine_args={"dtype": "auto"}, stream=True)
        found = list(stream)

        assert [(event.status, event.message) for event in found] == [
            ("loading", "Reading"),
            ("ready", ""),
        ]
        assert stream.final() == found[-1] and found[-1].device == "cpu:0"
    asked = {"model": "a/m", "name": "m", "engine_args": {"dtype": "auto"}, "stream": True}
    assert json.loads(other.requests[-1][1]) == asked


def test_what_failed_a_load_is_raised(other: ScriptedServer) -> None:
    told = {"error": {"message": "No such file", "code": "model_load_failed"}, "status": 400}
    other.answer = sse(events(told))
    with Inferneo(base_url=other.url) as client, pytest.raises(RequestError) as raised:
        client.models.load("m", stream=True).final()

    assert (raised.value.code, raised.value.status) == ("model_load_failed", 400)


def test_models_and_devices_are_changed_by_their_routes(other: ScriptedServer) -> None:
    other.answer = whole(200, b'{"id": "a/m", "status": "unloaded"}')
    with Inferneo(base_url=other.url) as client:
        assert client.models.unload("a/m", force=True).status == "unloaded"
        client.models.sleep("a/m", level=2)
        client.models.wake("a/m")
        client.devices.switch("gpu:0", model="m")

    sent = [(head.path, json.loads(body)) for head, body in other.requests]
    assert sent == [
        ("/v1/models/a/m/unload", {"force": True, "persist": False}),
        ("/v1/models/a/m/sleep", {"level": 2}),
        ("/v1/models/a/m/wake", {}),
        ("/v1/devices/switch", {"device": "gpu:0", "model": "m"}),
    ]


@pytest.mark.parametrize("run", [asyncio.run, trio.run], ids=["asyncio", "trio"])
def test_our_server_answers_prompts(run: Any, simulated_server: RunningServer) -> None:
    async def main() -> None:
        async with AsyncInferneo(base_url=f"{simulated_server.url}/v1") as client:
            answer = await client.generate.create(prompt="Hi", max_tokens=5)
            assert answer.text and answer.usage and answer.usage.completion_tokens == 5
            stream = await client.generate.create(prompt="Hi", max_tokens=5, stream=True)
            assert (await stream.final()).text == answer.text
            good, bad = await client.generate.batch(
                [{"prompt": "Hi", "max_tokens": 5}, {"prompt": "Hi", "max_tokens": -1}]
            )
            assert good.text == answer.text and good.error is None
            assert bad.error is not None and bad.error.code == "INVALID_REQUEST"

    run(main) if run is trio.run else run(main())


def test_our_server_lists_its_devices(simulated_server: RunningServer) -> None:
    with Inferneo(base_url=f"{simulated_server.url}/v1") as client:
        status = client.devices.status()

        assert "cpu" in {device.device_type for device in status.available_devices}
        assert all(backend.name for backend in status.available_backends)
        gpus = [device for device in status.available_devices if device.device_type == "gpu"]
        assert len(client.devices.gpu_info().gpus) == len(gpus)


def test_our_server_loads_and_unloads(simulated_server: RunningServer) -> None:
    with Inferneo(base_url=f"{simulated_server.url}/v1") as client:
        events = list(client.models.load("second", engine="simulated", stream=True))

        assert events[-1].status == "ready" and events[0].object == "model.progress"
        assert "second" in [model.id for model in client.models.list()]
        assert client.models.unload("second").status == "unloaded"
        switched = client.devices.switch("cpu")
        assert switched.success and switched.current_device.startswith("cpu")
