"""The vLLM API server's API, called as a client would that was written from its page."""

import asyncio
import hashlib
import json
from datetime import datetime
from functools import lru_cache
from typing import Any

import aiohttp
import pytest
import requests

from tests.published.conftest import Run
from tests.published.shapes import CHAT, MODEL, SECONDS, USAGE, fits, sent_events
from tests.servers import RunningServer

MESSAGES = [
    {"role": "system", "content": "You are a helpful assistant."},
    {"role": "user", "content": "What is machine learning?"},
]


def post(server: RunningServer, path: str, body: Any) -> requests.Response:
    headers = {"Content-Type": "application/json"}
    return requests.post(f"{server.url}{path}", headers=headers, json=body, timeout=SECONDS)


def test_health_tells_the_time_and_the_version(vllm_server: RunningServer) -> None:
    told = requests.get(f"{vllm_server.url}/health", timeout=SECONDS).json()
    fits(told, {"status": "healthy", "timestamp": str, "version": str})
    assert told["timestamp"].endswith("Z")
    assert datetime.fromisoformat(told["timestamp"])


def test_models_are_listed(vllm_server: RunningServer) -> None:
    told = requests.get(f"{vllm_server.url}/v1/models", timeout=SECONDS).json()
    model = {"id": MODEL, "object": "model", "created": int, "owned_by": str}
    fits(told, {"object": "list", "data": [model]})


def test_a_conversation_is_answered(vllm_server: RunningServer) -> None:
    body = {
        "model": MODEL,
        "messages": MESSAGES,
        "temperature": 0.7,
        "max_tokens": 150,
        "stream": False,
        "top_p": 1.0,
        "frequency_penalty": 0.0,
        "presence_penalty": 0.0,
    }
    fits(post(vllm_server, "/v1/chat/completions", body).json(), CHAT)


def test_a_conversation_is_streamed(vllm_server: RunningServer) -> None:
    messages = [{"role": "user", "content": "Count to 5"}]
    body = {"model": MODEL, "messages": messages, "stream": True}
    events = sent_events(post(vllm_server, "/v1/chat/completions", body).text)
    choice = {"index": 0, "delta": dict, "finish_reason": (str, type(None))}
    chunk = {"id": str, "object": "chat.completion.chunk", "created": int, "model": MODEL}
    fits(events, [{**chunk, "choices": [choice]}])
    assert any(event["choices"][0]["delta"].get("content") for event in events)


def test_a_text_is_continued(vllm_server: RunningServer) -> None:
    body = {"model": MODEL, "prompt": "The future of AI is", "max_tokens": 50, "temperature": 0.7}
    choice = {"text": str, "index": 0, "finish_reason": str}
    shape = {"id": str, "object": "text_completion", "created": int, "model": MODEL}
    told = post(vllm_server, "/v1/completions", body).json()
    fits(told, {**shape, "choices": [choice], "usage": USAGE})


def test_an_error_has_the_fields_of_the_page(vllm_server: RunningServer) -> None:
    url = f"{vllm_server.url}/v1/chat/completions"
    answer = requests.post(url, data="{no json", timeout=SECONDS)
    assert answer.status_code == 400
    fits(answer.json(), {"error": {"message": str, "type": "invalid_request_error", "code": str}})


def test_many_requests_at_once_are_answered_in_order(vllm_server: RunningServer) -> None:
    async def batch_chat_completion(conversations: list[Any]) -> list[Any]:
        async with aiohttp.ClientSession() as session:
            tasks = [
                session.post(
                    f"{vllm_server.url}/v1/chat/completions",
                    json={"model": MODEL, "messages": messages, "temperature": 0.7},
                )
                for messages in conversations
            ]
            responses = await asyncio.gather(*tasks)
            return [await response.json() for response in responses]

    conversations = [[{"role": "user", "content": f"Say {number}"}] for number in range(8)]
    answers = asyncio.run(batch_chat_completion(conversations))
    assert len(answers) == 8
    fits(answers, [CHAT])


def test_an_answer_may_be_kept_by_the_hash_of_its_messages(vllm_server: RunningServer) -> None:
    asked = []

    @lru_cache(maxsize=100)
    def cached(messages: str) -> str:
        asked.append(hashlib.md5(messages.encode()).hexdigest())
        body = {"model": MODEL, "messages": json.loads(messages), "max_tokens": 20}
        told = post(vllm_server, "/v1/chat/completions", body).json()
        content: str = told["choices"][0]["message"]["content"]
        return content

    first, second = (cached(json.dumps(MESSAGES, sort_keys=True)) for _ in range(2))
    assert first == second and len(asked) == 1


def test_the_lines_of_the_shell_run(shell: Run) -> None:
    def curl(body: dict[str, Any], flags: str = "") -> str:
        return shell(
            "curl -sS -X POST http://localhost:8000/v1/chat/completions "
            f"-H 'Content-Type: application/json' -d '{json.dumps(body)}' {flags}"
        )

    chat = {"model": MODEL, "messages": MESSAGES, "temperature": 0.7, "max_tokens": 100}
    fits(json.loads(curl(chat)), CHAT)
    count = {"model": MODEL, "messages": [{"role": "user", "content": "Count to 3"}]}
    assert sent_events(curl({**count, "stream": True}, "--no-buffer"))


def test_axios_gets_answers_and_errors(node: Run) -> None:
    assert "# pass 2" in node("vllm_api_server.test.mjs")


@pytest.mark.parametrize("method", ["get", "put", "delete"])
def test_another_method_is_refused(vllm_server: RunningServer, method: str) -> None:
    url = f"{vllm_server.url}/v1/chat/completions"
    assert requests.request(method, url, timeout=SECONDS).status_code == 405
