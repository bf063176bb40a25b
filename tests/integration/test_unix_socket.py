"""Proves that a server on a Unix socket answers there, and leaves no file behind."""

import subprocess
import sys
from pathlib import Path

import httpx

from tests.servers import EXIT_SECONDS

SERVE = [sys.executable, "-m", "inferneo_server", "serve", "--engine=simulated"]


def test_a_server_listens_on_a_unix_socket_and_takes_it_away(tmp_path: Path) -> None:
    path = tmp_path / "s.sock"
    # A host that would need a key does not count here.
    flags = ["--uds", str(path), "--host=0.0.0.0", "--state-dir", str(tmp_path)]
    with subprocess.Popen([*SERVE, *flags], stderr=subprocess.PIPE, text=True) as server:
        try:
            assert server.stderr is not None
            told = ""
            while f"curl -N --unix-socket {path} http://localhost/v1/" not in told:
                line = server.stderr.readline()
                assert line, told
                told += line
            with httpx.Client(transport=httpx.HTTPTransport(uds=str(path))) as http:
                body = {"prompt": "Hello", "max_tokens": 2}
                answer = http.post("http://localhost/v1/completions", json=body)
            assert answer.json()["usage"]["completion_tokens"] == 2
        finally:
            server.terminate()
        _, rest = server.communicate(timeout=EXIT_SECONDS)

    assert server.returncode == 0 and "Traceback" not in rest
    assert not path.exists()


def test_a_socket_that_cannot_be_made_ends_the_program_with_a_line(tmp_path: Path) -> None:
    path = tmp_path / "nowhere" / "s.sock"
    flags = ["--uds", str(path), "--state-dir", str(tmp_path)]
    done = subprocess.run(
        [*SERVE, *flags], capture_output=True, text=True, timeout=EXIT_SECONDS, check=False
    )

    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith(f"inferneo-server: cannot listen on {path}: ")
