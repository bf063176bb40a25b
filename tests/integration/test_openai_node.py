"""OpenAI's client for Node: its scenarios lie in `tests/node`, and run under node's own runner."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.servers import RunningServer

PROJECT = Path(__file__).parents[1] / "node"
INSTALL_SECONDS = 90
TEST_SECONDS = 100


@pytest.fixture(scope="session")
def node_project() -> Path:
    """The scenarios with their packages, which are installed where they are not yet there."""
    if not shutil.which("node") or not shutil.which("npm"):
        pytest.skip("node and npm are not installed")
    pinned = json.loads((PROJECT / "package.json").read_text())["dependencies"]["openai"]
    installed = PROJECT / "node_modules/openai/package.json"
    if not installed.exists() or json.loads(installed.read_text())["version"] != pinned:
        subprocess.run(
            ["npm", "install", "--no-package-lock", "--no-audit", "--no-fund"],
            cwd=PROJECT,
            check=True,
            timeout=INSTALL_SECONDS,
        )
    return PROJECT


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
