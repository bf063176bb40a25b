"""Proves that a client with a wrong base URL is told what is wrong with it."""

import httpx
import pytest
from openai import NotFoundError, OpenAI

from tests.servers import RunningServer


@pytest.mark.parametrize("path", ["", "/v1/v1"])
def test_a_base_url_that_cannot_work_is_told_so(simulated_server: RunningServer, path: str) -> None:
    with (
        OpenAI(base_url=simulated_server.url + path, api_key="unused") as client,
        pytest.raises(NotFoundError, match="base URL"),
    ):
        client.models.list()


def test_another_path_is_told_alone(simulated_server: RunningServer) -> None:
    error = httpx.get(f"{simulated_server.url}/nowhere").json()["error"]
    assert error["message"] == "There is nothing at /nowhere"
