"""A client that leaves frees the engine, whatever it waits for: by the engines' own counts."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from tests.integration.sockets import connect, request
from tests.integration.waiting import wait_running, wait_until
from tests.servers import RunningServer

MAX_TOKENS = 1900
ASKED = {
    "model": "inferneo-tiny",
    "messages": [{"role": "user", "content": "Count without end."}],
    "max_tokens": MAX_TOKENS,
    "temperature": 1,
    "ignore_eos": True,
}
FORMS = {
    "streamed": {"stream": True},
    "unary": {},
    "three choices": {"n": 3},
    "three streamed choices": {"n": 3, "stream": True},
}
each_form = pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)


def asked(**fields: Any) -> bytes:
    return request("POST", "/v1/chat/completions", {**ASKED, **fields})


@contextlib.contextmanager
def ends_early(server: RunningServer, choices: int) -> Iterator[None]:
    """Check that what the block began is given up, and by vLLM too, before it is all written."""
    wait_running(server, 0)
    written = server.metric("vllm:generation_tokens_total")
    yield
    wait_running(server, 0)
    if "vllm" in httpx.get(f"{server.url}/metrics").text:
        probe(server)
        wait_until(lambda: server.metric("vllm:num_requests_running") == 0)
        assert server.metric("vllm:num_requests_waiting") == 0
        assert server.metric("vllm:generation_tokens_total") - written < choices * MAX_TOKENS


def probe(server: RunningServer) -> None:
    """A short request: vLLM renews its gauges with each step, and an abort is none."""
    body = {**ASKED, "max_tokens": 2}
    httpx.post(f"{server.url}/v1/chat/completions", json=body, timeout=60).raise_for_status()


@each_form
def test_hanging_up_while_waiting_for_a_token_frees_the_engine(
    busy_server: RunningServer, form: dict[str, Any]
) -> None:
    choices = form.get("n", 1)
    with ends_early(busy_server, choices), connect(busy_server) as connection:
        connection.sendall(asked(**form))
        wait_running(busy_server, choices)


@each_form
def test_hanging_up_on_several_prompts_frees_the_engine(
    busy_server: RunningServer, form: dict[str, Any]
) -> None:
    body = {**ASKED, **form, "prompt": ["One", "Two"]}
    del body["messages"]
    choices = 2 * form.get("n", 1)
    with ends_early(busy_server, choices), connect(busy_server) as connection:
        connection.sendall(request("POST", "/v1/completions", body))
        wait_running(busy_server, choices)


def test_hanging_up_in_mid_answer_frees_vllm(vllm_server: RunningServer) -> None:
    body = {**ASKED, "stream": True}
    with ends_early(vllm_server, 1):
        with httpx.stream(
            "POST", f"{vllm_server.url}/v1/chat/completions", json=body, timeout=60
        ) as answer:
            lines = answer.iter_lines()
            text = [line for line in (next(lines) for _ in range(12)) if '"content"' in line]
        assert len(text) > 1


def test_one_client_that_leaves_does_not_take_another_along(busy_server: RunningServer) -> None:
    with ends_early(busy_server, 2), connect(busy_server) as staying:
        staying.sendall(asked(stream=True))
        with connect(busy_server) as leaving:
            leaving.sendall(asked(stream=True))
            wait_running(busy_server, 2)
        wait_running(busy_server, 1)
        assert staying.recv(65536).startswith(b"HTTP/1.1 200 ")


def test_hanging_up_with_a_reset_frees_the_engine(slow_server: RunningServer) -> None:
    with connect(slow_server, receive_buffer=1024) as connection:
        connection.sendall(asked(stream=True))
        wait_running(slow_server, 1)
        # The keep-alive comments stay unread, and so the kernel answers with a reset.
        wait_until(lambda: unread(slow_server, connection.getsockname()[1]) > 0)
    wait_running(slow_server, 0)


def test_hanging_up_with_a_second_request_in_the_pipeline_frees_the_engine(
    slow_server: RunningServer,
) -> None:
    with connect(slow_server) as connection:
        connection.sendall(asked(stream=True) + asked(stream=True))
        wait_running(slow_server, 1)
    wait_running(slow_server, 0)


def test_a_client_that_stops_reading_and_hangs_up_frees_the_engine(
    simulated_server: RunningServer,
) -> None:
    choices, tokens = 16, 16_000
    before = simulated_server.metric("inferneo_completion_tokens_total")
    with connect(simulated_server, receive_buffer=1024) as connection:
        connection.sendall(asked(stream=True, n=choices, max_tokens=tokens))
        wait_until(lambda: stuck(simulated_server, connection.getsockname()[1]))
        assert simulated_server.metric("inferneo_choices_running") == choices
    wait_running(simulated_server, 0)
    written = simulated_server.metric("inferneo_completion_tokens_total") - before
    assert 0 < written < choices * tokens


def stuck(server: RunningServer, client_port: int) -> bool:
    """Whether the server's socket stays full, over several rounds of its event loop."""
    queues = set()
    for _ in range(10):
        server.metric("inferneo_choices_running")
        queues.add(queue(urlsplit(server.url).port, client_port)[0])
    return len(queues) == 1 and 0 not in queues


def unread(server: RunningServer, client_port: int) -> int:
    server.metric("inferneo_choices_running")
    return queue(client_port, urlsplit(server.url).port)[1]


def queue(local_port: int | None, remote_port: int | None) -> tuple[int, int]:
    """Bytes that a socket has not sent, and that its owner has not read (proc(5), net/tcp)."""
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        local, remote = (int(address.rpartition(":")[2], 16) for address in fields[1:3])
        if (local, remote) == (local_port, remote_port):
            sending, receiving = (int(size, 16) for size in fields[4].split(":"))
            return sending, receiving
    return 0, 0
