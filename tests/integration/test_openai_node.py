"""OpenAI's client for Node: its scenarios lie in `tests/node`, and run under node's own runner."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.servers import RunningServer

TEST_SECONDS = 100


@pytest.mark.parametrize("scenarios", ["openai.test.mjs", "responses.test.mjs"])
def test_the_client_for_node_is_content(
    scenarios: str,
    node_project: Path,
    server: RunningServer,
    slow_server: RunningServer,
    keyed_server: RunningServer,
    key: str,
) -> None:
    run = subprocess.run(
        ["node", "--test", scenarios],
        cwd=node_project,
        env={
            **os.environ,
            "BASE_URL": server.url,
            "SLOW_URL": slow_server.url,
            "KEYED_URL": keyed_server.url,
            "KEY": key,
        },
        capture_output=True,
        text=True,
        timeout=TEST_SECONDS,
    )
    assert run.returncode == 0, run.stdout + run.stderr
