"""Proves that docs/protocol.md is enough to write a client: one for Node lies in `tests/node`."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.servers import running_server

CLIENT = Path(__file__).parents[1] / "node/wire.mjs"
KEY = "sk-of-the-client-for-node"
TEST_SECONDS = 60
MAX_LINES = 100


def test_a_client_for_node_streams_cancels_and_resumes() -> None:
    if not shutil.which("node"):
        pytest.skip("node is not installed")
    assert len(CLIENT.read_text().splitlines()) < MAX_LINES
    flags = ("--engine=simulated", "--engine-args=token_seconds=0.02", f"--api-key={KEY}")
    with running_server(*flags) as server:
        run = subprocess.run(
            # Node has a WebSocket from version 20 on, from 22 on without the flag.
            ["node", "--experimental-websocket", "--test", "wire.test.mjs"],
            cwd=CLIENT.parent,
            env={**os.environ, "BASE_URL": server.url, "KEY": KEY},
            capture_output=True,
            text=True,
            timeout=TEST_SECONDS,
        )
    assert run.returncode == 0, run.stdout + run.stderr
    assert "# pass 6" in run.stdout
