"""Types and functions of Python as schemas, and what a model wrote as those types."""

import json
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypedDict

import msgspec
import pydantic
import pytest

from inferneo_client import AsyncInferneo, Inferneo, UnparsableAnswer
from inferneo_client._tools import tool_of
from tests.client.flavours import MESSAGES
from tests.client.scripted import ScriptedServer, whole


class PydanticCity(pydantic.BaseModel):
    name: str
    people: int


class MsgspecCity(msgspec.Struct):
    name: str
    people: int


@dataclass
class DataclassCity:
    name: str
    people: int


class TypedDictCity(TypedDict):
    name: str
    people: int


KINDS: list[Any] = [PydanticCity, MsgspecCity, DataclassCity, TypedDictCity]
WRITTEN = '{"name": "Oslo", "people": 700000}'


def answered(content: str | None, finish_reason: str = "stop", **message: Any) -> bytes:
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": content, **message},
        "finish_reason": finish_reason,
    }
    return whole(200, json.dumps({"choices": [choice]}).encode(), connection="close")


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_an_answer_is_parsed_as_the_type_that_was_asked_for(
    other: ScriptedServer, kind: Any
) -> None:
    other.answer = answered(WRITTEN)
    with Inferneo(base_url=other.url) as client:
        found = client.chat.completions.parse(messages=MESSAGES, response_format=kind)
    sent = json.loads(other.requests[0][1])["response_format"]

    assert found.parsed == kind(name="Oslo", people=700000)
    assert found.choices[0].message.parsed == found.parsed
    assert sent["type"] == "json_schema"
    assert sent["json_schema"]["name"] == kind.__name__
    schema = sent["json_schema"]["schema"]
    assert schema["type"] == "object"
    assert set(schema["properties"]) == {"name", "people"}
    assert set(schema["required"]) == {"name", "people"}


@pytest.mark.anyio
async def test_an_answer_is_parsed_async(other: ScriptedServer) -> None:
    other.answer = answered(WRITTEN)
    async with AsyncInferneo(base_url=other.url) as client:
        found = await client.chat.completions.parse(messages=MESSAGES, response_format=MsgspecCity)

    assert found.parsed.people == 700000


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("written", ['{"name": "Oslo"}', "Oslo, of course"])
def test_an_answer_of_another_type_is_an_error_that_has_it(
    other: ScriptedServer, kind: Any, written: str
) -> None:
    other.answer = answered(written)
    with Inferneo(base_url=other.url) as client, pytest.raises(UnparsableAnswer) as raised:
        client.chat.completions.parse(messages=MESSAGES, response_format=kind)

    assert raised.value.completion.choices[0].message.content == written


def test_an_answer_that_was_cut_short_says_so(other: ScriptedServer) -> None:
    other.answer = answered(WRITTEN[:10], "length")
    with Inferneo(base_url=other.url) as client, pytest.raises(UnparsableAnswer, match="cut short"):
        client.chat.completions.parse(messages=MESSAGES, response_format=MsgspecCity)


def test_a_refusal_is_told(other: ScriptedServer) -> None:
    other.answer = answered(None, refusal="I would rather not")
    with Inferneo(base_url=other.url) as client, pytest.raises(UnparsableAnswer, match="rather"):
        client.chat.completions.parse(messages=MESSAGES, response_format=MsgspecCity)


def weather(
    city: str,
    days: Annotated[int, msgspec.Meta(ge=1)] = 1,
    unit: Literal["C", "F"] = "C",
    near: MsgspecCity | None = None,
) -> str:
    """Tell the weather.

    Args:
        city: where, by its name.
        days: how far ahead.

    Returns:
        A sentence.
    """
    return f"{city} {days} {unit} {near}"


def test_a_function_is_a_tool() -> None:
    function = tool_of(weather)["function"]
    parameters = function["parameters"]

    assert (function["name"], function["description"]) == ("weather", "Tell the weather.")
    assert parameters["required"] == ["city"]
    assert parameters["properties"]["city"] == {
        "type": "string",
        "description": "where, by its name.",
    }
    assert parameters["properties"]["days"]["minimum"] == 1
    assert parameters["properties"]["unit"]["enum"] == ["C", "F"]
    assert "MsgspecCity" in parameters["$defs"]


def test_functions_and_ready_tools_go_side_by_side(ours: ScriptedServer) -> None:
    ready = {"type": "function", "function": {"name": "ready"}}
    with Inferneo(base_url=ours.url) as client:
        client.chat.completions.create(messages=MESSAGES, tools=[weather, ready])
    tools = json.loads(ours.requests[0][1])["tools"]

    assert [tool["function"]["name"] for tool in tools] == ["weather", "ready"]


def test_a_function_without_annotations_is_refused() -> None:
    def untyped(city):  # type: ignore[no-untyped-def]
        return city

    with pytest.raises(TypeError, match="'city' has no annotation"):
        tool_of(untyped)


def test_a_function_of_any_arguments_is_refused() -> None:
    def anything(*cities: str) -> None:
        del cities

    with pytest.raises(TypeError, match="have names"):
        tool_of(anything)
