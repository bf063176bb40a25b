"""What any HTTP client sees of models that are loaded, moved and unloaded while the server runs."""

import json
import os
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from inferneo_core import EventDecoder
from tests.servers import RunningServer, running_server

CONFIG = """
engine: simulated
aliases: [gpt2]
models:
  emb:
    engine_args: {tasks: [embed]}
    aliases: [text-embedding-3-small]
  kept: {load: on_request}
"""
QUESTION = [{"role": "user", "content": "Hello"}]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    config = tmp_path_factory.mktemp("models") / "config.yaml"
    config.write_text(CONFIG)
    with running_server("--config", str(config), "--drain-seconds", "1") as server:
        yield server


@pytest.fixture
def http(server: RunningServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=30) as client:
        yield client


def ask(http: httpx.Client, model: str | None = None, **fields: Any) -> httpx.Response:
    named = {} if model is None else {"model": model}
    body = {"messages": QUESTION, "max_tokens": 3, **named, **fields}
    return http.post("/v1/chat/completions", json=body)


def load(http: httpx.Client, model: str, **fields: Any) -> httpx.Response:
    return http.post("/v1/models/load", json={"model": model, **fields})


def events(answer: httpx.Response) -> list[Any]:
    assert answer.headers["content-type"].startswith("text/event-stream")
    found = EventDecoder().feed(answer.content)
    assert found[-1].data == "[DONE]"
    return [json.loads(event.data) for event in found[:-1]]


def refusal(answer: httpx.Response) -> tuple[int, str, str | None]:
    error = answer.json()["error"]
    assert "Traceback" not in answer.text
    return answer.status_code, error["code"], error["param"]


def test_models_that_can_be_asked_for_are_listed_with_how_they_stand(http: httpx.Client) -> None:
    listed = {each["id"]: each for each in http.get("/v1/models").json()["data"]}

    assert set(listed) == {"inferneo-tiny", "emb"}
    assert listed["inferneo-tiny"]["status"] == "ready"
    assert listed["inferneo-tiny"]["aliases"] == ["gpt2"]
    for each in listed.values():
        assert (each["object"], each["permission"], each["parent"]) == ("model", [], None)
        assert (each["root"], each["owned_by"]) == (each["id"], "inferneo")
    assert http.get("/v1/models/gpt2").json()["id"] == "inferneo-tiny"


def test_an_answer_names_the_model_and_not_its_alias(http: httpx.Client) -> None:
    assert ask(http, "gpt2").json()["model"] == "inferneo-tiny"
    texts = {"model": "text-embedding-3-small", "input": "Hello"}
    assert http.post("/v1/embeddings", json=texts).json()["model"] == "emb"
    assert refusal(ask(http, "emb")) == (400, "model_not_supported", "model")


def test_a_model_with_slashes_in_its_id_comes_and_goes(http: httpx.Client) -> None:
    loaded = load(http, "org/m", engine_args={"max_model_len": 99}, idle_seconds=500)

    assert loaded.status_code == 200
    told = loaded.json()
    assert (told["id"], told["object"], told["status"]) == ("org/m", "model.status", "ready")
    assert (told["device"], told["max_model_len"], told["idle_seconds"]) == ("cpu:0", 99, 500)
    assert told["tasks"] == ["embed", "generate"]
    assert http.get("/v1/models/org/m").json()["max_model_len"] == 99
    assert ask(http, "org/m").json()["model"] == "org/m"
    assert http.post("/v1/models/org/m/unload").json()["status"] == "unloaded"
    assert refusal(http.get("/v1/models/org/m")) == (404, "model_not_found", "model")


def test_a_load_is_told_by_events_that_end_with_how_the_model_stands(http: httpx.Client) -> None:
    told = events(load(http, "slow", engine_args={"start_seconds": 1.2}, stream=True))

    assert [each["object"] for each in told[:-1]] == ["model.progress"] * (len(told) - 1)
    assert len(told) >= 3
    for each in told[:-1]:
        assert each.keys() == {"id", "object", "status", "seconds", "message"}
        assert each["id"] == "slow"
    assert told[-2]["seconds"] > told[0]["seconds"]
    assert (told[-1]["object"], told[-1]["status"]) == ("model.status", "ready")
    assert http.post("/v1/models/slow/unload", json={"force": True}).status_code == 200


def test_a_load_that_fails_ends_in_an_error_and_hurts_nobody(http: httpx.Client) -> None:
    broken = {"start_error": "no weights at /usr/lib/python3/site-packages/x/y.py"}
    told = load(http, "broken", engine_args=broken)

    assert refusal(told) == (400, "model_load_failed", "model")
    assert "no weights at y.py" in told.text
    assert "site-packages" not in told.text
    (*_, last) = events(load(http, "broken", engine_args=broken, stream=True))
    assert last["error"]["code"] == "model_load_failed"
    assert ask(http).status_code == 200
    assert http.get("/ready").status_code == 200


def test_two_callers_share_one_load_and_a_new_request_waits_for_it(http: httpx.Client) -> None:
    answers: list[httpx.Response] = []
    arguments = {"start_seconds": 0.5}

    def second() -> None:
        answers.append(load(http, "shared", engine_args=arguments))

    threads = [threading.Thread(target=second) for _ in range(2)]
    loads = 'inferneo_model_load_seconds_count{outcome="loaded"} '

    def loaded() -> float:
        lines = http.get("/metrics").text.splitlines()
        return next((float(line.removeprefix(loads)) for line in lines if loads in line), 0.0)

    before = loaded()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert [answer.status_code for answer in answers] == [200, 200]
    assert loaded() == before + 1
    assert ask(http, "shared").status_code == 200
    assert http.post("/v1/models/shared/unload").status_code == 200


def test_a_model_that_waits_for_an_administrator_says_so(http: httpx.Client) -> None:
    refused = ask(http, "kept")
    assert refusal(refused) == (503, "model_not_loaded", None)
    assert int(refused.headers["retry-after"]) >= 1
    assert load(http, "kept").json()["load"] == "on_request"
    assert ask(http, "kept").status_code == 200
    assert http.post("/v1/models/kept/unload").status_code == 200
    assert ask(http, "kept").status_code == 503


def test_a_busy_model_is_unloaded_by_force_alone(http: httpx.Client, server: RunningServer) -> None:
    slow = {"token_seconds": 0.05, "words": 10_000}
    assert load(http, "busy", engine_args=slow).status_code == 200
    body = {"model": "busy", "messages": QUESTION, "stream": True, "max_tokens": 10_000}
    with httpx.stream("POST", f"{server.url}/v1/chat/completions", json=body, timeout=30) as stream:
        lines = stream.iter_lines()
        next(lines)
        assert refusal(http.post("/v1/models/busy/unload")) == (409, "model_busy", "model")
        assert http.post("/v1/models/busy/unload", json={"force": True}).status_code == 200
        assert "engine_unavailable" in "".join(lines)
    assert ask(http).status_code == 200


def test_a_model_moves_where_it_is_at_once_and_to_no_device_that_is_not_there(
    http: httpx.Client,
) -> None:
    assert http.post("/v1/devices/switch", json={"device": "cpu"}).json() == {
        "success": True,
        "previous_device": "cpu:0",
        "current_device": "cpu:0",
        "message": "Already on cpu:0",
    }
    refused = http.post("/v1/devices/switch", json={"device": "rbln:7"})
    assert refusal(refused) == (400, "device_not_found", "device")
    assert "cpu" in refused.text
    assert refusal(load(http, "x", device="rbln:7")) == (400, "device_not_found", "device")


@pytest.mark.parametrize(
    ("path", "body", "status", "param"),
    [
        ("/v1/models/load", {}, 400, "model"),
        ("/v1/models/load", {"model": ""}, 400, "model"),
        ("/v1/models/load", {"model": 5}, 400, "model"),
        ("/v1/models/load", {"model": "/"}, 400, "name"),
        ("/v1/models/load", {"model": "a", "engine": "b"}, 400, "engine"),
        ("/v1/models/load", {"model": "a", "engine_args": []}, 400, "engine_args"),
        ("/v1/models/load", {"model": "a", "engine_args": {"b": 1}}, 400, "model"),
        ("/v1/models/load", {"model": "a", "idle_seconds": 0}, 400, "idle_seconds"),
        ("/v1/models/load", {"model": "a", "name": "gpt2"}, 400, "name"),
        ("/v1/models/load", {"model": "a", "aliases": ["emb"]}, 400, "aliases"),
        ("/v1/models/nobody/unload", {}, 404, "model"),
        ("/v1/models/emb/unload", {"force": 5}, 400, "force"),
        ("/v1/models/emb/sleep", {"level": 3}, 400, "level"),
        ("/v1/models/kept/wake", {}, 400, "model"),
        ("/v1/models/emb", {}, 404, None),
        ("/v1/models/unload", {}, 404, None),
        ("/v1/models/emb/dance", {}, 404, None),
        ("/v1/devices/switch", {}, 400, "device"),
        ("/v1/devices/switch", {"device": "cpu", "model": "nobody"}, 404, "model"),
    ],
)
def test_what_does_not_fit_is_refused_with_its_name(
    http: httpx.Client, path: str, body: Any, status: int, param: str | None
) -> None:
    told = refusal(http.post(path, json=body))
    assert (told[0], told[2]) == (status, param)


def test_what_is_remembered_is_there_after_a_restart(tmp_path: Path) -> None:
    state = tmp_path / "state"
    flags = ("--engine=simulated", f"--state-dir={state}")
    with running_server(*flags) as first:
        kept = {"model": "org/kept", "persist": True, "engine_args": {"words": 2}}
        assert httpx.post(f"{first.url}/v1/models/load", json=kept).status_code == 200
    assert stat.S_IMODE(os.stat(state / "models.json").st_mode) == 0o600

    with running_server(*flags) as second, httpx.Client(base_url=second.url) as http:
        asked = {"model": "org/kept", "prompt": "Hello"}
        answer = http.post("/v1/completions", json=asked).json()
        assert answer["usage"]["completion_tokens"] == 2
        gone = http.post("/v1/models/org/kept/unload", json={"persist": True})
        assert gone.status_code == 200
    assert json.loads((state / "models.json").read_text()) == {"models": {}}
