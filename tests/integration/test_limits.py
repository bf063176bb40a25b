"""Limits over real sockets: what is refused, what is charged in the end, and what answers tell."""

import asyncio
import contextlib
import itertools
import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.sync.client import connect as connect_socket

from inferneo_client import Inferneo
from inferneo_core.errors import QuotaExceeded, RateLimited
from inferneo_core.limits import LIMIT_HEADERS
from inferneo_server.limits.base import RENEW_SECONDS
from tests.integration.waiting import wait_until
from tests.redis_server import running_redis
from tests.servers import RunningServer, running_server

CLIENTS = 200
PROMPT = {"prompt": "one two three"}  # of three tokens, on the simulated engine
KEYS = [f"key-{number}" for number in range(40)]
LIMITS = {
    "requests_per_minute": 5,
    "tokens_per_minute": 200,
    "concurrent_requests": 2,
    "max_prompt_tokens": 50,
    "max_completion_tokens": 40,
}
_unused = itertools.cycle(KEYS)


def keyed(*keys: str) -> list[str]:
    return [flag for key in keys for flag in ("--api-keys", key)]


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


@pytest.fixture(scope="module")
def limited_server() -> Iterator[RunningServer]:
    """A server whose keys have the limits above, each for itself."""
    with running_server(
        *("--engine", "simulated", "--engine-args", "token_seconds=0.01"),
        *keyed(*KEYS),
        *("--default-limits", json.dumps(LIMITS)),
    ) as server:
        yield server


@pytest.fixture
def http(limited_server: RunningServer) -> Iterator[httpx.Client]:
    """A caller who has not spent anything."""
    with httpx.Client(
        base_url=limited_server.url, headers=bearer(next(_unused)), timeout=30
    ) as client:
        yield client


def complete(http: httpx.Client, headers: dict[str, str] | None = None, **fields: Any) -> Any:
    return http.post("/v1/completions", json={**PROMPT, **fields}, headers=headers)


def left(answer: httpx.Response, unit: str = "requests") -> int:
    return int(answer.headers[f"x-ratelimit-remaining-{unit}"])


def test_every_answer_tells_what_is_left(http: httpx.Client) -> None:
    chat = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 4}
    answers = [
        complete(http),
        complete(http, stream=True),
        http.post("/v1/chat/completions", json=chat),
        http.post("/v1/embeddings", json={"input": "one two"}),
        complete(http, prompt=5),
        http.get("/v1/models"),
    ]

    assert [answer.status_code for answer in answers] == [200, 200, 200, 200, 400, 200]
    assert [set(LIMIT_HEADERS) - set(answer.headers) for answer in answers] == [set()] * 6
    assert [left(answer) for answer in answers] == [4, 3, 2, 1, 1, 1]
    assert [answer.headers["x-ratelimit-remaining"] for answer in answers] == list("432111")
    assert {answer.headers["x-ratelimit-limit"] for answer in answers} == {"5"}
    assert {answer.headers["x-ratelimit-limit-tokens"] for answer in answers} == {"200"}
    reset = int(answers[0].headers["x-ratelimit-reset"]) - time.time()
    assert 50 < reset <= 61
    assert answers[0].headers["x-ratelimit-reset-requests"].endswith("s")
    # Real use: of the three texts 3 + 16 each, of the chat 1 + 4, of the vectors 2.
    assert left(answers[-1], "tokens") == 200 - 2 * (3 + 16) - (1 + 4) - 2


def test_who_has_no_limits_is_told_of_none(simulated_server: RunningServer) -> None:
    answer = httpx.post(f"{simulated_server.url}/v1/completions", json=PROMPT, timeout=30)

    assert answer.status_code == 200
    assert not set(LIMIT_HEADERS) & set(answer.headers)


def test_beyond_the_window_is_429_until_it_refills(http: httpx.Client) -> None:
    for _ in range(5):
        assert complete(http, max_tokens=1).status_code == 200
    refused = complete(http, max_tokens=1)

    error = refused.json()["error"]
    assert refused.status_code == 429
    assert (error["code"], error["type"]) == ("rate_limit_exceeded", "requests")
    assert left(refused) == 0
    wait = int(refused.headers["retry-after-ms"])
    assert 50_000 < wait <= 60_000
    assert int(refused.headers["retry-after"]) == -(-wait // 1000)


def test_tokens_are_charged_by_estimate_and_settled_by_use(http: httpx.Client) -> None:
    # Each might take 3 + 40; it takes 3 + 32.
    answer = complete(http, max_tokens=40)

    assert left(answer, "tokens") == 200 - 35
    assert left(http.get("/v1/models"), "tokens") == 200 - 35


def test_a_request_for_more_tokens_than_are_left_is_refused(http: httpx.Client) -> None:
    first = complete(http, prompt=["one two"] * 4, max_tokens=40)
    assert first.status_code == 200 and left(first, "tokens") == 200 - 4 * 34
    refused = complete(http, prompt=["one two"] * 2, max_tokens=40)

    assert refused.status_code == 429
    assert refused.json()["error"]["type"] == "tokens"
    assert left(refused, "tokens") == 64, "nothing of it was charged"
    assert left(refused) == 4


def test_a_prompt_or_an_answer_beyond_the_callers_size_is_400(http: httpx.Client) -> None:
    long = complete(http, prompt="word " * 51)
    greedy = complete(http, max_tokens=41)
    chat = http.post(
        "/v1/chat/completions",
        json={"messages": [{"role": "user", "content": "x"}], "max_completion_tokens": 99},
    )
    embedded = http.post("/v1/embeddings", json={"input": ["a", "word " * 51]})

    found = [(each.status_code, each.json()["error"]["param"]) for each in (long, greedy, chat)]
    assert found == [(400, "prompt"), (400, "max_tokens"), (400, "max_completion_tokens")]
    assert (embedded.status_code, embedded.json()["error"]["param"]) == (400, "input")
    assert left(http.get("/v1/models")) == 5


def test_an_answer_of_no_given_length_is_no_longer_than_it_may_be(http: httpx.Client) -> None:
    chat = {"messages": [{"role": "user", "content": "x"}], "ignore_eos": True}
    answer = http.post("/v1/chat/completions", json=chat)

    assert answer.json()["usage"]["completion_tokens"] == 40
    assert answer.json()["choices"][0]["finish_reason"] == "length"


def test_a_repeat_that_joins_is_not_charged(http: httpx.Client) -> None:
    for _ in range(3):
        answer = complete(http, {"idempotency-key": "once"}, max_tokens=2)
        assert answer.status_code == 200

    assert left(answer) == 4 and left(answer, "tokens") == 195


def test_a_stream_that_is_left_is_charged_what_was_written(http: httpx.Client) -> None:
    with http.stream("POST", "/v1/completions", json={**PROMPT, "max_tokens": 40, "stream": True}):
        pass

    wait_until(lambda: left(http.get("/v1/models"), "tokens") > 200 - 43)
    assert left(http.get("/v1/models")) == 4


def test_a_slot_is_held_until_the_generation_ends(http: httpx.Client) -> None:
    kept = {"inferneo-resume-for": "30"}
    body = {**PROMPT, "max_tokens": 40, "ignore_eos": True, "stream": True}
    for _ in range(2):
        # The reader leaves; the generation goes on.
        with http.stream("POST", "/v1/completions", json=body, headers=kept) as answer:
            assert answer.status_code == 200
    refused = complete(http, max_tokens=1)

    assert refused.status_code == 429
    assert "2 requests may run at once" in refused.json()["error"]["message"]
    assert left(refused) == 3
    wait_until(lambda: complete(http, max_tokens=1).status_code == 200)


def test_what_the_engine_refuses_is_given_back(http: httpx.Client) -> None:
    answer = complete(http, logprobs=1)

    assert answer.status_code == 400
    assert left(answer) == 5 and left(answer, "tokens") == 200


def test_a_socket_tells_what_is_left_in_its_last_frame(limited_server: RunningServer) -> None:
    address = limited_server.url.replace("http", "ws") + "/v1/completions"
    frames = []
    with connect_socket(address, additional_headers=bearer(next(_unused))) as socket:
        for number in range(6):
            call = {**PROMPT, "request_id": number, "stream": True, "max_tokens": 1}
            socket.send(json.dumps(call))
            while "choices" in (frame := json.loads(socket.recv(timeout=20))):
                pass
            frames.append(frame)

    assert [frame["limits"]["requests"]["remaining"] for frame in frames] == [4, 3, 2, 1, 0, 0]
    assert [frame["limits"]["tokens"]["remaining"] for frame in frames[:2]] == [196, 192]
    assert frames[-1]["status"] == 429
    assert 50_000 < frames[-1]["retry_after_ms"] <= 60_000
    assert frames[-1]["limits"]["requests"]["reset"] > time.time()


def test_the_client_raises_what_the_server_raised(limited_server: RunningServer) -> None:
    with Inferneo(
        base_url=f"{limited_server.url}/v1", api_key=next(_unused), max_retries=0
    ) as client:
        for _ in range(5):
            done = client.completions.create(prompt="one two", max_tokens=1)
        assert done.response and done.response.limits.requests
        assert done.response.limits.requests.remaining == 0
        with pytest.raises(RateLimited) as refused:
            client.completions.create(prompt="one two", max_tokens=1)

    assert refused.value.type == "requests"
    assert float(refused.value.headers["retry-after-ms"]) > 1000


def test_over_a_socket_the_client_raises_the_same(limited_server: RunningServer) -> None:
    with (
        Inferneo(
            base_url=f"{limited_server.url}/v1", api_key=next(_unused), max_retries=0
        ) as client,
        client.connect() as socket,
    ):
        for _ in range(5):
            socket.completions.create(prompt="one two", max_tokens=1)
        with pytest.raises(RateLimited) as refused:
            socket.completions.create(prompt="one two", max_tokens=1)

    assert refused.value.retry_after and 50 < refused.value.retry_after <= 60
    assert refused.value.headers["x-ratelimit-remaining-requests"] == "0"


def test_a_quota_that_is_used_up_is_another_error(tmp_path: Path) -> None:
    flags = ("--engine", "simulated", *keyed("a"), "--default-limits", "{tokens_total: 30}")
    state = {"INFERNEO_STATE_DIR": str(tmp_path)}
    for expected in (200, 429):
        # It outlives the server.
        with (
            running_server(*flags, environment=state) as server,
            httpx.Client(base_url=server.url, headers=bearer("a")) as http,
        ):
            answer = complete(http, ignore_eos=True, max_tokens=27)
            assert answer.status_code == expected
    error = answer.json()["error"]
    assert (error["code"], error["type"]) == ("insufficient_quota", "insufficient_quota")
    assert "retry-after" not in answer.headers
    assert answer.headers["x-should-retry"] == "false"
    assert answer.headers["x-ratelimit-remaining-tokens"] == "0"
    assert "x-ratelimit-reset-tokens" not in answer.headers
    assert QuotaExceeded.code == error["code"]


def test_callers_without_a_key_are_limited_by_their_address() -> None:
    flags = ("--anonymous-limits", "{requests_per_minute: 2}", "--host", "127.0.0.1")
    with running_server("--engine", "simulated", *flags) as server:
        with httpx.Client(base_url=server.url) as http:
            assert [complete(http).status_code for _ in range(3)] == [200, 200, 429]
        address = server.url.replace("http", "ws") + "/v1/completions"
        with connect_socket(address) as socket:
            socket.send(json.dumps(PROMPT))
            assert json.loads(socket.recv(timeout=20))["status"] == 429
        elsewhere = httpx.HTTPTransport(local_address="127.0.0.9")
        with httpx.Client(base_url=server.url, transport=elsewhere) as http:
            assert [complete(http).status_code for _ in range(3)] == [200, 200, 429]


def test_a_model_may_have_limits_of_its_own() -> None:
    flags = ("--model-limits", "my-model={requests_per_minute: 1}", *keyed("a", "b"))
    with running_server(
        *("--engine", "simulated", "--served-model-name", "my-model"), *flags
    ) as server:
        for key in ("a", "b"):
            with httpx.Client(base_url=server.url, headers=bearer(key)) as http:
                answers = [complete(http) for _ in range(2)]
                assert [answer.status_code for answer in answers] == [200, 429]
                assert [left(answer) for answer in answers] == [0, 0]
        metrics = httpx.get(f"{server.url}/metrics", headers=bearer("a")).text
    assert 'inferneo_requests_refused_total{reason="requests_per_minute"} 2.0' in metrics


@contextlib.contextmanager
def away(port: int = 0) -> Iterator[str]:
    """The address of a Redis that takes connections and says nothing; not even that, at port 1."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(64)
        yield f"redis://:hidden@127.0.0.1:{port or silent.getsockname()[1]}/0"


@pytest.mark.parametrize("port", [0, 1])
def test_a_store_that_cannot_be_reached_is_told_at_the_start_and_lets_nobody_spend(
    port: int,
) -> None:
    keys = ("--api-keys=a", '--api-keys={"key": "free", "limits": {}}')
    with (
        away(port) as url,
        running_server(
            *("--engine=simulated", *keys, "--default-limits=inferneo"),
            *("--limits-store", url, "--streams-store", url),
        ) as server,
        httpx.Client(base_url=server.url, headers=bearer("a"), timeout=30) as http,
    ):

        def told(text: str) -> bool:
            return http.get("/ready").status_code == 200 and text in server.log

        # Before the leases are renewed for the first time, which would find out as well.
        warning = "WARNING limits_store fails; callers with limits get 503"
        wait_until(lambda: told(warning), seconds=RENEW_SECONDS / 2)
        wait_until(lambda: told("ERROR streams_store fails; "))
        answer = complete(http)
        assert http.get("/v1/models").status_code == 200
        assert complete(http, headers=bearer("free")).status_code == 200
    assert answer.status_code == 503
    assert answer.json()["error"]["code"] == "limits_unavailable"
    assert answer.headers["retry-after"] == "1"
    assert server.log.count("limits_store fails") == 1
    assert "Traceback" not in server.log and "hidden" not in server.log


def test_a_store_that_comes_later_is_used_at_once() -> None:
    with running_redis() as url:
        port = int(url.rpartition(":")[2].partition("/")[0])
    flags = ("--limits-store", url, "--usage-store=memory", "--default-limits=inferneo")
    with (
        running_server("--engine=simulated", *flags, *keyed("a")) as server,
        httpx.Client(base_url=server.url, headers=bearer("a"), timeout=30) as http,
    ):
        assert complete(http).status_code == 503
        with running_redis(port):
            assert left(complete(http)) == 59
    assert "limits_store is back" in server.log


@pytest.mark.parametrize("store", ["memory", "sqlite", "redis"])
def test_two_hundred_clients_of_two_servers_get_what_there_is_and_no_more(
    store: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    key = f"shared-{store}"
    flags = [
        *("--engine", "simulated", *keyed(key)),
        *("--default-limits", "{requests_per_minute: 60, tokens_per_day: 1000000}"),
        *("--limits-store", request.getfixturevalue("redis_url") if store == "redis" else store),
    ]
    state = {"INFERNEO_STATE_DIR": str(tmp_path)}

    async def ask(urls: list[str]) -> list[httpx.Response]:
        bounds = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(headers=bearer(key), timeout=50, limits=bounds) as http:
            return await asyncio.gather(
                *(
                    http.post(
                        f"{urls[number % len(urls)]}/v1/completions",
                        json={**PROMPT, "stream": number % 3 == 0, "max_tokens": 4},
                    )
                    for number in range(CLIENTS)
                )
            )

    with (
        running_server(*flags, environment=state) as one,
        running_server(*flags, environment=state) as other,
    ):
        # What is in memory is shared by nobody.
        urls = [one.url] if store == "memory" else [one.url, other.url]
        answers = asyncio.run(ask(urls))
        told = [
            httpx.get(f"{url}/v1/usage", headers=bearer(key), timeout=30).json()["total"]
            for url in urls
        ]
        tokens = left(httpx.get(f"{urls[-1]}/v1/models", headers=bearer(key)), "tokens")

    statuses = [answer.status_code for answer in answers]
    assert (statuses.count(200), statuses.count(429)) == (60, CLIENTS - 60)
    # All is settled, and metered once, whoever is asked.
    assert tokens == 1_000_000 - 60 * 7
    assert [(each["requests"], each["completion_tokens"]) for each in told] == [(60, 240)] * len(
        urls
    )
