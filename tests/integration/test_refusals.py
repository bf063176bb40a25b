"""Proves that what keys, limits and queues refuse is what /openapi.json says, on every route."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import msgspec
import pytest

from inferneo_core.errors import ErrorBody
from inferneo_core.messages import MessagesError
from inferneo_core.native import NativeError
from tests.integration.waiting import wait_until
from tests.servers import RunningServer, running_server

SHAPES = {shape.__name__: shape for shape in (ErrorBody, MessagesError, NativeError)}
PUBLIC = ("/", "/health", "/api/v1/health", "/ready", "/docs")
# Any key may have them.
OPEN_TO_KEYS = ("/v1/tokens",)
MESSAGES = [{"role": "user", "content": "Hello"}]
WRITING: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"messages": MESSAGES},
    "/v1/completions": {"prompt": "Hello"},
    "/v1/responses": {"input": "Hello"},
    "/v1/messages": {"messages": MESSAGES, "model": "inferneo-tiny", "max_tokens": 4},
    "/api/v1/generate": {"prompt": "Hello"},
    "/api/v1/generate/stream": {"prompt": "Hello"},
}
POOLING: dict[str, dict[str, Any]] = {
    "/v1/embeddings": {"input": "Hello"},
    "/v1/score": {"text_1": "Hello", "text_2": "Hi"},
    "/v1/rerank": {"query": "Hello", "documents": ["Hi"]},
}
READING: dict[str, dict[str, Any]] = {
    "/v1/tokenize": {"prompt": "Hello"},
    "/v1/detokenize": {"tokens": [5]},
    "/v1/responses/input_tokens": {"input": "Hello"},
    "/v1/messages/count_tokens": {"messages": MESSAGES, "model": "inferneo-tiny"},
}
WITH_PRIORITY = [
    path for path in [*WRITING, *POOLING] if not path.startswith(("/api", "/v1/messages"))
]
FLAGS = (
    "--engine=simulated",
    "--engine-args=max_running=1",
    "--engine-args=token_seconds=0.05",
    "--queue-requests=0",
    "--drain-seconds=0",
)


KEYS = [
    "sk-all",
    {"key": "sk-nothing", "scopes": ["priority"]},
    {"key": "sk-plain", "scopes": ["inference"]},
    {"key": "sk-once", "limits": {"requests_per_minute": 1}},
]


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    with running_server(*FLAGS, environment={"INFERNEO_API_KEYS": json.dumps(KEYS)}) as server:
        yield server


@pytest.fixture(scope="module")
def document(server: RunningServer) -> Any:
    headers = {"authorization": "Bearer sk-all"}
    return httpx.get(f"{server.url}/openapi.json", headers=headers, timeout=30).json()


@pytest.fixture
def http(server: RunningServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=30) as client:
        yield client


def send(http: httpx.Client, key: str, method: str, path: str, body: Any = None) -> httpx.Response:
    headers = {"authorization": f"Bearer {key}"}
    return http.request(method, path, json=body, headers=headers)


def assert_described(document: Any, method: str, path: str, answer: httpx.Response) -> None:
    """The answer's status, and the shape of its error, are those that the route tells of."""
    told = document["paths"][path][method]["responses"]
    assert str(answer.status_code) in told, (method, path, answer.status_code)
    content = told[str(answer.status_code)]["content"]
    assert answer.headers["content-type"].split(";")[0] in content
    schema = content["application/json"]["schema"]
    names = [each["$ref"].rpartition("/")[2] for each in schema.get("oneOf", [schema])]
    shape = NativeError if path.startswith("/api/v1/") else SHAPES[names[0]]
    assert shape.__name__ in names
    msgspec.json.decode(answer.content, type=shape)


@pytest.mark.parametrize(("key", "status"), [("sk-wrong", 401), ("sk-nothing", 403)])
def test_every_route_tells_that_it_refuses_a_key(
    http: httpx.Client, document: Any, key: str, status: int
) -> None:
    routes = [
        (method, path)
        for path, methods in document["paths"].items()
        for method in methods
        if path not in PUBLIC and not path.startswith("/docs/")
    ]
    assert ("post", "/v1/chat/completions") in routes and ("get", "/metrics") in routes
    for method, path in routes:
        if status == 403 and path in OPEN_TO_KEYS:
            continue
        answer = send(http, key, method, path)
        assert answer.status_code == status, (method, path, answer.text)
        assert_described(document, method, path, answer)


def test_every_route_tells_that_a_limit_refuses(http: httpx.Client, document: Any) -> None:
    assert send(http, "sk-once", "post", "/v1/detokenize", {"tokens": [5]}).status_code == 200
    for path, body in (WRITING | POOLING | READING).items():
        answer = send(http, "sk-once", "post", path, body)
        assert answer.status_code == 429, (path, answer.text)
        assert int(answer.headers["retry-after"]) >= 1
        assert_described(document, "post", path, answer)


def test_every_route_tells_that_a_full_queue_refuses(
    http: httpx.Client, server: RunningServer, document: Any
) -> None:
    endless = {"prompt": "a", "max_tokens": 400, "ignore_eos": True, "stream": True}
    headers = {"authorization": "Bearer sk-all"}
    with http.stream("POST", "/v1/completions", json=endless, headers=headers) as running:
        assert running.status_code == 200
        for path, body in (WRITING | POOLING).items():
            answer = send(http, "sk-all", "post", path, body)
            assert answer.status_code == 503, (path, answer.text)
            assert int(answer.headers["retry-after"]) >= 1
            assert_described(document, "post", path, answer)
    wait_until(
        lambda: send(http, "sk-all", "post", "/v1/embeddings", {"input": "a"}).status_code == 200
    )


@pytest.mark.parametrize("path", WITH_PRIORITY)
def test_every_route_tells_that_a_priority_needs_a_scope(
    http: httpx.Client, document: Any, path: str
) -> None:
    body = (WRITING | POOLING)[path]
    refused = send(http, "sk-plain", "post", path, body | {"priority": -1})
    assert (refused.status_code, refused.json()["error"]["param"]) == (403, "priority")
    assert_described(document, "post", path, refused)
    for key, priority in (("sk-plain", 0), ("sk-all", -1)):
        answer = send(http, key, "post", path, body | {"priority": priority})
        assert answer.status_code == 200, answer.text


def test_each_route_that_streams_tells_so(document: Any) -> None:
    streaming = [*WRITING, "/v1/models/load"]
    for method, path in [
        *(("post", path) for path in streaming),
        ("get", "/v1/streams/{stream_id}"),
        ("get", "/v1/responses/{response_id}"),
    ]:
        told = document["paths"][path][method]["responses"]
        assert "text/event-stream" in told["200"]["content"], path
        assert "201" not in told
