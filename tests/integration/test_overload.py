"""Proves that a server with more requests than its engine runs lets them wait in a fair order."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from tests.integration.waiting import wait_until
from tests.servers import RunningServer, running_server

PLACES = 4
WAITING = 12
FLAGS = (
    "--engine=simulated",
    f"--engine-args=max_running={PLACES}",
    "--engine-args=token_seconds=0.05",
    "--engine-args=words=4",
    f"--queue-requests={WAITING}",
    "--api-keys=sk-greedy",
    "--api-keys=sk-modest",
    "--api-keys=" + json.dumps({"key": "sk-plain", "scopes": ["inference"]}),
    "--drain-seconds=0",
)
LONG = {"prompt": "a b c", "max_tokens": 400, "ignore_eos": True, "stream": True}


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    with running_server(*FLAGS) as server:
        yield server


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(32) as threads:
        yield threads


def post(
    server: RunningServer, key: str, path: str = "/v1/completions", **fields: object
) -> httpx.Response:
    return httpx.post(
        f"{server.url}{path}",
        json={"prompt": "a b c", "max_tokens": 4} | fields,
        headers={"Authorization": f"Bearer {key}"},
        timeout=60,
    )


def waiting(server: RunningServer) -> float:
    response = httpx.get(
        f"{server.url}/metrics", headers={"Authorization": "Bearer sk-greedy"}, timeout=10
    )
    (line,) = [
        line for line in response.text.splitlines() if line.startswith("inferneo_requests_waiting ")
    ]
    return float(line.split()[1])


@pytest.fixture
def running(server: RunningServer) -> Iterator[list[httpx.Response]]:
    """Streams that hold all places until they are closed."""
    headers = {"Authorization": "Bearer sk-greedy"}
    with httpx.Client(base_url=server.url, headers=headers, timeout=60) as client:
        request = client.build_request("POST", "/v1/completions", json=LONG)
        streams = [client.send(request, stream=True) for _ in range(PLACES)]
        yield streams
        for stream in streams:
            stream.close()
    wait_until(lambda: waiting(server) == 0)


def test_a_modest_key_is_answered_before_a_greedy_ones_queue(
    server: RunningServer, threads: ThreadPoolExecutor, running: list[httpx.Response]
) -> None:
    ended: list[str] = []

    def ask(key: str) -> None:
        assert post(server, key).status_code == 200
        ended.append(key)

    asked = [threads.submit(ask, "sk-greedy") for _ in range(6)]
    wait_until(lambda: waiting(server) == 6)
    asked.append(threads.submit(ask, "sk-modest"))
    wait_until(lambda: waiting(server) == 7)
    running[0].close()
    for each in asked:
        each.result(60)

    assert ended == ["sk-modest"] + 6 * ["sk-greedy"]


@pytest.mark.parametrize(
    ("path", "body", "places"),
    [
        ("/v1/completions", {}, 1),
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "a"}]}, 1),
        ("/v1/embeddings", {"input": "a"}, 1),
        ("/v1/score", {"text_1": "a", "text_2": "b"}, 2),
        ("/v1/rerank", {"query": "a", "documents": ["b"]}, 2),
    ],
)
def test_the_lower_priority_comes_first_of_what_waits(
    server: RunningServer,
    threads: ThreadPoolExecutor,
    running: list[httpx.Response],
    path: str,
    body: dict[str, Any],
    places: int,
) -> None:
    ended: list[int] = []

    def ask(priority: int, *route: str, **fields: Any) -> None:
        assert post(server, "sk-modest", *route, priority=priority, **fields).status_code == 200
        ended.append(priority)

    asked = [threads.submit(ask, priority) for priority in (0, 1)]
    wait_until(lambda: waiting(server) == 2)
    asked.append(threads.submit(ask, -1, path, **body))
    wait_until(lambda: waiting(server) == 3)
    for stream in running[:places]:
        stream.close()
    for each in asked:
        each.result(60)

    assert ended[0] == -1
    # Where there were two places, the others ran side by side.
    assert places > 1 or ended == [-1, 0, 1]


def test_beyond_the_queue_a_request_is_told_when_to_come_back(
    server: RunningServer, threads: ThreadPoolExecutor, running: list[httpx.Response]
) -> None:
    asked = [threads.submit(post, server, "sk-greedy") for _ in range(WAITING)]
    wait_until(lambda: waiting(server) == WAITING)
    refused = post(server, "sk-greedy")
    for stream in running:
        stream.close()

    assert refused.status_code == 503
    assert refused.json()["error"]["code"] == "overloaded"
    assert int(refused.headers["retry-after"]) >= 1
    assert int(refused.headers["retry-after-ms"]) > 0
    assert {each.result(60).status_code for each in asked} == {200}


@pytest.mark.parametrize("streamed", [True, False])
def test_who_hangs_up_while_waiting_leaves_the_queue(
    server: RunningServer, running: list[httpx.Response], streamed: bool
) -> None:
    headers = {"Authorization": "Bearer sk-greedy"}
    with httpx.Client(base_url=server.url, headers=headers, timeout=0.5) as client:
        with pytest.raises(httpx.ReadTimeout):
            client.post("/v1/completions", json=LONG | {"stream": streamed})
        wait_until(lambda: waiting(server) == 0)


def test_a_priority_is_for_keys_that_have_the_scope(server: RunningServer) -> None:
    refused = post(server, "sk-plain", priority=-1)

    assert refused.status_code == 403
    assert refused.json()["error"]["param"] == "priority"
    assert post(server, "sk-plain", priority=0).status_code == 200
    assert post(server, "sk-modest", priority=-1).status_code == 200
