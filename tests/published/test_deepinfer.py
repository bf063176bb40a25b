"""DeepInfer's API, called as a client would that was written from its page."""

import json
from pathlib import Path
from typing import Any

import pytest
import requests
from openai import OpenAI

from tests.published.conftest import Run
from tests.published.shapes import CHAT, MODEL, SECONDS, USAGE, fits, sent_events
from tests.servers import RunningServer, running_server

KEY = "your-secret-key"
COMPLETION = {
    "id": str,
    "object": "text_completion",
    "created": int,
    "model": MODEL,
    "choices": [{"text": str, "index": 0, "finish_reason": str}],
    "usage": USAGE,
}
HELLO = {"messages": [{"role": "user", "content": "Hello!"}], "max_tokens": 20}


def post(server: RunningServer, path: str, body: Any, **headers: str) -> requests.Response:
    return requests.post(f"{server.url}/v1{path}", json=body, headers=headers, timeout=SECONDS)


def get(server: RunningServer, path: str) -> Any:
    return requests.get(f"{server.url}{path}", timeout=SECONDS).json()


def test_health_tells_the_model_and_the_gpus(vllm_server: RunningServer) -> None:
    told = get(vllm_server, "/health")
    fits(told, {"status": "healthy", "model": MODEL, "gpus": int, "nvidia_5090": bool})
    assert told["gpus"] == len(get(vllm_server, "/v1/gpu/info")["gpus"])


def test_gpus_are_told_with_the_fields_of_the_page(vllm_server: RunningServer) -> None:
    gpus = get(vllm_server, "/v1/gpu/info")["gpus"]
    assert isinstance(gpus, list)
    shape = {
        "id": int,
        "name": str,
        "total_memory_gb": float,
        "free_memory_gb": float,
        "compute_capability": str,
        "driver_version": str,
        "cuda_version": str,
        "is_nvidia_5090": bool,
        "is_nvidia_4090": bool,
    }
    # Most machines that run this have none.
    for gpu in gpus:
        fits(gpu, shape)


def test_models_are_listed(vllm_server: RunningServer) -> None:
    model = {"id": MODEL, "object": "model", "created": int, "owned_by": str}
    fits(get(vllm_server, "/v1/models"), {"object": "list", "data": [model]})


def test_a_text_is_continued_without_a_model_s_name(vllm_server: RunningServer) -> None:
    body = {
        "prompt": "The future of AI is",
        "max_tokens": 100,
        "temperature": 0.7,
        "top_p": 0.95,
        "top_k": -1,
        "frequency_penalty": 0.0,
        "presence_penalty": 0.0,
        "repetition_penalty": 1.0,
        "stop": None,
        "stream": False,
        "n": 1,
    }
    answer = post(vllm_server, "/completions", body)
    fits(answer.json(), COMPLETION)
    assert "inferneo-ignored" not in answer.headers


def test_a_conversation_is_answered_without_a_model_s_name(vllm_server: RunningServer) -> None:
    body = {
        "messages": [
            {"role": "system", "content": "You are a helpful assistant."},
            {"role": "user", "content": "What is machine learning?"},
        ],
        "max_tokens": 200,
        "temperature": 0.7,
        "top_p": 0.95,
        "stream": False,
        "stop": None,
    }
    fits(post(vllm_server, "/chat/completions", body).json(), CHAT)


def test_a_line_of_the_shell_streams(shell: Run) -> None:
    body = {**HELLO, "stream": True}
    told = shell(
        "curl -sS -N -X POST http://localhost:8000/v1/chat/completions "
        f"-H 'Content-Type: application/json' -d '{json.dumps(body)}'"
    )
    choice = {"index": 0, "delta": dict, "finish_reason": (str, type(None))}
    chunk = {"id": str, "object": "chat.completion.chunk", "created": int, "model": MODEL}
    first, *rest = sent_events(told)
    fits([first, *rest], [{**chunk, "choices": [choice]}])
    assert first["choices"][0]["delta"]["role"] == "assistant"


def test_the_other_lines_of_the_shell_run(shell: Run) -> None:
    for path in ("/health", "/v1/gpu/info", "/v1/models"):
        assert json.loads(shell(f"curl -sS http://localhost:8000{path}"))


@pytest.mark.parametrize(
    "body", [{"prompt": "a", "temperature": 9}, {"prompt": 5}, {}, {"prompt": "a", "n": 0}], ids=str
)
def test_what_is_wrong_is_told_in_detail(vllm_server: RunningServer, body: Any) -> None:
    answer = post(vllm_server, "/completions", body)
    assert answer.status_code == 400
    fits(answer.json(), {"detail": str})


def test_an_engine_that_is_not_ready_says_so() -> None:
    server = RunningServer("--engine=simulated", "--engine-args=start_seconds=60")
    try:
        server.wait_listening()
        answer = post(server, "/chat/completions", HELLO)
        assert answer.status_code == 503
        assert answer.json()["detail"].startswith("Engine not initialized")
    finally:
        server.stop()


def test_the_key_stands_in_the_file_below_the_server(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(f'server:\n  api_key: "{KEY}"\n')
    with running_server("--engine=simulated", "--config", str(config)) as server:
        assert post(server, "/chat/completions", HELLO).status_code == 401
        answer = post(server, "/chat/completions", HELLO, Authorization=f"Bearer {KEY}")
        assert answer.status_code == 200


def test_openais_client_works(vllm_server: RunningServer) -> None:
    with OpenAI(base_url=f"{vllm_server.url}/v1", api_key="not-needed") as client:
        chat = client.chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": "Hello!"}], max_tokens=100
        )
    assert chat.choices[0].message.content
