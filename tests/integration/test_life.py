"""A server's life and death: it drains on a signal, and nothing of it outlives it."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.conftest import VLLM_FLAGS
from tests.integration.waiting import wait_until
from tests.servers import READY_SECONDS, RunningServer, running_server

BOUND_SECONDS = 30.0
GONE_SECONDS = 5.0
ENGINE_TEST_SECONDS = 2 * READY_SECONDS

ENDLESS = {"prompt": "Once", "max_tokens": 1500, "ignore_eos": True, "stream": True}


def alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def status_of(server: RunningServer, path: str) -> int:
    """The status of an answer; 0 where there is no server any more."""
    try:
        return httpx.get(f"{server.url}{path}", timeout=10).status_code
    except httpx.TransportError:
        return 0


@contextmanager
def slow_server(*flags: str) -> Iterator[RunningServer]:
    """A server whose answers take their time: a token each 20 ms."""
    arguments = ("--engine-args", "token_seconds=0.02", "--engine-args", "words=100")
    with running_server("--engine", "simulated", *arguments, *flags) as server:
        yield server


@contextmanager
def open_stream(server: RunningServer, max_tokens: int) -> Iterator[Iterator[str]]:
    """A streamed completion whose first event has been read; gives the lines that follow."""
    body = ENDLESS | {"max_tokens": max_tokens}
    with (
        httpx.Client(timeout=BOUND_SECONDS) as client,
        client.stream("POST", f"{server.url}/v1/completions", json=body) as response,
    ):
        lines = response.iter_lines()
        assert next(lines).startswith("data: ")
        yield lines


def test_a_signal_lets_running_requests_finish_and_refuses_new_ones() -> None:
    with slow_server() as server, open_stream(server, max_tokens=50) as lines:
        server.process.send_signal(signal.SIGTERM)
        wait_until(lambda: status_of(server, "/ready") == 503)
        refused = httpx.post(f"{server.url}/v1/completions", json={"prompt": "x"})
        assert refused.status_code == 503
        assert refused.json()["error"]["code"] == "draining"
        assert int(refused.headers["retry-after"]) >= 1
        assert [line for line in lines if line][-1] == "data: [DONE]"
        assert server.process.wait(BOUND_SECONDS) == 0


def test_draining_has_a_limit() -> None:
    with slow_server("--drain-seconds", "0.2") as server, open_stream(server, 1500):
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(BOUND_SECONDS) == 0


def test_a_second_signal_ends_the_server_at_once() -> None:
    with slow_server("--drain-seconds", "600") as server, open_stream(server, 1500):
        server.process.send_signal(signal.SIGINT)
        wait_until(lambda: status_of(server, "/ready") == 503)
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(BOUND_SECONDS) == 0


@pytest.mark.timeout(ENGINE_TEST_SECONDS)
def test_a_signal_while_the_model_loads_ends_the_server_and_its_processes() -> None:
    server = RunningServer(*VLLM_FLAGS)
    try:
        server.wait_listening()
        assert status_of(server, "/ready") == 503
        assert status_of(server, "/health") == 200
        refused = httpx.post(f"{server.url}/v1/completions", json={"prompt": "x"})
        assert refused.status_code == 503
        assert refused.json()["detail"].startswith("Engine not initialized")
        wait_until(lambda: bool(server.descendants()), seconds=READY_SECONDS)
        processes = server.descendants()
    finally:
        server.stop()
    wait_until(lambda: not any(alive(pid) for pid in processes), seconds=GONE_SECONDS)
    assert "Traceback" not in server.log


@pytest.mark.timeout(ENGINE_TEST_SECONDS)
def test_a_model_that_is_not_there_ends_the_server_with_the_reason(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "inferneo_server", "--port", "0", "--model", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=READY_SECONDS,
    )
    assert done.returncode == 1
    told = [line for line in done.stderr.splitlines() if line][-1]
    assert told.startswith(f"inferneo-server: {tmp_path} cannot be served: "), done.stderr


@pytest.fixture(scope="module")
def mortal_server() -> Iterator[RunningServer]:
    """A server with a real engine that its tests may kill."""
    with running_server(*VLLM_FLAGS) as server:
        yield server


def engine_processes(server: RunningServer) -> list[int]:
    """The processes of vLLM's engine; the rest are Python's own trackers."""
    return [
        pid for pid in server.descendants() if b"VLLM" in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]


@pytest.mark.timeout(ENGINE_TEST_SECONDS)
def test_a_killed_engine_fails_its_requests_and_is_started_again(
    mortal_server: RunningServer,
) -> None:
    server = mortal_server
    before = engine_processes(server)
    assert before
    with open_stream(server, max_tokens=1500) as lines:
        os.kill(before[0], signal.SIGKILL)
        last = [line for line in lines if line][-1]
    assert '"code":"engine_unavailable"' in last
    wait_until(lambda: status_of(server, "/ready") == 503)
    wait_until(lambda: not any(alive(pid) for pid in before))
    wait_until(lambda: status_of(server, "/ready") == 200, seconds=READY_SECONDS)
    answer = httpx.post(f"{server.url}/v1/completions", json={"prompt": "x"}, timeout=60)
    assert answer.status_code == 200


def test_nothing_outlives_a_killed_server(mortal_server: RunningServer) -> None:
    processes = mortal_server.descendants()
    assert engine_processes(mortal_server)
    mortal_server.stop(signal.SIGKILL)
    wait_until(lambda: not any(alive(pid) for pid in processes), seconds=GONE_SECONDS)
