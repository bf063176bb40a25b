"""The Inferneo API, called as a client would that was written from its page."""

import json
import time
from typing import Any

import pytest
import requests

from tests.published.conftest import Run
from tests.published.shapes import CHAT, MODEL, SECONDS, USAGE, fits, sent_events
from tests.servers import RunningServer, running_server

HEADERS = {"Authorization": "Bearer your-api-key", "Content-Type": "application/json"}
LISTED = {"id": MODEL, "object": "model", "created": int, "owned_by": str}
COMPLETION = {
    "id": str,
    "object": "text_completion",
    "created": int,
    "model": MODEL,
    "choices": [{"text": str, "index": int, "logprobs": (dict, type(None)), "finish_reason": str}],
    "usage": USAGE,
}
CONVERSATION = [
    {"role": "system", "content": "You are a helpful assistant."},
    {"role": "user", "content": "Hello, how are you?"},
    {"role": "assistant", "content": "I'm doing well, thank you! How can I help you today?"},
    {"role": "user", "content": "Can you explain machine learning?"},
]


def post(server: RunningServer, path: str, body: dict[str, Any]) -> requests.Response:
    return requests.post(f"{server.url}/v1{path}", headers=HEADERS, json=body, timeout=SECONDS)


def answered(server: RunningServer, path: str, body: dict[str, Any]) -> Any:
    answer = post(server, path, body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def get(server: RunningServer, path: str) -> Any:
    return requests.get(f"{server.url}/v1{path}", headers=HEADERS, timeout=SECONDS).json()


def test_models_are_listed_and_described(vllm_server: RunningServer) -> None:
    fits(get(vllm_server, "/models"), {"object": "list", "data": [LISTED]})
    one = get(vllm_server, f"/models/{MODEL}")
    fits(one, {**LISTED, "permission": list, "root": MODEL, "parent": None})
    assert one["permission"] == []


def test_a_text_is_continued(vllm_server: RunningServer) -> None:
    body = {
        "model": MODEL,
        "prompt": "Explain quantum computing",
        "max_tokens": 100,
        "temperature": 0.7,
        "top_p": 0.9,
        "frequency_penalty": 0.0,
        "presence_penalty": 0.0,
        "stop": ["\n", "END"],
        "stream": False,
    }
    told = answered(vllm_server, "/completions", body)
    fits(told, COMPLETION)
    assert "\n" not in told["choices"][0]["text"]


def test_a_text_has_sixteen_tokens_where_nothing_else_is_said(vllm_server: RunningServer) -> None:
    told = answered(vllm_server, "/completions", {"model": MODEL, "prompt": "Inferneo is"})
    assert told["usage"]["completion_tokens"] <= 16


def test_a_text_is_streamed(vllm_server: RunningServer) -> None:
    body = {"model": MODEL, "prompt": "Write a story about AI", "max_tokens": 40, "stream": True}
    answer = post(vllm_server, "/completions", body)
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = sent_events(answer.text)
    choice = {"text": str, "index": 0, "logprobs": None, "finish_reason": (str, type(None))}
    shape = {"id": str, "object": "text_completion", "created": int, "choices": [choice]}
    fits(events, [shape])
    assert {event["id"] for event in events} == {events[0]["id"]}


def test_a_conversation_is_answered(vllm_server: RunningServer) -> None:
    body = {
        "model": MODEL,
        "messages": CONVERSATION,
        "max_tokens": 150,
        "temperature": 0.7,
        "top_p": 0.9,
        "frequency_penalty": 0.0,
        "presence_penalty": 0.0,
        "stream": False,
    }
    fits(answered(vllm_server, "/chat/completions", body), CHAT)


def test_a_conversation_is_streamed_the_role_first(vllm_server: RunningServer) -> None:
    messages = [{"role": "user", "content": "Tell me a story"}]
    body = {"model": MODEL, "messages": messages, "max_tokens": 40, "stream": True}
    first, *rest = sent_events(post(vllm_server, "/chat/completions", body).text)
    choice = {"delta": dict, "index": 0, "finish_reason": (str, type(None))}
    fits([first, *rest], [{"id": str, "object": str, "created": int, "choices": [choice]}])
    assert first["choices"][0]["delta"]["role"] == "assistant"
    assert any(event["choices"][0]["delta"].get("content") for event in rest)
    assert rest[-1]["choices"][0]["finish_reason"] in ("stop", "length")


def test_a_text_is_embedded(minilm_server: RunningServer) -> None:
    body = {
        "model": "all-MiniLM-L6-v2",
        "input": "This is a sample text for embedding",
        "encoding_format": "float",
    }
    item = {"object": "embedding", "embedding": [float], "index": 0}
    shape = {"object": "list", "data": [item], "model": str, "usage": dict}
    told = answered(minilm_server, "/embeddings", body)
    fits(told, shape)
    fits(told["usage"], {"prompt_tokens": int, "total_tokens": int})


@pytest.mark.parametrize(
    "parameter",
    [
        {"top_k": -1},
        {"logprobs": 2},
        {"echo": True},
        {"best_of": 2},
        {"logit_bias": {}},
        {"logit_bias": {"50": 5}},
        {"suffix": None},
        {"user": "somebody"},
        {"stop": None},
    ],
    ids=str,
)
def test_every_parameter_of_the_table_is_taken(
    vllm_server: RunningServer, parameter: dict[str, Any]
) -> None:
    body = {"model": MODEL, "prompt": "Inferneo", "max_tokens": 4, **parameter}
    answer = post(vllm_server, "/completions", body)
    assert answer.status_code == 200, answer.text
    assert "inferneo-ignored" not in answer.headers
    if parameter.get("echo"):
        assert answer.json()["choices"][0]["text"].startswith("Inferneo")
    if parameter.get("logprobs"):
        assert answer.json()["choices"][0]["logprobs"]["tokens"]


def test_an_error_has_the_fields_of_the_page(vllm_server: RunningServer) -> None:
    error = {"message": str, "type": "invalid_request_error", "param": "model", "code": str}
    answer = post(vllm_server, "/completions", {"model": "nobody", "prompt": "a"})
    assert answer.status_code == 404
    fits(answer.json(), {"error": {**error, "code": "model_not_found"}})
    answer = post(vllm_server, "/completions", {"model": MODEL, "prompt": "a", "temperature": 9})
    assert answer.status_code == 400
    fits(answer.json(), {"error": {**error, "param": "temperature", "code": str}})


def test_answers_count_down_the_limits_of_the_page_and_the_sixty_first_is_refused() -> None:
    body = {"model": MODEL, "prompt": "Hello", "max_tokens": 4}
    flags = ("--engine=simulated", "--api-key=your-api-key", "--default-limits=inferneo")
    asked = time.time()
    with running_server(*flags) as server:
        answers = [post(server, "/completions", {**body, "stream": True})]
        answers += [post(server, "/completions", body) for _ in range(60)]

    # As the page spells them; `requests` knows headers in any case of letters, as HTTP does.
    assert {answer.headers["X-RateLimit-Limit"] for answer in answers} == {"60"}
    left = [int(answer.headers["X-RateLimit-Remaining"]) for answer in answers]
    assert left == [*range(59, -1, -1), 0]
    # Seconds since 1970, as on the page: the end of the minute that the first request began.
    for answer in answers:
        assert asked < int(answer.headers["X-RateLimit-Reset"]) <= time.time() + 61
    assert answers[0].headers["X-RateLimit-Limit-Tokens"] == "150000"
    *taken, refused = answers
    assert {answer.status_code for answer in taken} == {200}
    assert refused.status_code == 429
    fits(refused.json(), {"error": {"message": str, "code": "rate_limit_exceeded"}})
    assert int(refused.headers["Retry-After"]) <= 60


def test_the_lines_of_the_shell_run(shell: Run) -> None:
    def curl(path: str, body: dict[str, Any]) -> str:
        return shell(
            f"curl -sS -X POST http://localhost:8000/v1/{path} "
            "-H 'Authorization: Bearer your-api-key' -H 'Content-Type: application/json' "
            f"-d '{json.dumps(body)}'"
        )

    text = {"model": MODEL, "prompt": "Explain quantum computing", "max_tokens": 40}
    fits(json.loads(curl("completions", text)), COMPLETION)
    asked = {"model": MODEL, "messages": [{"role": "user", "content": "Hello, how are you?"}]}
    chat = {**asked, "max_tokens": 40, "temperature": 0.7}
    fits(json.loads(curl("chat/completions", chat)), CHAT)
    assert sent_events(curl("chat/completions", {**chat, "stream": True}))


def test_programs_for_node_and_browsers_run(node: Run) -> None:
    assert "# pass 3" in node("inferneo.test.mjs")
