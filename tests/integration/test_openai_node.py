"""OpenAI's client for Node: its scenarios lie in `tests/node`, and run under node's own runner."""

import os
import subprocess
from pathlib import Path

import httpx
import pytest

from tests.servers import RunningServer

TEST_SECONDS = 100


def run(project: Path, scenarios: str, **environment: str) -> None:
    """Run a file of scenarios; what it found wrong fails the test."""
    done = subprocess.run(
        ["node", "--test", scenarios],
        cwd=project,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=TEST_SECONDS,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("scenarios", ["openai.test.mjs", "responses.test.mjs"])
def test_the_client_for_node_is_content(
    scenarios: str,
    node_project: Path,
    server: RunningServer,
    slow_server: RunningServer,
    keyed_server: RunningServer,
    key: str,
) -> None:
    urls = {"SLOW_URL": slow_server.url, "KEYED_URL": keyed_server.url}
    run(node_project, scenarios, BASE_URL=server.url, KEY=key, **urls)


def test_the_client_for_node_gets_tool_calls_and_structured_answers(
    node_project: Path, vllm_server: RunningServer
) -> None:
    run(node_project, "model.test.mjs", BASE_URL=vllm_server.url)


@pytest.mark.parametrize("engine", ["simulated", "minilm"])
def test_the_client_for_node_gets_vectors(
    engine: str, node_project: Path, request: pytest.FixtureRequest
) -> None:
    server: RunningServer = request.getfixturevalue(f"{engine}_server")
    model = httpx.get(f"{server.url}/v1/models", timeout=30).json()["data"][0]["id"]
    run(node_project, "embeddings.test.mjs", BASE_URL=server.url, MODEL=model)
