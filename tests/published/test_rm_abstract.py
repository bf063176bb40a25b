"""The RM Abstract Layer's API, called as a client would that was written from its page."""

import json
from typing import Any

import pytest
import requests
from openai import OpenAI

from tests.published.conftest import Run
from tests.published.shapes import CHAT, MODEL, SECONDS, USAGE, fits
from tests.servers import RunningServer

COMPLETION = {
    "id": str,
    "object": "text_completion",
    "created": int,
    "model": MODEL,
    "choices": [{"text": str, "index": int, "finish_reason": str}],
    "usage": USAGE,
}
SWITCHED = {
    "success": True,
    "previous_device": "cpu:0",
    "current_device": "cpu:0",
    "message": str,
}
DEVICE = {
    "device_type": str,
    "device_id": int,
    "name": str,
    "memory_total_gb": float,
    "memory_free_gb": float,
}
BACKEND = {"name": str, "display_name": str, "available": bool, "device_type": str}


def post(server: RunningServer, path: str, body: dict[str, Any]) -> Any:
    answer = requests.post(f"{server.url}{path}", json=body, timeout=SECONDS)
    assert answer.status_code == 200, answer.text
    return answer.json()


def get(server: RunningServer, path: str) -> requests.Response:
    answer = requests.get(f"{server.url}{path}", timeout=SECONDS)
    assert answer.status_code == 200, answer.text
    return answer


def test_the_front_page_health_and_documentation_are_there(vllm_server: RunningServer) -> None:
    fits(get(vllm_server, "/").json(), {"name": str, "version": str, "docs": "/docs"})
    # The page says `ok`; the other pages that share this route say `healthy`.
    fits(get(vllm_server, "/health").json(), {"status": "healthy", "initialized": True})
    assert "text/html" in get(vllm_server, "/docs").headers["content-type"]
    described = get(vllm_server, "/openapi.json").json()["paths"]
    for path in (
        *("/", "/health", "/v1/models", "/v1/models/{model_id}", "/v1/completions"),
        *("/v1/chat/completions", "/v1/devices/status", "/v1/devices/switch"),
    ):
        assert path in described, path


def test_models_are_listed_and_described(vllm_server: RunningServer) -> None:
    model = {"id": MODEL, "object": "model", "created": int, "owned_by": str}
    fits(get(vllm_server, "/v1/models").json(), {"object": "list", "data": [model]})
    fits(get(vllm_server, f"/v1/models/{MODEL}").json(), model)


def test_a_text_is_continued(vllm_server: RunningServer) -> None:
    body = {
        "model": MODEL,
        "prompt": "Hello, I am",
        "max_tokens": 50,
        "temperature": 0.7,
        "top_p": 0.9,
        "n": 1,
        "stop": ["\n"],
    }
    fits(post(vllm_server, "/v1/completions", body), COMPLETION)
    stopped = post(vllm_server, "/v1/completions", {**body, "stop": "\n", "n": 2})
    assert [choice["index"] for choice in stopped["choices"]] == [0, 1]


def test_several_texts_are_continued_at_once(vllm_server: RunningServer) -> None:
    body = {"model": MODEL, "prompt": ["Hello, I am", "The future is"], "max_tokens": 8}
    told = post(vllm_server, "/v1/completions", body)
    fits(told, COMPLETION)
    assert [choice["index"] for choice in told["choices"]] == [0, 1]


def test_a_conversation_is_answered(vllm_server: RunningServer) -> None:
    messages = [
        {"role": "system", "content": "You are a helpful assistant."},
        {"role": "user", "content": "What is AI?"},
    ]
    body = {"model": MODEL, "messages": messages, "max_tokens": 100, "temperature": 0.7}
    fits(post(vllm_server, "/v1/chat/completions", body), CHAT)


def test_the_status_tells_devices_and_backends(vllm_server: RunningServer) -> None:
    told = get(vllm_server, "/v1/devices/status").json()
    shape = {
        "status": "ok",
        "current_device": "cpu:0",
        "current_backend": str,
        "available_devices": [DEVICE],
        "available_backends": [BACKEND],
    }
    fits(told, shape)
    assert all(backend["version"] for backend in told["available_backends"] if backend["available"])


@pytest.mark.parametrize("device", ["cpu", "auto"])
def test_the_model_is_switched_to_a_device(vllm_server: RunningServer, device: str) -> None:
    fits(post(vllm_server, "/v1/devices/switch", {"device": device}), SWITCHED)


@pytest.mark.parametrize("device", ["gpu:7", "rbln:7", "toaster"])
def test_a_device_that_is_not_there_is_refused_with_those_that_are(
    vllm_server: RunningServer, device: str
) -> None:
    url = f"{vllm_server.url}/v1/devices/switch"
    answer = requests.post(url, json={"device": device}, timeout=SECONDS)
    error = {"message": str, "type": "invalid_request_error", "param": "device", "code": str}
    assert answer.status_code == 400
    fits(answer.json(), {"error": error})
    assert "cpu" in answer.json()["error"]["message"]


def test_an_unknown_model_is_an_error_of_the_page(vllm_server: RunningServer) -> None:
    body = {"model": "invalid-model", "prompt": "Hello"}
    answer = requests.post(f"{vllm_server.url}/v1/completions", json=body, timeout=SECONDS)
    assert answer.status_code == 404
    error = {"message": str, "type": "invalid_request_error", "param": "model", "code": str}
    fits(answer.json(), {"error": error})


def test_openais_client_works(vllm_server: RunningServer) -> None:
    with OpenAI(base_url=f"{vllm_server.url}/v1", api_key="not-needed") as client:
        text = client.completions.create(model=MODEL, prompt="Hello, I am", max_tokens=50)
        assert isinstance(text.choices[0].text, str)
        chat = client.chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": "Hello!"}]
        )
        assert chat.choices[0].message.content


def test_the_lines_of_the_shell_run(shell: Run) -> None:
    def curl(path: str, body: dict[str, Any]) -> Any:
        return json.loads(
            shell(
                f"curl -sS -X POST http://localhost:8000{path} "
                f"-H 'Content-Type: application/json' -d '{json.dumps(body)}'"
            )
        )

    text = {"model": MODEL, "prompt": "Hello", "max_tokens": 50}
    fits(curl("/v1/completions", text), COMPLETION)
    chat = {"model": MODEL, "messages": [{"role": "user", "content": "Hi!"}]}
    fits(curl("/v1/chat/completions", chat), CHAT)
    fits(curl("/v1/devices/switch", {"device": "cpu"}), SWITCHED)
