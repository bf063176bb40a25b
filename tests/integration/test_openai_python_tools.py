"""OpenAI's client for Python, its own helpers: tool calls and forms, whole and streamed."""

from collections.abc import Iterator
from typing import Any

import pydantic
import pytest
from openai import OpenAI, pydantic_function_tool

from tests.servers import RunningServer

ASKED: dict[str, Any] = {"model": "inferneo-tiny", "max_tokens": 200, "temperature": 0}
WEATHER: dict[str, Any] = {
    "messages": [{"role": "user", "content": "What is the weather in Paris?"}]
}
ANNA: dict[str, Any] = {"messages": [{"role": "user", "content": "JSON with name Anna and age 30"}]}


class GetWeather(pydantic.BaseModel):
    city: str


class Person(pydantic.BaseModel):
    name: str
    age: int


@pytest.fixture(scope="module")
def client(vllm_server: RunningServer) -> Iterator[OpenAI]:
    """A client of the real engine that tries nothing twice."""
    url = f"{vllm_server.url}/v1"
    with OpenAI(base_url=url, api_key="none", max_retries=0, timeout=60) as client:
        yield client


def test_a_call_is_parsed_into_the_callers_own_type(client: OpenAI) -> None:
    tools = [pydantic_function_tool(GetWeather)]
    asked = ASKED | WEATHER | {"tools": tools, "tool_choice": "required"}
    whole = client.chat.completions.parse(**asked)
    with client.chat.completions.stream(**asked) as stream:
        streamed = stream.get_final_completion()

    for completion in (whole, streamed):
        [choice] = completion.choices
        assert choice.finish_reason == "tool_calls"
        assert choice.message.tool_calls is not None
        [call] = choice.message.tool_calls
        assert call.function.name == "GetWeather"
        assert isinstance(call.function.parsed_arguments, GetWeather)


def test_an_answer_is_parsed_into_the_callers_own_type(client: OpenAI) -> None:
    asked = ASKED | ANNA | {"response_format": Person}
    whole = client.chat.completions.parse(**asked)
    with client.chat.completions.stream(**asked) as stream:
        pieces = [event.delta for event in stream if event.type == "content.delta"]
        streamed = stream.get_final_completion()

    assert isinstance(whole.choices[0].message.parsed, Person)
    assert streamed.choices[0].message.parsed == whole.choices[0].message.parsed
    assert "".join(pieces) == whole.choices[0].message.content
