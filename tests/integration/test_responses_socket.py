"""Proves that OpenAI's client is content with the WebSocket at `/v1/responses`."""

import json
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Any

import pytest
from openai import OpenAI
from openai.resources.responses.responses import ResponsesConnection
from openai.types.responses import ResponsesServerEvent

from tests.integration.contract import fits, kinds
from tests.integration.waiting import wait_running
from tests.servers import RunningServer, running_server

# Of websockets, about how OpenAI's client calls it.
pytestmark = pytest.mark.filterwarnings("ignore:connect.. must be used:DeprecationWarning")

ASKED: dict[str, Any] = {
    "type": "response.create",
    "model": "inferneo-tiny",
    "input": "What is Inferneo?",
    "max_output_tokens": 8,
    "temperature": 0,
}
ENDS = {"response.completed", "response.incomplete", "response.failed", "error"}


@pytest.fixture(scope="module")
def client(server: RunningServer) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0, timeout=60) as client:
        yield client


def events_until(connection: ResponsesConnection, ends: int = 1) -> list[Any]:
    """The events up to the end of so many responses, each of its strict type."""
    known = kinds(ResponsesServerEvent)
    events: list[Any] = []
    while ends:
        data = connection.recv_bytes()
        kind = json.loads(data)["type"]
        events.append(fits(known[kind], data))
        ends -= kind in ENDS
    return events


def ask(connection: ResponsesConnection, **fields: Any) -> list[Any]:
    connection.send_raw(json.dumps({**ASKED, **fields}))
    return events_until(connection)


def kinds_in_turn(events: Iterable[Any]) -> list[str]:
    """The types of events; how many pieces a text comes in is up to the engine."""
    return [kind for kind, _ in groupby(event.type for event in events)]


def test_a_response_comes_as_the_events_of_its_stream(client: OpenAI) -> None:
    body = {name: value for name, value in ASKED.items() if name != "type"}
    with client.responses.create(**body, stream=True) as stream:
        over_http = kinds_in_turn(stream)
    with client.responses.connect() as connection:
        events = ask(connection)
    assert kinds_in_turn(events) == over_http
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert client.responses.retrieve(events[-1].response.id).output_text


def test_the_clients_own_words_create_a_response(client: OpenAI) -> None:
    with client.responses.connect() as connection:
        connection.response.create(
            model="inferneo-tiny", input="Hello", max_output_tokens=4, temperature=0
        )
        seen = []
        for event in connection:
            seen.append(event.type)
            if event.type in ENDS:
                break
    assert seen[0] == "response.created"
    assert seen[-1] in ("response.completed", "response.incomplete")


def test_a_socket_goes_on_from_what_was_not_to_be_stored(client: OpenAI) -> None:
    with client.responses.connect() as connection:
        first = ask(connection, store=False)[-1].response
        second = ask(connection, input="And then?", previous_response_id=first.id)[-1].response
    assert second.previous_response_id == first.id
    assert second.usage.input_tokens > first.usage.input_tokens
    with client.responses.connect() as other:
        (error,) = ask(other, previous_response_id=first.id)
    assert (error.type, error.status) == ("error", 400)
    assert error.error.code == "previous_response_not_found"


def test_input_can_be_prepared_without_an_answer(client: OpenAI) -> None:
    with client.responses.connect() as connection:
        events = ask(connection, generate=False)
        prepared = events[-1].response
        answered = ask(connection, input="Go on.", previous_response_id=prepared.id)[-1].response
    assert (prepared.status, prepared.output) == ("completed", [])
    assert prepared.usage.input_tokens > 0 and prepared.usage.output_tokens == 0
    assert answered.usage.input_tokens > prepared.usage.input_tokens


def test_frames_of_one_lane_are_answered_in_turn_and_say_which(client: OpenAI) -> None:
    with client.responses.connect() as connection:
        for lane in ("a", "a", "b"):
            connection.send_raw(json.dumps({**ASKED, "stream_id": lane}))
        events = events_until(connection, ends=3)
    turns = {
        lane: [
            event.type
            for event in events
            if event.stream_id == lane and event.type in {"response.created", *ENDS}
        ]
        for lane in ("a", "b")
    }
    # The second begins when the first has ended.
    assert turns["a"] == turns["b"] * 2
    assert turns["b"][0] == "response.created" and len(turns["b"]) == 2


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "a type that is none": ({"type": "response.steer"}, "type"),
    "a wrong field": ({"temperature": "hot"}, "temperature"),
    "no input": ({"input": None}, "input"),
    "a background": ({"background": True}, "background"),
    "an unknown model": ({"model": "nobodys/model"}, "model"),
}


@pytest.mark.parametrize(("fields", "param"), REFUSED.values(), ids=REFUSED)
def test_a_refusal_ends_its_frame_and_not_the_socket(
    client: OpenAI, fields: dict[str, Any], param: str
) -> None:
    with client.responses.connect() as connection:
        (refused,) = ask(connection, **fields)
        assert refused.type == "error" and refused.error.param == param
        connection.send_raw("no JSON")
        (refused,) = events_until(connection)
        assert refused.error.code == "invalid_json"
        assert ask(connection)[-1].type in ("response.completed", "response.incomplete")


def test_a_refusal_tells_what_is_left_and_when_to_try_again() -> None:
    with (
        running_server("--engine=simulated", "--anonymous-limits={requests_per_day: 1}") as server,
        OpenAI(base_url=f"{server.url}/v1", api_key="none") as client,
        client.responses.connect() as connection,
    ):
        ask(connection)
        connection.send_raw(json.dumps({**ASKED, "stream_id": "a"}))
        refused = json.loads(connection.recv_bytes())
    assert (refused["status"], refused["stream_id"]) == (429, "a")
    assert refused["retry_after_ms"] > 0
    assert refused["limits"]["requests"]["remaining"] == 0


def test_closing_the_socket_frees_the_engine(busy_server: RunningServer) -> None:
    wait_running(busy_server, 0)
    with (
        OpenAI(base_url=f"{busy_server.url}/v1", api_key="none", timeout=60) as client,
        client.responses.connect() as connection,
    ):
        connection.send_raw(json.dumps({**ASKED, "max_output_tokens": 1900, "ignore_eos": True}))
        wait_running(busy_server, 1)
    wait_running(busy_server, 0)


def test_a_key_is_asked_for(keyed_server: RunningServer, key: str) -> None:
    url = f"{keyed_server.url}/v1"
    with (
        OpenAI(base_url=url, api_key=key) as client,
        client.responses.connect() as connection,
    ):
        assert ask(connection)[-1].response.output
    with (
        OpenAI(base_url=url, api_key="wrong") as client,
        pytest.raises(Exception, match="401"),
        client.responses.connect(),
    ):
        pass
