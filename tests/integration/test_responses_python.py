"""Proves that OpenAI's client for Python is content with `/v1/responses`, whole and streamed."""

from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest
from openai import OpenAI
from openai.types.responses import Response, ResponseItemList, ResponseStreamEvent

from tests.integration.contract import answer_of, events_of, fits, named_events, post
from tests.integration.sockets import connect, request
from tests.integration.waiting import wait_running, wait_until
from tests.servers import RunningServer, running_server

MODEL = "inferneo-tiny"
PATH = "/v1/responses"
MAX_TOKENS = 8
ASKED: dict[str, Any] = {
    "model": MODEL,
    "input": "What is Inferneo?",
    "max_output_tokens": MAX_TOKENS,
    "temperature": 0,
}
# No answer ends by itself here: the tokens can be counted.
ENDLESS = {"ignore_eos": True}
SENT = {**ASKED, **ENDLESS}
# The lines that every stream of one message has, but for its deltas.
FRAME = [
    "response.created",
    "response.in_progress",
    "response.output_item.added",
    "response.content_part.added",
    "response.output_text.delta",
    "response.output_text.done",
    "response.content_part.done",
    "response.output_item.done",
]


@pytest.fixture(scope="module")
def client(server: RunningServer) -> Iterator[OpenAI]:
    """A client that tries nothing twice."""
    with OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0, timeout=60) as client:
        yield client


def ask(client: OpenAI, **fields: Any) -> Response:
    answer: Response = client.responses.create(**{**ASKED, "extra_body": ENDLESS, **fields})
    return answer


def streamed(client: OpenAI, **fields: Any) -> list[Any]:
    asked = {**ASKED, "stream": True, "extra_body": ENDLESS, **fields}
    with client.responses.create(**asked) as stream:
        return list(stream)


def types(events: list[Any]) -> list[str]:
    """The types of events in their order, each once where it repeats."""
    return list(dict.fromkeys(event.type for event in events))


def test_an_answer_fits_the_clients_types_and_repeats_what_was_asked(
    server: RunningServer,
) -> None:
    told = {
        "instructions": "Be short.",
        "metadata": {"topic": "tests"},
        "top_p": 0.5,
        "truncation": "disabled",
        "parallel_tool_calls": False,
        "user": "somebody",
        "reasoning": {"effort": "none"},
    }
    answer = answer_of(server, PATH, {**SENT, **told}, Response)
    assert answer.id.startswith("resp_") and answer.model == MODEL
    assert (answer.status, answer.error, answer.background) == ("incomplete", None, False)
    assert answer.incomplete_details is not None
    assert answer.incomplete_details.reason == "max_output_tokens"
    repeated = answer.model_dump(include={*told, "max_output_tokens", "temperature"})
    assert repeated.pop("reasoning")["effort"] == "none"
    assert repeated == {
        **{name: value for name, value in told.items() if name != "reasoning"},
        "max_output_tokens": MAX_TOKENS,
        "temperature": 0,
    }
    assert answer.usage is not None
    assert answer.usage.output_tokens == MAX_TOKENS
    assert answer.usage.total_tokens == answer.usage.input_tokens + MAX_TOKENS


def test_an_answer_that_ends_by_itself_is_completed(client: OpenAI) -> None:
    answer = ask(client, max_output_tokens=None, extra_body={})
    (message,) = answer.output
    assert (answer.status, answer.incomplete_details) == ("completed", None)
    assert answer.completed_at is not None and answer.completed_at >= answer.created_at
    assert message.type == "message" and message.status == "completed"
    assert answer.output_text


def test_each_event_fits_the_clients_types_and_has_the_next_number(server: RunningServer) -> None:
    events = events_of(server, PATH, SENT, ResponseStreamEvent)
    assert types(events) == [*FRAME, "response.incomplete"]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    deltas = [event for event in events if event.type == "response.output_text.delta"]
    done = next(event for event in events if event.type == "response.output_text.done")
    last = events[-1].response
    assert len({event.item_id for event in [*deltas, done]}) == 1
    assert "".join(event.delta for event in deltas) == done.text == last.output_text
    assert last.usage.output_tokens == MAX_TOKENS
    assert events[0].response.status == "in_progress" and events[0].response.output == []


def test_a_streamed_answer_is_the_whole_one(client: OpenAI) -> None:
    whole = ask(client)
    assert streamed(client)[-1].response.output_text == whole.output_text
    with client.responses.stream(**ASKED, extra_body=ENDLESS) as stream:
        text = "".join(
            event.delta for event in stream if event.type == "response.output_text.delta"
        )
    assert text == whole.output_text


def test_instructions_are_read_before_the_input(client: OpenAI) -> None:
    plain, told = ask(client), ask(client, instructions="Answer in one word of many.")
    assert plain.usage is not None and told.usage is not None
    assert told.usage.input_tokens > plain.usage.input_tokens


def test_a_stored_answer_is_there_until_it_is_deleted(client: OpenAI) -> None:
    answer = ask(client)
    assert client.responses.retrieve(answer.id) == answer
    client.responses.delete(answer.id)
    for gone in (client.responses.retrieve, client.responses.delete, client.responses.cancel):
        with pytest.raises(openai.NotFoundError) as error:
            gone(answer.id)
        assert error.value.code == "response_not_found"


def test_a_streamed_answer_is_stored_as_well(client: OpenAI) -> None:
    last = streamed(client)[-1].response
    assert client.responses.retrieve(last.id) == last


def test_an_answer_that_is_not_to_be_stored_is_not(client: OpenAI) -> None:
    answer = ask(client, store=False)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(answer.id)
    with pytest.raises(openai.BadRequestError) as error:
        ask(client, previous_response_id=answer.id)
    assert error.value.code == "previous_response_not_found"
    assert error.value.param == "previous_response_id"


def test_a_conversation_goes_on_from_an_earlier_answer(client: OpenAI) -> None:
    first = ask(client)
    second = ask(client, input="And then?", previous_response_id=first.id)
    items = client.responses.input_items.list(second.id, order="asc").data
    assert second.previous_response_id == first.id
    assert [getattr(item, "role", None) for item in items] == ["user", "assistant", "user"]
    assert items[1] == first.output[0]
    by_hand = ask(
        client,
        input=[
            {"role": "user", "content": ASKED["input"]},
            *[item.to_dict() for item in first.output],
            {"type": "message", "role": "user", "content": "And then?"},
        ],
    )
    assert second.output_text == by_hand.output_text
    assert by_hand.usage is not None and second.usage is not None
    assert second.usage.input_tokens == by_hand.usage.input_tokens


def test_the_tokens_of_a_conversation_are_counted_before_it_is_asked(client: OpenAI) -> None:
    tools: Any = [{"type": "function", "name": "weather", "parameters": {"type": "object"}}]
    first = ask(client)
    asked: dict[str, Any] = {
        "model": MODEL,
        "input": "And then?",
        "previous_response_id": first.id,
        "instructions": "Be short.",
        "tools": tools,
    }
    usage = ask(client, **asked).usage
    counted = client.responses.input_tokens.count(**asked)

    assert counted.object == "response.input_tokens"
    assert usage is not None and counted.input_tokens == usage.input_tokens
    for left_out in ("previous_response_id", "instructions"):
        rest = {name: value for name, value in asked.items() if name != left_out}
        assert client.responses.input_tokens.count(**rest).input_tokens < counted.input_tokens


def test_input_items_come_by_pages(client: OpenAI, server: RunningServer) -> None:
    said = [{"role": "user", "content": str(number)} for number in range(5)]
    answer = ask(client, input=said)
    texts = []
    for item in client.responses.input_items.list(answer.id, limit=2):
        assert item.type == "message" and item.content[0].type == "input_text"
        texts.append(item.content[0].text)
    assert texts == ["4", "3", "2", "1", "0"]
    page = httpx.get(f"{server.url}{PATH}/{answer.id}/input_items?limit=2&order=asc")
    listed = fits(ResponseItemList, page.content)
    assert (listed.has_more, listed.last_id) == (True, listed.data[1].id)
    for query in ("limit=0", "limit=101", "limit=x", "order=up", "after=nothing"):
        refused = httpx.get(f"{server.url}{PATH}/{answer.id}/input_items?{query}")
        assert refused.status_code == 400, query
        assert refused.json()["error"]["param"] == query.partition("=")[0]


def test_an_answer_in_the_background_is_written_without_a_reader(client: OpenAI) -> None:
    begun = ask(client, background=True)
    assert (begun.status, begun.background, begun.output) == ("in_progress", True, [])
    wait_until(lambda: client.responses.retrieve(begun.id).status == "incomplete")
    assert client.responses.retrieve(begun.id).output_text == ask(client).output_text
    # Its end is the end: nothing is left to cancel.
    assert client.responses.cancel(begun.id).status == "incomplete"


def test_the_events_of_an_answer_in_the_background_can_be_read_from_any_on(
    client: OpenAI, server: RunningServer
) -> None:
    events = streamed(client, background=True)
    response_id = events[0].response.id
    for after in (0, 3, len(events) - 2):
        with client.responses.retrieve(response_id, stream=True, starting_after=after) as stream:
            assert list(stream) == events[after + 1 :]
    raw = httpx.get(f"{server.url}{PATH}/{response_id}?stream=true")
    assert len(named_events(raw.content, ResponseStreamEvent)) == len(events)
    unkept = ask(client)
    with pytest.raises(openai.BadRequestError) as error:
        client.responses.retrieve(unkept.id, stream=True)
    assert error.value.param == "stream"


def test_an_answer_in_the_background_can_be_cancelled(busy_server: RunningServer) -> None:
    with OpenAI(base_url=f"{busy_server.url}/v1", api_key="none", max_retries=0) as client:
        wait_running(busy_server, 0)
        begun = ask(client, background=True, max_output_tokens=1500)
        wait_running(busy_server, 1)
        with pytest.raises(openai.BadRequestError) as error:
            ask(client, previous_response_id=begun.id)
        assert error.value.param == "previous_response_id"
        assert client.responses.cancel(begun.id).status == "cancelled"
        wait_running(busy_server, 0)
        assert client.responses.retrieve(begun.id).status == "cancelled"
        begun = ask(client, background=True, max_output_tokens=1500)
        wait_running(busy_server, 1)
        client.responses.delete(begun.id)
        wait_running(busy_server, 0)


def test_only_an_answer_in_the_background_can_be_cancelled(client: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError):
        client.responses.cancel(ask(client).id)


@pytest.mark.parametrize("form", [{}, {"stream": True}], ids=["unary", "streamed"])
def test_hanging_up_frees_the_engine(busy_server: RunningServer, form: dict[str, Any]) -> None:
    wait_running(busy_server, 0)
    with connect(busy_server) as connection:
        body = {**SENT, **form, "max_output_tokens": 1900}
        connection.sendall(request("POST", PATH, body))
        wait_running(busy_server, 1)
    wait_running(busy_server, 0)


def test_a_repeat_joins_the_same_answer(server: RunningServer) -> None:
    headers = {"Idempotency-Key": f"responses-{server.url}"}
    first, second = (post(server, PATH, SENT, **headers) for _ in range(2))
    assert first.content == second.content
    assert second.headers["inferneo-replayed"] == "true"
    # A chat request of the same key is another request.
    chat = {"messages": [{"role": "user", "content": "Hi"}]}
    assert post(server, "/v1/chat/completions", chat, **headers).status_code == 409


def test_a_stream_that_can_be_resumed_goes_on_by_its_numbers(server: RunningServer) -> None:
    headers = {"Inferneo-Resume-For": "30"}
    whole = post(server, PATH, {**SENT, "stream": True}, **headers)
    rest = httpx.get(f"{server.url}{whole.headers['inferneo-stream']}?after=3")
    assert whole.text.startswith("event: response.created\nid: resp_")
    assert whole.content.endswith(rest.content.removeprefix(b"retry: 500\n\n"))
    assert named_events(rest.content, ResponseStreamEvent)[0].sequence_number == 4


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "no input": ({"input": None}, "input"),
    "empty input": ({"input": []}, "input"),
    "a number as input": ({"input": 5}, "input"),
    "a number as text": (
        {"input": [{"role": "user", "content": [{"type": "input_text", "text": 5}]}]},
        "input[0].content[0].text",
    ),
    "a role that is none": ({"input": [{"role": "king", "content": "Hi"}]}, "input[0].role"),
    "an item that is not served": ({"input": [{"type": "mcp_call"}]}, "input[0].type"),
    "an item that is nowhere": (
        {"input": [{"type": "item_reference", "id": "msg_1"}]},
        "input[0].id",
    ),
    "a hosted tool": ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
    "a choice without tools": ({"tool_choice": "required"}, "tool_choice"),
    "a choice that is no tool": (
        {
            "tools": [{"type": "function", "name": "f"}],
            "tool_choice": {"type": "function", "name": "g"},
        },
        "tool_choice",
    ),
    "a temperature as text": ({"temperature": "hot"}, "temperature"),
    "a temperature too high": ({"temperature": 2.5}, "temperature"),
    "no tokens": ({"max_output_tokens": 0}, "max_output_tokens"),
    "more tokens than fit": ({"max_output_tokens": 1_000_000}, "input"),
    "a schema without a name": (
        {"text": {"format": {"type": "json_schema", "schema": {}}}},
        "text.format.name",
    ),
    "a background that is not stored": ({"background": True, "store": False}, "background"),
    "a conversation": ({"conversation": "conv_1"}, "conversation"),
    "too many metadata": ({"metadata": {str(n): "" for n in range(17)}}, "metadata"),
}


@pytest.mark.parametrize(("fields", "param"), REFUSED.values(), ids=REFUSED)
def test_what_does_not_fit_is_refused_by_its_name(
    server: RunningServer, fields: dict[str, Any], param: str
) -> None:
    answer = post(server, PATH, {**SENT, **fields})
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["param"] == param


def test_an_unknown_field_is_named_in_the_answer(server: RunningServer) -> None:
    answer = post(server, PATH, {**SENT, "wish": 1})
    assert (answer.status_code, answer.headers["inferneo-ignored"]) == (200, "wish")


def test_a_stored_answer_belongs_to_the_key_that_made_it() -> None:
    keys = {"INFERNEO_API_KEYS": '["one", "two"]'}
    with running_server("--engine=simulated", environment=keys) as server:
        one, two = (
            OpenAI(base_url=f"{server.url}/v1", api_key=key, max_retries=0)
            for key in ("one", "two")
        )
        answer = ask(one, background=True)
        wait_until(lambda: one.responses.retrieve(answer.id).status != "in_progress")
        for taken in (
            lambda: two.responses.retrieve(answer.id),
            lambda: two.responses.retrieve(answer.id, stream=True),
            lambda: two.responses.cancel(answer.id),
            lambda: two.responses.delete(answer.id),
            lambda: two.responses.input_items.list(answer.id),
        ):
            with pytest.raises(openai.NotFoundError):
                taken()
        with pytest.raises(openai.BadRequestError):
            ask(two, previous_response_id=answer.id)
        assert one.responses.retrieve(answer.id).output_text


def test_an_engine_that_fails_ends_the_stream_with_a_failed_response() -> None:
    with running_server("--engine=simulated", "--engine-args=fail_after_tokens=3") as server:
        events = events_of(server, PATH, SENT, ResponseStreamEvent)
        last = events[-1]
        assert last.type == "response.failed" and last.response.status == "failed"
        assert last.response.error.code == "server_error"
        assert last.sequence_number == len(events) - 1
        stored = httpx.get(f"{server.url}{PATH}/{last.response.id}")
        assert fits(Response, stored.content).status == "failed"
