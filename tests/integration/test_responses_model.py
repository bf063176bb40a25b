"""Proves what a model does through `/v1/responses`: it calls, thinks, fits a schema, tells odds."""

import json
from collections.abc import Iterator
from typing import Any

import openai
import pydantic
import pytest
from openai import OpenAI
from openai.types.responses import (
    Response,
    ResponseFormatTextJSONSchemaConfig,
    ResponseStreamEvent,
)

from tests.integration.contract import answer_of, events_of
from tests.servers import RunningServer

MODEL = "inferneo-tiny"
PATH = "/v1/responses"
TOOL: Any = {
    "type": "function",
    "name": "get_weather",
    "description": "Get the weather of a city",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
    },
    "strict": False,
}
OTHER: Any = {**TOOL, "name": "get_time", "description": "Get the time in a city"}
ASKED: dict[str, Any] = {
    "model": MODEL,
    "input": "What is the weather in Paris?",
    "tools": [TOOL],
    "temperature": 0,
    "max_output_tokens": 200,
}
THINKING: dict[str, Any] = {
    "model": MODEL,
    "input": "What is 3 plus 4?",
    "reasoning": {"effort": "high"},
    "temperature": 0,
}
LOGPROBS = "message.output_text.logprobs"


class Person(pydantic.BaseModel):
    """What an answer is to fit."""

    model_config = pydantic.ConfigDict(extra="forbid")

    name: str
    age: int


@pytest.fixture(scope="module")
def client(vllm_server: RunningServer) -> Iterator[OpenAI]:
    """A client that tries nothing twice."""
    url = f"{vllm_server.url}/v1"
    with OpenAI(base_url=url, api_key="none", max_retries=0, timeout=60) as client:
        yield client


def test_a_call_goes_round(client: OpenAI) -> None:
    asked: Response = client.responses.create(**ASKED)
    (call,) = asked.output
    assert call.type == "function_call" and asked.status == "completed"
    assert (call.name, json.loads(call.arguments)) == ("get_weather", {"city": "Paris"})
    given: Any = {
        "type": "function_call_output",
        "call_id": call.call_id,
        "output": '{"temperature": 21, "sky": "sunny"}',
    }
    stored = client.responses.create(
        **{**ASKED, "input": [given], "previous_response_id": asked.id}
    )
    by_hand = client.responses.create(
        **{
            **ASKED,
            "input": [{"role": "user", "content": ASKED["input"]}, call.to_dict(), given],
        }
    )
    assert stored.output_text and stored.output_text == by_hand.output_text
    items = client.responses.input_items.list(stored.id, order="asc").data
    assert [item.type for item in items] == ["message", "function_call", "function_call_output"]


def test_a_streamed_call_joins_to_the_whole_one(vllm_server: RunningServer) -> None:
    whole = answer_of(vllm_server, PATH, ASKED, Response).output[0]
    events = events_of(vllm_server, PATH, ASKED, ResponseStreamEvent)
    deltas = [each for each in events if each.type == "response.function_call_arguments.delta"]
    done = next(each for each in events if each.type == "response.function_call_arguments.done")
    added = next(each for each in events if each.type == "response.output_item.added")
    assert whole.type == "function_call"
    assert (added.item.name, added.item.arguments) == ("get_weather", "")
    assert deltas
    assert "".join(each.delta for each in deltas) == done.arguments == whole.arguments
    assert {each.item_id for each in deltas} == {added.item.id}
    (call,) = events[-1].response.output
    assert (call.name, call.arguments, call.status) == (whole.name, whole.arguments, "completed")


CHOICES: dict[str, tuple[Any, set[str]]] = {
    "none": ("none", set()),
    "required": ("required", {"get_weather", "get_time"}),
    "named": ({"type": "function", "name": "get_time"}, {"get_time"}),
    "allowed": (
        {
            "type": "allowed_tools",
            "mode": "required",
            "tools": [{"type": "function", "name": "get_time"}],
        },
        {"get_time"},
    ),
}


@pytest.mark.parametrize(("choice", "names"), CHOICES.values(), ids=CHOICES)
@pytest.mark.parametrize("stream", [False, True], ids=["unary", "streamed"])
def test_the_choice_of_tools_is_obeyed(
    vllm_server: RunningServer, choice: Any, names: set[str], stream: bool
) -> None:
    body = {**ASKED, "tools": [TOOL, OTHER], "tool_choice": choice, "parallel_tool_calls": False}
    if stream:
        answer = events_of(vllm_server, PATH, body, ResponseStreamEvent)[-1].response
    else:
        answer = answer_of(vllm_server, PATH, body, Response)
    calls = [item for item in answer.output if item.type == "function_call"]
    assert len(calls) == bool(names)
    assert {call.name for call in calls} <= names
    assert all(set(json.loads(call.arguments)) == {"city"} for call in calls)


def test_thoughts_are_an_item_before_the_answer(vllm_server: RunningServer) -> None:
    answer = answer_of(vllm_server, PATH, THINKING, Response)
    thoughts, message = answer.output
    assert (thoughts.type, message.type) == ("reasoning", "message")
    assert thoughts.type == "reasoning" and thoughts.content
    assert "3 + 4" in thoughts.content[0].text
    assert answer.usage is not None
    assert 0 < answer.usage.output_tokens_details.reasoning_tokens < answer.usage.output_tokens


def test_thoughts_are_streamed_as_an_item_of_their_own(vllm_server: RunningServer) -> None:
    events = events_of(vllm_server, PATH, THINKING, ResponseStreamEvent)
    deltas = [each for each in events if each.type == "response.reasoning_text.delta"]
    done = next(each for each in events if each.type == "response.reasoning_text.done")
    added = [each for each in events if each.type == "response.output_item.added"]
    assert [each.item.type for each in added] == ["reasoning", "message"]
    assert [each.output_index for each in added] == [0, 1]
    assert deltas and "".join(each.delta for each in deltas) == done.text
    thoughts, message = events[-1].response.output
    assert thoughts.content[0].text == done.text
    assert message.content[0].text == events[-1].response.output_text


def test_thoughts_can_be_given_back(client: OpenAI) -> None:
    first: Response = client.responses.create(**THINKING)
    then = {"role": "user", "content": "And 5 plus 4?"}
    again = client.responses.create(
        **{
            **THINKING,
            "input": [
                {"role": "user", "content": THINKING["input"]},
                *[item.to_dict() for item in first.output],
                then,
            ],
        }
    )
    stored = client.responses.create(
        **{**THINKING, "input": [then], "previous_response_id": first.id}
    )
    assert again.output_text == stored.output_text


def test_an_answer_fits_its_schema(client: OpenAI) -> None:
    answer = client.responses.parse(
        model=MODEL,
        input="Ann is 31 years old. Answer with her name and age.",
        text_format=Person,
        temperature=0,
    )
    assert isinstance(answer.output_parsed, Person)
    assert answer.text is not None
    assert isinstance(answer.text.format, ResponseFormatTextJSONSchemaConfig)
    assert answer.text.format.name == "Person"
    with client.responses.stream(
        model=MODEL, input="Ann is 31 years old.", text_format=Person, temperature=0
    ) as stream:
        assert isinstance(stream.get_final_response().output_parsed, Person)


def test_an_answer_can_be_any_json_object(client: OpenAI) -> None:
    answer = client.responses.create(
        model=MODEL,
        input="Give me a person as JSON.",
        text={"format": {"type": "json_object"}},
        temperature=0,
        max_output_tokens=400,
    )
    assert answer.status == "incomplete" or isinstance(json.loads(answer.output_text), dict)
    assert answer.output_text.lstrip().startswith("{")


def test_logprobs_are_told_where_they_are_asked_for(vllm_server: RunningServer) -> None:
    body = {
        "model": MODEL,
        "input": "Hello",
        "temperature": 0,
        "max_output_tokens": 4,
        "top_logprobs": 2,
        "ignore_eos": True,
    }
    told = answer_of(vllm_server, PATH, {**body, "include": [LOGPROBS]}, Response).output[0]
    assert told.type == "message" and told.content[0].type == "output_text"
    entries = told.content[0].logprobs or []
    assert [len(entry.top_logprobs) for entry in entries] == [2] * 4
    assert "".join(entry.token for entry in entries) == told.content[0].text
    events = events_of(vllm_server, PATH, {**body, "include": [LOGPROBS]}, ResponseStreamEvent)
    streamed = [
        entry.token
        for event in events
        if event.type == "response.output_text.delta"
        for entry in event.logprobs
    ]
    assert streamed == [entry.token for entry in entries]
    untold = answer_of(vllm_server, PATH, body, Response).output[0]
    assert untold.type == "message" and untold.content[0].type == "output_text"
    assert not untold.content[0].logprobs


SAMPLED: dict[str, dict[str, Any]] = {
    "temperature and seed": {"temperature": 2, "seed": 1},
    "top_p": {"temperature": 2, "seed": 1, "top_p": 0.01},
    "top_k": {"temperature": 2, "seed": 1, "top_k": 1},
    "logit_bias": {"logit_bias": {"5": 100}},
    "stop": {"stop": " "},
    "repetition_penalty": {"repetition_penalty": 2},
    "presence_penalty": {"presence_penalty": 2},
    "frequency_penalty": {"frequency_penalty": 2},
    "structured_outputs": {"structured_outputs": {"choice": ["never"]}},
    "chat_template_kwargs": {"chat_template_kwargs": {"enable_thinking": True}},
    "instructions": {"instructions": "Answer in French."},
}


@pytest.mark.parametrize("fields", SAMPLED.values(), ids=SAMPLED)
def test_what_says_how_to_sample_is_obeyed(
    vllm_server: RunningServer, fields: dict[str, Any]
) -> None:
    body: dict[str, Any] = {
        "model": MODEL,
        "input": "What is Inferneo?",
        "temperature": 0,
        "max_output_tokens": 60,
        "ignore_eos": True,
    }
    chance = {name: value for name, value in fields.items() if name in ("temperature", "seed")}
    plain = {**body, **chance}
    if fields == SAMPLED["temperature and seed"]:
        plain = body
    answers = [answer_of(vllm_server, PATH, each, Response) for each in (plain, {**body, **fields})]
    assert answers[0].output != answers[1].output
    assert answers[0].output_text != answers[1].output_text


def test_input_that_is_too_long_is_cut_where_that_is_asked_for(client: OpenAI) -> None:
    said: Any = [{"role": "user", "content": "word " * 300} for _ in range(20)]
    asked: dict[str, Any] = {
        "model": MODEL,
        "instructions": "Be short.",
        "temperature": 0,
        "max_output_tokens": 4,
    }
    with pytest.raises(openai.BadRequestError) as error:
        client.responses.create(**asked, input=said)
    assert (error.value.code, error.value.param) == ("context_length_exceeded", "input")
    cut = client.responses.create(**asked, input=said, truncation="auto")
    assert cut.usage is not None and 1000 < cut.usage.input_tokens <= 2044
    # They are counted as they would be read.
    counted = {"model": MODEL, "instructions": "Be short.", "input": said}
    room = {"max_output_tokens": 4}
    count = client.responses.input_tokens.count
    left = count(**counted, truncation="auto", extra_body=room)
    assert left.input_tokens == cut.usage.input_tokens
    assert count(**counted).input_tokens > 6000
    # What fits is not cut, and one that does not fit alone is no conversation to cut.
    short: Response = client.responses.create(**asked, input="Hi", truncation="auto")
    assert short.usage == client.responses.create(**asked, input="Hi").usage
    with pytest.raises(openai.BadRequestError):
        client.responses.create(**asked, input="word " * 5000, truncation="auto")


def test_a_picture_is_refused_by_a_model_that_takes_none(client: OpenAI) -> None:
    picture: Any = {"type": "input_image", "image_url": "data:image/png;base64,", "detail": "auto"}
    with pytest.raises(openai.BadRequestError) as error:
        client.responses.create(model=MODEL, input=[{"role": "user", "content": [picture]}])
    assert error.value.param == "input"
