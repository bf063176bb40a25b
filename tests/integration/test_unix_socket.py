"""Proves that a server on a Unix socket answers there, and leaves no file behind."""

import contextlib
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


def test_a_socket_that_cannot_be_made_ends_the_program_with_a_line(tmp_path: Path) -> None:
    path = tmp_path / "nowhere" / "s.sock"
    flags = ["--uds", str(path), "--state-dir", str(tmp_path)]
    done = subprocess.run(
        [*SERVE, *flags], capture_output=True, text=True, timeout=EXIT_SECONDS, check=False
    )

    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith(f"inferneo-server: cannot listen on {path}: ")
