"""Proves that no key, token or prompt reaches the log, the metrics or an error, nor a path of the
server, whichever way it comes and whatever goes wrong."""

import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.integration.sockets import connect, exchange, request
from tests.servers import RunningServer, running_server
from tests.survival.frames import CHAT, Closed, RawSocket

KEY, PLAIN_KEY = "sk-secret-0123456789", "sk-secret-abcdefghij"
WRONG, HUB_TOKEN = "sk-secret-wrong-5555", "hf_secret0123456789"
PROMPT = "the-prompt-nobody-else-reads"
# What is made from them counts as well.
SECRETS = (KEY, PLAIN_KEY, WRONG, HUB_TOKEN, "secret", "eyJ", PROMPT)
BODY = {"messages": [{"role": "user", "content": PROMPT}], "max_tokens": 3, "ignore_eos": True}
_PATHS = re.compile(r"/(?:home|root|tmp|usr|work|opt)/|site-packages|\.py\b|Traceback|File \"")

FLAGS = ("--engine=simulated", "--log-level=debug", f"--api-keys={KEY}")
ENVIRONMENT = {"HF_TOKEN": HUB_TOKEN, "INFERNEO_API_KEY": PLAIN_KEY}


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    """A server that logs all it can, and knows secrets."""
    with running_server(*FLAGS, environment=ENVIRONMENT) as server:
        yield server


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


@pytest.fixture(scope="module")
def told(server: RunningServer) -> tuple[list[str], list[str]]:
    """What the server said to requests of all kinds: to all of them, and where it refused."""
    said: list[str] = []
    refused: list[str] = []

    def note(status: int, text: str) -> None:
        said.append(text)
        if status >= 400:
            refused.append(text)

    with httpx.Client(base_url=server.url, timeout=30) as http:
        token = http.post("/v1/tokens", json={}, headers=bearer(KEY)).json()["token"]
        ways: list[tuple[str, dict[str, str]]] = [
            ("", bearer(KEY)),
            ("", bearer(PLAIN_KEY)),
            ("", bearer(token)),
            ("", bearer(WRONG)),
            ("", {"Authorization": f"Basic {WRONG}"}),
            ("", {"Authorization": WRONG}),
            ("", {"x-api-key": KEY}),
            ("", {"x-api-key": WRONG}),
            (f"?token={token}", {}),
            (f"?token={WRONG}", {}),
            (f"?api_key={KEY}", {}),
        ]
        bodies: list[dict[str, Any]] = [
            {"json": BODY},
            {"json": BODY | {"stream": True}},
            {"json": BODY | {"temperature": 9}},
            {"json": BODY | {"model": "no-such"}},
            {"json": {"messages": [{"role": "user", "content": {"text": PROMPT}}]}},
            {"content": b'{"messages": "' + PROMPT.encode()},
        ]
        for query, headers in ways:
            for body in bodies:
                for path in ("/v1/chat/completions", "/v1/messages"):
                    answer = http.post(path + query, headers=headers, **body)
                    note(answer.status_code, answer.text)
            for path in ("/v1/models", "/v1/streams/none", "/v1/nothing", "/docs/assets/a%00b"):
                answer = http.get(path + query, headers=headers)
                note(answer.status_code, answer.text)
        name = http.get("/docs/assets/" + "a" * 1000)
        assert name.status_code == 404
        note(name.status_code, name.text)
    for lines, path in (
        ([f"Authorization: Bearer {KEY}"], CHAT),
        ([f"Authorization: Bearer {WRONG}"], CHAT),
        ([f"Sec-WebSocket-Protocol: inferneo, bearer.{KEY}"], CHAT),
        ([f"Sec-WebSocket-Protocol: bearer.{WRONG}"], CHAT),
        ([f"Sec-WebSocket-Protocol: ,{KEY},,"], CHAT),
        ([f"Sec-WebSocket-Version: {KEY}"], CHAT),
        ([], f"{CHAT}?token={token}"),
        ([], f"{CHAT}?token={WRONG}"),
        ([], CHAT),
    ):
        with RawSocket(server, path, *lines) as session:
            if session.status != 101:
                note(session.status, session.body.decode())
                continue
            if not lines and path == CHAT:
                session.send({"type": "auth", "api_key": WRONG})
            session.send(BODY, BODY | {"temperature": 9}, {"messages": PROMPT})
            try:
                for _ in range(3):
                    frame = session.read()
                    note(frame.get("status", 200), str(frame))
            except Closed as closed:
                note(401, closed.reason)
    # What is no HTTP may hold a key too.
    for bad in (
        f"GET /v1/models?token={KEY} HTTP/1.1\r\nAuthorization: Bearer {KEY}\r\n\r\n",
        f"GET /{KEY} HTTP/3.0\r\n\r\n",
        f"{KEY} / HTTP/1.1\r\n\r\n",
        f"GET / HTTP/1.1\r\nHost: test\r\n{KEY}\r\n\r\n",
        f"GET / HTTP/1.1\r\nHost: {KEY}@test\r\n\r\n",
    ):
        with connect(server) as connection:
            connection.sendall(bad.encode())
            note(400, b"".join(iter(lambda: connection.recv(65536), b"")).decode())
    return said, refused


def test_no_answer_repeats_a_secret_but_for_the_token_that_was_asked_for(
    told: tuple[list[str], list[str]],
) -> None:
    for text in told[0]:
        for secret in SECRETS[:-1]:
            assert secret not in text


def test_an_error_tells_no_prompt_no_path_and_no_traceback(
    told: tuple[list[str], list[str]],
) -> None:
    assert len(told[1]) > 80
    for text in told[1]:
        assert PROMPT not in text
        assert not _PATHS.search(text), text


def test_the_log_at_its_loudest_holds_no_secret_and_no_prompt(
    server: RunningServer, told: tuple[list[str], list[str]]
) -> None:
    for secret in SECRETS:
        assert secret not in server.log, secret
    assert "Traceback" not in server.log and "ERROR" not in server.log
    assert "POST /v1/chat/completions 200" in server.log
    assert "POST /v1/chat/completions 401" in server.log


def test_the_metrics_hold_no_secret(
    server: RunningServer, told: tuple[list[str], list[str]]
) -> None:
    ending = request("GET", "/metrics", connection="close", **bearer(KEY))
    metrics = exchange(server, ending).decode()
    assert "inferneo_requests" in metrics
    for secret in SECRETS:
        assert secret not in metrics, secret


def test_prompts_are_logged_where_that_is_asked_for() -> None:
    with running_server("--engine=simulated", "--log-prompts") as server:
        httpx.post(f"{server.url}{CHAT}", json=BODY).raise_for_status()
        text = {"prompt": f"{PROMPT}\nforged line", "max_tokens": 3}
        httpx.post(f"{server.url}/v1/completions", json=text).raise_for_status()
        read = {
            "embeddings": {"input": [PROMPT, "other"]},
            "score": {"text_1": PROMPT, "text_2": "other"},
            "rerank": {"query": "other", "documents": [{"text": PROMPT}]},
        }
        for route, body in read.items():
            httpx.post(f"{server.url}/v1/{route}", json=body).raise_for_status()
        log = server.log
    lines = [line for line in log.splitlines() if PROMPT in line]
    assert len(lines) == 5 and not any(line.startswith("forged") for line in log.splitlines())
