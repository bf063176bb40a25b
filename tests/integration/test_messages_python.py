"""Proves that Anthropic's client for Python is content with `/v1/messages`, whole and streamed."""

from collections.abc import Iterator
from typing import Any

import anthropic
import httpx
import pytest
from anthropic import Anthropic
from anthropic.types import Message, MessageTokensCount, RawMessageStreamEvent
from anthropic.types.shared import ErrorResponse

from tests.integration.contract import answer_of, events_of, fits, post
from tests.integration.sockets import connect, request
from tests.integration.waiting import wait_running
from tests.servers import RunningServer, running_server

MODEL = "inferneo-tiny"
PATH = "/v1/messages"
COUNT = f"{PATH}/count_tokens"
MAX_TOKENS = 8
ASKED: dict[str, Any] = {
    "model": MODEL,
    "messages": [{"role": "user", "content": "What is Inferneo?"}],
    "max_tokens": MAX_TOKENS,
}
# The client has no argument for it.
GREEDY = {"temperature": 0}
# No answer ends by itself here: the tokens can be counted.
ENDLESS = {**GREEDY, "ignore_eos": True}
SENT = {**ASKED, **ENDLESS}


@pytest.fixture(scope="module")
def client(server: RunningServer) -> Iterator[Anthropic]:
    """A client that tries nothing twice."""
    with Anthropic(base_url=server.url, api_key="none", max_retries=0, timeout=60) as client:
        yield client


def ask(client: Anthropic, **fields: Any) -> Message:
    message: Message = client.messages.create(**{**ASKED, "extra_body": ENDLESS, **fields})
    return message


def text_of(message: Message) -> str:
    return "".join(block.text for block in message.content if block.type == "text")


def test_an_answer_fits_the_clients_types(server: RunningServer) -> None:
    answer = answer_of(server, PATH, SENT, Message)
    assert answer.id.startswith("msg_") and answer.model == MODEL
    assert (answer.role, answer.stop_reason, answer.stop_sequence) == (
        "assistant",
        "max_tokens",
        None,
    )
    assert text_of(answer)
    assert answer.usage.output_tokens == MAX_TOKENS
    assert answer.usage.input_tokens + (answer.usage.cache_read_input_tokens or 0) > 0


def test_each_event_fits_the_clients_types_in_its_order(server: RunningServer) -> None:
    first, start, *deltas, stop, end, last = events_of(server, PATH, SENT, RawMessageStreamEvent)
    assert (first.type, first.message.content) == ("message_start", [])
    assert first.message.stop_reason is None and first.message.usage.input_tokens > 0
    assert (start.type, start.index, start.content_block.text) == ("content_block_start", 0, "")
    assert {delta.type for delta in deltas} == {"content_block_delta"}
    assert (stop.type, stop.index) == ("content_block_stop", 0)
    assert (end.type, end.delta.stop_reason) == ("message_delta", "max_tokens")
    assert end.usage.output_tokens == MAX_TOKENS
    assert last.type == "message_stop"


def test_a_streamed_answer_is_the_whole_one(client: Anthropic) -> None:
    whole = ask(client)
    with client.messages.stream(**ASKED, extra_body=ENDLESS) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert text == text_of(whole) == text_of(final)
    assert final.stop_reason == whole.stop_reason
    assert final.usage.output_tokens == whole.usage.output_tokens


def test_an_answer_that_ends_by_itself_says_so(client: Anthropic) -> None:
    assert ask(client, max_tokens=500, extra_body=GREEDY).stop_reason == "end_turn"


def test_the_system_is_read_before_the_messages(client: Anthropic) -> None:
    systems: list[dict[str, Any]] = [
        {},
        {"system": "Be short."},
        {"system": [{"type": "text", "text": "Be short."}]},
    ]
    counts = [
        client.messages.count_tokens(model=MODEL, messages=ASKED["messages"], **system)
        for system in systems
    ]
    plain, text, blocks = (count.input_tokens for count in counts)
    assert plain < text == blocks


def test_tokens_are_counted_as_an_answer_counts_them(
    client: Anthropic, server: RunningServer
) -> None:
    body = {"model": MODEL, "messages": ASKED["messages"], "system": "Be short."}
    counted = answer_of(server, COUNT, body, MessageTokensCount)
    usage = ask(client, system="Be short.").usage
    assert counted.input_tokens == usage.input_tokens + (usage.cache_read_input_tokens or 0)


@pytest.mark.parametrize("form", [{}, {"stream": True}], ids=["unary", "streamed"])
def test_hanging_up_frees_the_engine(busy_server: RunningServer, form: dict[str, Any]) -> None:
    wait_running(busy_server, 0)
    with connect(busy_server) as connection:
        connection.sendall(request("POST", PATH, {**SENT, **form, "max_tokens": 1900}))
        wait_running(busy_server, 1)
    wait_running(busy_server, 0)


def test_a_repeat_joins_the_same_answer(server: RunningServer) -> None:
    headers = {"Idempotency-Key": f"messages-{server.url}"}
    first, second = (post(server, PATH, SENT, **headers) for _ in range(2))
    assert first.content == second.content
    assert second.headers["inferneo-replayed"] == "true"
    # The same body is another request at another route.
    assert post(server, "/v1/chat/completions", SENT, **headers).status_code == 409


def test_a_stream_that_can_be_resumed_goes_on_by_its_numbers(server: RunningServer) -> None:
    headers = {"Inferneo-Resume-For": "30"}
    whole = post(server, PATH, {**SENT, "stream": True}, **headers)
    rest = httpx.get(f"{server.url}{whole.headers['inferneo-stream']}?after=3")
    assert whole.text.startswith("event: message_start\nid: msg_")
    assert whole.content.endswith(rest.content.removeprefix(b"retry: 500\n\n"))


REFUSED: dict[str, dict[str, Any]] = {
    "no max_tokens": {"max_tokens": None},
    "no messages": {"messages": []},
    "only an empty message": {"messages": [{"role": "user", "content": []}]},
    "a role that is none": {"messages": [{"role": "king", "content": "Hi"}]},
    "a block that is not served": {
        "messages": [{"role": "user", "content": [{"type": "document", "source": {}}]}]
    },
    "a call by the user": {
        "messages": [
            {
                "role": "user",
                "content": [{"type": "tool_use", "id": "t", "name": "f", "input": {}}],
            }
        ]
    },
    "a hosted tool": {"tools": [{"type": "web_search_20260209", "name": "web_search"}]},
    "a choice that is no tool": {
        "tools": [{"name": "f", "input_schema": {"type": "object"}}],
        "tool_choice": {"type": "tool", "name": "g"},
    },
    "a temperature as text": {"temperature": "hot"},
    "more tokens than fit": {"max_tokens": 1_000_000},
}


@pytest.mark.parametrize("fields", REFUSED.values(), ids=REFUSED)
def test_what_does_not_fit_is_refused_in_anthropics_words(
    server: RunningServer, fields: dict[str, Any]
) -> None:
    answer = post(server, PATH, {**SENT, **fields})
    assert answer.status_code == 400, answer.text
    assert fits(ErrorResponse, answer.content).error.type == "invalid_request_error"


def test_errors_are_the_clients_own(client: Anthropic) -> None:
    with pytest.raises(anthropic.NotFoundError) as missing:
        ask(client, model="nobodys/model")
    assert missing.value.type == "not_found_error"
    with pytest.raises(anthropic.BadRequestError) as wrong:
        ask(client, extra_body={"temperature": 9})
    assert wrong.value.type == "invalid_request_error"
    assert "temperature" in wrong.value.message


def test_a_key_in_anthropics_header_is_let_in_and_a_wrong_one_is_not(
    keyed_server: RunningServer, key: str
) -> None:
    with Anthropic(base_url=keyed_server.url, api_key=key, max_retries=0) as client:
        assert ask(client).content
    with (
        Anthropic(base_url=keyed_server.url, api_key="wrong", max_retries=0) as client,
        pytest.raises(anthropic.AuthenticationError) as error,
    ):
        ask(client)
    assert error.value.type == "authentication_error"
    assert post(keyed_server, PATH, SENT).status_code == 401


def test_an_unknown_field_is_named_in_the_answer(server: RunningServer) -> None:
    answer = post(server, PATH, {**SENT, "wish": 1})
    assert (answer.status_code, answer.headers["inferneo-ignored"]) == (200, "wish")


def test_an_engine_that_fails_ends_the_stream_with_an_error() -> None:
    with (
        running_server("--engine=simulated", "--engine-args=fail_after_tokens=3") as server,
        Anthropic(base_url=server.url, api_key="none", max_retries=0) as client,
    ):
        seen: list[str] = []
        with (
            pytest.raises(anthropic.APIStatusError) as error,
            client.messages.stream(**ASKED, extra_body=ENDLESS) as stream,
        ):
            seen.extend(event.type for event in stream)
        assert error.value.type == "overloaded_error"
        assert "message_stop" not in seen and "content_block_delta" in seen
