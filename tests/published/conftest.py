"""Receives a script, or lines of the shell; hands on what they print, run as a page shows them."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.servers import RunningServer

RUN_SECONDS = 60
LOCALHOST = "http://localhost:8000"

Run = Callable[[str], str]


@pytest.fixture
def shell(vllm_server: RunningServer) -> Run:
    """Runs lines of the shell in which the server stands at a page's own address."""

    def run(lines: str) -> str:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", lines.replace(LOCALHOST, vllm_server.url)],
            capture_output=True,
            text=True,
            timeout=RUN_SECONDS,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


@pytest.fixture
def node(vllm_server: RunningServer, simulated_server: RunningServer, node_project: Path) -> Run:
    """Runs the scenarios of a file in `tests/node`."""

    def run(scenarios: str) -> str:
        done = subprocess.run(
            # Node has a WebSocket from version 20 on, from 22 on without the flag.
            ["node", "--experimental-websocket", "--test", scenarios],
            cwd=node_project,
            env={**os.environ, "BASE_URL": vllm_server.url, "QUICK_URL": simulated_server.url},
            capture_output=True,
            text=True,
            timeout=RUN_SECONDS,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run
