"""What any HTTP client sees of adapters, whatever route it takes."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from websockets.sync.client import connect as connect_socket

from tests.servers import RunningServer, running_server

FLAGS = ("--engine", "simulated", "--lora-modules", "sql=org/sql")
MESSAGES = [{"role": "user", "content": "Hello"}]
ROUTES: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"messages": MESSAGES, "max_tokens": 3},
    "/v1/completions": {"prompt": "Hello", "max_tokens": 3},
    "/v1/responses": {"input": "Hello", "max_output_tokens": 3},
    "/v1/messages": {"messages": MESSAGES, "max_tokens": 3},
}


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    with running_server(*FLAGS) as server:
        yield server


@pytest.fixture
def http(server: RunningServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=30) as client:
        yield client


def used(http: httpx.Client) -> dict[str, int]:
    rows = http.get("/v1/usage", params={"group_by": "model"}).json()["data"]
    return {row["model"]: row["requests"] for row in rows}


@pytest.mark.parametrize("path", ROUTES)
def test_an_answer_names_the_adapter_and_is_metered_by_it(http: httpx.Client, path: str) -> None:
    before = used(http).get("sql", 0)
    body = {"model": "sql", **ROUTES[path]}

    assert http.post(path, json=body).json()["model"] == "sql"
    streamed = http.post(path, json={**body, "stream": True}).text
    assert '"model":"sql"' in streamed
    assert "inferneo-tiny" not in streamed
    assert used(http)["sql"] == before + 2


def test_the_custom_interface_answers_by_adapters(http: httpx.Client) -> None:
    before = used(http).get("sql", 0)
    asked = {"prompt": "Hello", "max_tokens": 3}
    own = http.post("/api/v1/generate", json=asked)
    adapted = http.post("/api/v1/generate", json={**asked, "model": "sql"})

    assert (own.status_code, adapted.status_code) == (200, 200)
    assert own.json()["text"] != adapted.json()["text"]
    assert used(http)["sql"] == before + 1
    told = {each["name"]: each for each in http.get("/api/v1/models").json()["models"]}
    assert list(told) == ["inferneo-tiny", "sql"]
    assert (told["sql"]["loaded"], told["sql"]["format"]) == (True, "unknown")


def first_of(server: RunningServer, path: str, **fields: Any) -> Any:
    """What a WebSocket answers first."""
    with connect_socket(f"ws{server.url.removeprefix('http')}{path}") as socket:
        socket.send(json.dumps({"model": "sql", **ROUTES[path], **fields}))
        return json.loads(socket.recv(timeout=30))


def test_websockets_answer_by_adapters(server: RunningServer) -> None:
    assert first_of(server, "/v1/chat/completions", stream=False)["model"] == "sql"
    for generate in (True, False):
        event = first_of(server, "/v1/responses", type="response.create", generate=generate)
        assert event["response"]["model"] == "sql"


def test_an_adapter_is_told_with_its_model(http: httpx.Client) -> None:
    told = http.get("/v1/models/sql").json()

    assert (told["id"], told["parent"], told["root"]) == ("sql", "inferneo-tiny", "org/sql")
    assert [each["id"] for each in http.get("/v1/models").json()["data"]] == [
        "inferneo-tiny",
        "sql",
    ]
    unknown = http.post("/v1/completions", json={"model": "x", "prompt": "a"}).json()["error"]
    assert "'inferneo-tiny', 'sql'" in unknown["message"]


def test_a_model_is_loaded_with_adapters_unless_a_name_is_taken(http: httpx.Client) -> None:
    def load(adapters: dict[str, str]) -> httpx.Response:
        return http.post("/v1/models/load", json={"model": "org/m", "lora_modules": adapters})

    error = load({"sql": "a/b"}).json()["error"]
    assert (error["param"], error["code"]) == ("lora_modules", "invalid_request_error")
    assert load({"there": "/nowhere/there"}).json()["error"]["param"] == "lora_modules"
    assert load({"new": "a/b"}).status_code == 200
    assert http.get("/v1/models/new").json()["parent"] == "org/m"
    assert http.post("/v1/models/new/unload").status_code == 400
    assert http.post("/v1/models/org/m/unload").status_code == 200
    assert http.get("/v1/models/new").status_code == 404
