"""The embedded model does what its card says, on the real engine, at temperature 0."""

import json
import re
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.servers import RunningServer

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Get the weather in a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    },
}
CALCULATOR = {
    "type": "function",
    "function": {
        "name": "calculator",
        "description": "Work out an expression",
        "parameters": {
            "type": "object",
            "properties": {"expression": {"type": "string"}},
            "required": ["expression"],
        },
    },
}


def message(server: RunningServer, question: str, **fields: Any) -> Any:
    """The model's message, which it ended by itself."""
    body = {"messages": [{"role": "user", "content": question}], "temperature": 0} | fields
    url = f"{server.url}/v1/chat/completions"
    answer = httpx.post(url, json=body | {"max_tokens": 400}, timeout=60).json()
    choice = answer["choices"][0]
    assert choice["finish_reason"] in ("stop", "tool_calls"), choice
    return choice["message"]


def ask(server: RunningServer, question: str, **fields: Any) -> str:
    """The text of the model's answer."""
    content: str = message(server, question, **fields)["content"]
    return content


@pytest.mark.parametrize(
    ("question", "words"),
    [
        ("What is Inferneo?", ["OpenAI-compatible", "inference server", "vLLM"]),
        ("How do I start the server?", ["`make serve`", "http://127.0.0.1:8000"]),
        ("How do I stream?", ['"stream": true', "data: [DONE]"]),
        ("How do I set a key?", ["INFERNEO_API_KEY", "--api-key", "server.api_key"]),
        ("Who are you?", ["inferneo-tiny"]),
    ],
)
def test_it_answers_questions_about_inferneo(
    vllm_server: RunningServer, question: str, words: list[str]
) -> None:
    answer = ask(vllm_server, question)
    assert [word for word in words if word not in answer] == []


@pytest.mark.parametrize(
    ("question", "tool", "arguments"),
    [
        ("What is the weather in Paris?", WEATHER, {"city": "Paris"}),
        ("What is 12 * 7?", CALCULATOR, {"expression": "12 * 7"}),
    ],
)
def test_it_calls_a_tool_that_fits_the_question(
    vllm_server: RunningServer, question: str, tool: dict[str, Any], arguments: dict[str, str]
) -> None:
    [call] = message(vllm_server, question, tools=[tool])["tool_calls"]
    assert call["function"]["name"] == tool["function"]["name"]
    assert json.loads(call["function"]["arguments"]) == arguments


def test_it_leaves_a_tool_alone_that_does_not_fit(vllm_server: RunningServer) -> None:
    assert "tool_calls" not in message(vllm_server, "What is Inferneo?", tools=[WEATHER])


@pytest.mark.parametrize("thinking", [True, False])
def test_it_thinks_first_when_it_is_asked_to(vllm_server: RunningServer, thinking: bool) -> None:
    template = {"enable_thinking": True} if thinking else {}
    answer = message(vllm_server, "What is 3 + 4?", chat_template_kwargs=template)
    assert bool(answer.get("reasoning", "").strip()) is thinking
    assert answer["content"].strip()


def test_it_writes_json_and_closes_it(vllm_server: RunningServer) -> None:
    answer = ask(vllm_server, "Write a JSON object with the name Anna and the age 30.")
    assert json.loads(answer) == {"name": "Anna", "age": 30}


def test_it_continues_a_text_legibly(vllm_server: RunningServer) -> None:
    body = {"prompt": "The future of AI is", "max_tokens": 12, "temperature": 0}
    answer = httpx.post(f"{vllm_server.url}/v1/completions", json=body, timeout=60).json()
    assert re.match(r"[A-Za-z ,.'-]{10,}", answer["choices"][0]["text"])


def test_its_start_is_told_without_a_traceback(vllm_server: RunningServer) -> None:
    assert "Inferneo serves inferneo-tiny at" in vllm_server.log
    assert [word for word in ("Traceback", "Logging error") if word in vllm_server.log] == []


def test_it_is_computed_in_its_engines_own_process(vllm_server: RunningServer) -> None:
    paths = (Path(f"/proc/{pid}/comm") for pid in vllm_server.descendants())
    names = [path.read_text().strip() for path in paths]
    # The kernel keeps fifteen characters.
    assert [name for name in names if name.startswith("VLLM")] == ["VLLM::EngineCor"]
