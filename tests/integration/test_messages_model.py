"""Proves what a model does through `/v1/messages`: calls, thinks, stops, fits a schema."""

import json
from collections.abc import Iterator
from typing import Any

import anthropic
import pytest
from anthropic import Anthropic
from anthropic.types import Message, RawMessageStreamEvent

from tests.integration.contract import answer_of, events_of
from tests.servers import RunningServer

MODEL = "inferneo-tiny"
PATH = "/v1/messages"
TOOL: Any = {
    "name": "get_weather",
    "description": "Get the weather of a city",
    "input_schema": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
    },
}
OTHER: Any = {**TOOL, "name": "get_time", "description": "Get the time in a city"}
QUESTION: Any = {"role": "user", "content": "What is the weather in Paris?"}
GREEDY = {"temperature": 0}
ASKED: dict[str, Any] = {
    "model": MODEL,
    "max_tokens": 200,
    "messages": [QUESTION],
    "tools": [TOOL],
}
SENT = {**ASKED, **GREEDY}
THINKING: dict[str, Any] = {
    "model": MODEL,
    "max_tokens": 200,
    "messages": [{"role": "user", "content": "What is 3 plus 4?"}],
    "thinking": {"type": "enabled", "budget_tokens": 1024},
}
SAID: dict[str, Any] = {
    "model": MODEL,
    "max_tokens": 40,
    "messages": [{"role": "user", "content": "What is Inferneo?"}],
}


@pytest.fixture(scope="module")
def client(vllm_server: RunningServer) -> Iterator[Anthropic]:
    """A client that tries nothing twice."""
    with Anthropic(base_url=vllm_server.url, api_key="none", max_retries=0, timeout=60) as client:
        yield client


def ask(client: Anthropic, **fields: Any) -> Message:
    message: Message = client.messages.create(**{**ASKED, "extra_body": GREEDY, **fields})
    return message


def text_of(message: Message) -> str:
    return "".join(block.text for block in message.content if block.type == "text")


def test_a_call_goes_round(client: Anthropic) -> None:
    asked = ask(client)
    (call,) = asked.content
    assert call.type == "tool_use" and asked.stop_reason == "tool_use"
    assert (call.name, call.input) == ("get_weather", {"city": "Paris"})
    weather = '{"temperature": 21, "sky": "sunny"}'
    answers = [
        ask(
            client,
            messages=[
                QUESTION,
                asked.to_param(),
                {
                    "role": "user",
                    "content": [{"type": "tool_result", "tool_use_id": call.id, "content": given}],
                },
            ],
        )
        for given in (weather, [{"type": "text", "text": weather}])
    ]
    assert text_of(answers[0]) and answers[0].stop_reason == "end_turn"
    assert text_of(answers[0]) == text_of(answers[1])


def test_a_streamed_call_joins_to_the_whole_one(
    client: Anthropic, vllm_server: RunningServer
) -> None:
    events = events_of(vllm_server, PATH, SENT, RawMessageStreamEvent)
    start = next(event for event in events if event.type == "content_block_start")
    deltas = [event.delta for event in events if event.type == "content_block_delta"]
    assert (start.content_block.name, start.content_block.input) == ("get_weather", {})
    assert {delta.type for delta in deltas} == {"input_json_delta"}
    assert json.loads("".join(delta.partial_json for delta in deltas)) == {"city": "Paris"}
    assert events[-2].delta.stop_reason == "tool_use"
    with client.messages.stream(**ASKED, extra_body=GREEDY) as stream:
        (call,) = stream.get_final_message().content
    assert call.type == "tool_use" and call.input == {"city": "Paris"}


CHOICES: dict[str, tuple[Any, set[str]]] = {
    "none": ({"type": "none"}, set()),
    "any": ({"type": "any"}, {"get_weather", "get_time"}),
    "one": ({"type": "any", "disable_parallel_tool_use": True}, {"get_weather", "get_time"}),
    "named": ({"type": "tool", "name": "get_time"}, {"get_time"}),
}


@pytest.mark.parametrize(("choice", "names"), CHOICES.values(), ids=CHOICES)
def test_the_choice_of_tools_is_obeyed(client: Anthropic, choice: Any, names: set[str]) -> None:
    answer = ask(client, tools=[TOOL, OTHER], tool_choice=choice)
    calls = [block for block in answer.content if block.type == "tool_use"]
    assert bool(calls) == bool(names)
    assert {call.name for call in calls} <= names
    assert len(calls) == 1 or not choice.get("disable_parallel_tool_use")
    assert (answer.stop_reason == "tool_use") == bool(names)


@pytest.mark.parametrize("words", [3_000, 30_000])
def test_a_conversation_that_is_too_long_can_be_counted(client: Anthropic, words: int) -> None:
    messages: Any = [{"role": "user", "content": "word " * words}]
    counted = client.messages.count_tokens(model=MODEL, messages=messages)

    assert counted.input_tokens > words


def test_tools_count_as_tokens(client: Anthropic) -> None:
    plain, tools = (
        client.messages.count_tokens(model=MODEL, messages=[QUESTION], tools=given)
        for given in ([], [TOOL])
    )
    usage = ask(client).usage
    assert plain.input_tokens < tools.input_tokens
    assert tools.input_tokens == usage.input_tokens + (usage.cache_read_input_tokens or 0)


def test_thoughts_are_a_block_before_the_answer(vllm_server: RunningServer) -> None:
    answer = answer_of(vllm_server, PATH, {**THINKING, **GREEDY}, Message)
    thoughts, text = answer.content
    assert thoughts.type == "thinking" and "3 + 4" in thoughts.thinking
    assert text.type == "text" and text.text
    details = answer.usage.output_tokens_details
    assert details is not None and 0 < details.thinking_tokens < answer.usage.output_tokens


def test_thoughts_are_streamed_as_a_block_of_their_own(vllm_server: RunningServer) -> None:
    events = events_of(vllm_server, PATH, {**THINKING, **GREEDY}, RawMessageStreamEvent)
    starts = [event for event in events if event.type == "content_block_start"]
    assert [event.content_block.type for event in starts] == ["thinking", "text"]
    assert [event.index for event in starts] == [0, 1]
    thoughts = "".join(
        event.delta.thinking
        for event in events
        if event.type == "content_block_delta" and event.delta.type == "thinking_delta"
    )
    assert "3 + 4" in thoughts


def test_thoughts_can_be_given_back_and_switched_off(client: Anthropic) -> None:
    first: Message = client.messages.create(**THINKING, extra_body=GREEDY)
    then: Any = {"role": "user", "content": "And 5 plus 4?"}
    messages = [*THINKING["messages"], first.to_param(), then]
    answer = client.messages.create(
        model=MODEL,
        max_tokens=100,
        messages=messages,
        thinking={"type": "disabled"},
        extra_body=GREEDY,
    )
    assert text_of(answer)
    assert all(block.type == "text" for block in answer.content)


def test_a_stop_sequence_ends_the_answer_and_is_named(client: Anthropic) -> None:
    whole: Message = client.messages.create(**SAID, extra_body=GREEDY)
    word = text_of(whole).split()[2]
    cut = client.messages.create(**SAID, stop_sequences=[word], extra_body=GREEDY)
    assert (cut.stop_reason, cut.stop_sequence) == ("stop_sequence", word)
    assert text_of(cut) == text_of(whole).partition(word)[0]
    with client.messages.stream(**SAID, stop_sequences=[word], extra_body=GREEDY) as stream:
        final = stream.get_final_message()
    assert (final.stop_sequence, text_of(final)) == (word, text_of(cut))


def test_the_beginning_of_an_answer_is_gone_on_from(client: Anthropic) -> None:
    whole: Message = client.messages.create(**SAID, extra_body=GREEDY)
    begun = " ".join(text_of(whole).split(" ")[:3])
    rest = client.messages.create(
        **{**SAID, "messages": [*SAID["messages"], {"role": "assistant", "content": begun}]},
        extra_body=GREEDY,
    )
    assert begun + text_of(rest) == text_of(whole)


def test_an_answer_fits_its_schema(client: Anthropic) -> None:
    schema = {
        "type": "object",
        "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
        "required": ["name", "age"],
        "additionalProperties": False,
    }
    answer = client.messages.create(
        model=MODEL,
        max_tokens=100,
        messages=[{"role": "user", "content": "Ann is 31 years old."}],
        output_config={"format": {"type": "json_schema", "schema": schema}},
        extra_body=GREEDY,
    )
    fields = json.loads(text_of(answer))
    assert set(fields) == {"name", "age"} and isinstance(fields["age"], int)


SAMPLED: dict[str, dict[str, Any]] = {
    "temperature": {"temperature": 2},
    "top_p": {"top_p": 0.01},
    "top_k": {"top_k": 1},
    "system": {"temperature": 0, "system": "Answer in French."},
}


@pytest.mark.parametrize("name", SAMPLED)
def test_what_says_how_to_sample_is_obeyed(vllm_server: RunningServer, name: str) -> None:
    # Sampled by chance, the same words come twice only where they are the likeliest.
    chance = {"top_p": {"temperature": 2}, "top_k": {"temperature": 2}}.get(name, {})
    body = {**SAID, **chance, **SAMPLED[name], "ignore_eos": True}
    greedy = text_of(answer_of(vllm_server, PATH, {**SAID, **GREEDY, "ignore_eos": True}, Message))
    said = text_of(answer_of(vllm_server, PATH, body, Message))
    assert (said == greedy) == (name in ("top_p", "top_k"))


def test_a_picture_is_refused_by_a_model_that_takes_none(client: Anthropic) -> None:
    source: Any = {"type": "base64", "media_type": "image/png", "data": ""}
    picture: Any = [{"role": "user", "content": [{"type": "image", "source": source}]}]
    with pytest.raises(anthropic.BadRequestError) as error:
        ask(client, messages=picture)
    assert error.value.type == "invalid_request_error"
