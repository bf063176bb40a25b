"""Proves that a server on a Unix socket answers there, leaves no file, and drives out nobody."""

import contextlib
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.servers import EXIT_SECONDS

SERVE = [sys.executable, "-m", "inferneo_server", "serve", "--engine=simulated"]


@contextlib.contextmanager
def running(path: Path, *flags: str) -> Iterator[httpx.Client]:
    """A server on a Unix socket that ends well, and a client that connects there."""
    given = [*SERVE, "--uds", str(path), "--state-dir", str(path.parent), *flags]
    with subprocess.Popen(given, stderr=subprocess.PIPE, text=True) as server:
        try:
            assert server.stderr is not None
            told = ""
            while f"curl -N --unix-socket {path} http://localhost/v1/" not in told:
                line = server.stderr.readline()
                assert line, told
                told += line
            transport = httpx.HTTPTransport(uds=str(path))
            with httpx.Client(transport=transport, base_url="http://localhost") as http:
                yield http
        finally:
            server.terminate()
        _, rest = server.communicate(timeout=EXIT_SECONDS)
    assert server.returncode == 0 and "Traceback" not in rest


def test_a_server_listens_on_a_unix_socket_and_takes_it_away(tmp_path: Path) -> None:
    path = tmp_path / "s.sock"
    # A host that would need a key does not count here.
    with running(path, "--host=0.0.0.0") as http:
        answer = http.post("/v1/completions", json={"prompt": "Hello", "max_tokens": 2})
        assert answer.json()["usage"]["completion_tokens"] == 2

    assert not path.exists()


@pytest.mark.parametrize("trusted", [True, False])
def test_a_proxy_there_says_where_requests_come_from(tmp_path: Path, trusted: bool) -> None:
    flags = ["--anonymous-limits", "{requests_per_minute: 1}"]
    flags += ["--forwarded-allow-ips=unix"] if trusted else []
    with running(tmp_path / "s.sock", *flags) as http:
        statuses = [
            http.post(
                "/v1/completions",
                json={"prompt": "Hello", "max_tokens": 2},
                headers={"x-forwarded-for": client},
            ).status_code
            for client in ("203.0.113.1", "203.0.113.2", "203.0.113.1")
        ]

    assert statuses == ([200, 200, 429] if trusted else [200, 429, 429])


def refusal(path: Path, state_dir: Path) -> str:
    """The last line of a server that cannot listen there."""
    flags = ["--uds", str(path), "--state-dir", str(state_dir)]
    done = subprocess.run(
        [*SERVE, *flags], capture_output=True, text=True, timeout=EXIT_SECONDS, check=False
    )
    assert done.returncode == 1 and "Traceback" not in done.stderr
    return done.stderr.splitlines()[-1]


def test_a_socket_that_another_server_listens_on_is_left_to_it(tmp_path: Path) -> None:
    path = tmp_path / "s.sock"
    with running(path) as http:
        told = refusal(path, tmp_path)
        assert http.get("/ready").status_code == 200
    assert told == f"inferneo-server: cannot listen on {path}: another server listens there"


def test_so_is_that_of_a_server_too_busy_to_accept(tmp_path: Path) -> None:
    path = tmp_path / "s.sock"
    with contextlib.ExitStack() as stack, socket.socket(socket.AF_UNIX) as busy:
        busy.bind(str(path))
        busy.listen(0)
        with pytest.raises(BlockingIOError):
            while True:
                waiting = stack.enter_context(socket.socket(socket.AF_UNIX))
                waiting.setblocking(False)
                waiting.connect(str(path))
        assert refusal(path, tmp_path).endswith(": another server listens there")
    assert path.exists()


def test_a_socket_that_a_dead_server_left_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "s.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
        dead.listen()

    with running(path) as http:
        assert http.get("/ready").status_code == 200
    assert not path.exists()


def test_a_socket_that_another_server_put_there_meanwhile_stays(tmp_path: Path) -> None:
    path = tmp_path / "s.sock"
    with socket.socket(socket.AF_UNIX) as other:
        with running(path):
            path.unlink()
            other.bind(str(path))
        assert path.exists()


def test_a_socket_that_cannot_be_made_ends_the_program_with_a_line(tmp_path: Path) -> None:
    path = tmp_path / "nowhere" / "s.sock"

    assert refusal(path, tmp_path).startswith(f"inferneo-server: cannot listen on {path}: ")
