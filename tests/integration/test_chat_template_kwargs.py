"""Proves that what a request hands to the chat template cannot break the rendering around it."""

import json
from typing import Any

import httpx
import pytest

from tests.servers import RunningServer

LONG = "word " * 5000  # longer than what the server tokenises by itself


def ask(server: RunningServer, content: str = "Hello", **fields: Any) -> httpx.Response:
    body = {"messages": [{"role": "user", "content": content}], "max_tokens": 4, **fields}
    return httpx.post(f"{server.url}/v1/chat/completions", json=body, timeout=60)


def error(answer: httpx.Response) -> Any:
    assert answer.status_code == 400, answer.text
    found = answer.json()["error"]
    assert found["type"] == "invalid_request_error"
    assert "Traceback" not in found["message"] and "argument" not in found["message"]
    return found


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("conversation", [{"role": "user", "content": "Bye"}]),
        ("messages", [{"role": "user", "content": "Bye"}]),
        ("chat_template", "{{ messages }}"),
        ("chat_template", 5),
        ("chat_template", ["a"]),
        ("model_config", {}),
        ("self", 1),
        ("tokenizer", "other"),
    ],
)
@pytest.mark.parametrize("content", ["Hello", LONG], ids=["short", "long"])
def test_a_name_that_is_not_the_templates_is_refused_by_its_name(
    vllm_server: RunningServer, name: str, value: Any, content: str
) -> None:
    told = error(ask(vllm_server, content, chat_template_kwargs={name: value}))

    assert told["param"] == "chat_template_kwargs"
    assert f"'{name}'" in told["message"]


@pytest.mark.parametrize("value", [True, False, "yes", None])
def test_a_request_cannot_have_the_template_tokenised(
    vllm_server: RunningServer, value: Any
) -> None:
    plain = ask(vllm_server, temperature=0)
    given = ask(vllm_server, temperature=0, chat_template_kwargs={"tokenize": value})

    assert plain.status_code == given.status_code == 200
    assert given.json()["usage"] == plain.json()["usage"]
    assert given.json()["choices"] == plain.json()["choices"]


@pytest.mark.parametrize(
    "given",
    [
        {"return_dict": True, "return_tensors": "pt", "padding": True, "max_length": 1},
        {"truncation": True, "tokenizer_kwargs": {"nonsense": 1}},
        {"kwargs": 1, "": 1, "__class__": 1, "params": 1, "renderer": 1},
        {"unknown to the template": [1, None, {"a": "b"}]},
        {"add_generation_prompt": "yes", "enable_thinking": 0},
    ],
    ids=lambda given: next(iter(given)),
)
def test_names_that_mean_nothing_here_are_ignored(
    vllm_server: RunningServer, given: dict[str, Any]
) -> None:
    answer = ask(vllm_server, chat_template_kwargs=given)

    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("name", ["tools", "documents"])
@pytest.mark.parametrize("content", ["Hello", LONG], ids=["short", "long"])
def test_what_must_be_a_list_is_refused_by_its_name(
    vllm_server: RunningServer, name: str, content: str
) -> None:
    told = error(ask(vllm_server, content, chat_template_kwargs={name: 5}))

    assert told["param"] == "chat_template_kwargs"
    assert f"'{name}'" in told["message"]


@pytest.mark.parametrize(
    "given",
    [
        {"tools": 5},
        {"tools": ["not a tool"]},
        {"documents": 5},
        {"continue_final_message": True},
        {"return_assistant_tokens_mask": True},
        {"namespace": "not callable"},
        {"role": {}, "range": 1, "namespace": None, "bos_token": [1]},
    ],
    ids=json.dumps,
)
def test_values_that_the_template_cannot_take_are_no_failure_of_the_server(
    vllm_server: RunningServer, given: dict[str, Any]
) -> None:
    assert ask(vllm_server, chat_template_kwargs=given).status_code in (200, 400)
    assert ask(vllm_server).status_code == 200


def test_the_template_gets_what_it_knows(vllm_server: RunningServer) -> None:
    tokens = [
        ask(vllm_server, chat_template_kwargs=given).json()["usage"]["prompt_tokens"]
        for given in ({}, {"enable_thinking": True}, {"add_generation_prompt": False})
    ]

    assert tokens[2] < tokens[0] < tokens[1]
