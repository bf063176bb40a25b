"""An engine that fails in the middle of an answer: the client is told, and nothing is left."""

import json
from collections.abc import Iterator

import httpx
import openai
import pytest

from inferneo_core import EventDecoder
from tests.integration.waiting import wait_running
from tests.servers import RunningServer, running_server

CHAT = {"messages": [{"role": "user", "content": "Hello"}]}


@pytest.fixture(scope="module")
def failing_server() -> Iterator[RunningServer]:
    """Its engine gives up each request after three tokens."""
    with running_server("--engine", "simulated", "--engine-args", "fail_after_tokens=3") as server:
        yield server


def test_a_stream_that_fails_ends_with_its_error_and_without_done(
    failing_server: RunningServer,
) -> None:
    url = f"{failing_server.url}/v1/chat/completions"
    answer = httpx.post(url, json=CHAT | {"stream": True})
    assert answer.status_code == 200
    events = [event.data for event in EventDecoder().feed(answer.content)]
    # The role and three tokens, then the end.
    assert len(events) == 5
    last = json.loads(events[-1])
    assert last["error"]["code"] == "engine_unavailable"
    assert last["detail"] == last["error"]["message"]
    wait_running(failing_server, 0)


def test_an_answer_that_fails_is_a_503_that_says_when_to_come_back() -> None:
    flags = ("--engine", "simulated", "--engine-args", "fail_after_tokens=0")
    with running_server(*flags) as server:
        answer = httpx.post(f"{server.url}/v1/chat/completions", json=CHAT)
        wait_running(server, 0)
    assert answer.status_code == 503
    assert answer.json()["error"]["code"] == "engine_unavailable"
    assert int(answer.headers["retry-after-ms"]) > 0


def test_the_sdk_raises_in_the_middle_of_a_stream_that_fails(failing_server: RunningServer) -> None:
    seen: list[str] = []
    with openai.OpenAI(base_url=f"{failing_server.url}/v1", api_key="none") as client:
        stream = client.completions.create(model="inferneo-tiny", prompt="x", stream=True)
        with pytest.raises(openai.APIError, match="engine"):
            seen.extend(chunk.choices[0].text for chunk in stream)
        stream.close()
    wait_running(failing_server, 0)
