"""Proves that responses and messages tell the same whole and streamed, whatever is parsed."""

import asyncio
import json
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from anthropic.types import Message
from openai.types.responses import Response

from inferneo_core.chat import FunctionCallDelta, ToolCallDelta
from inferneo_core.errors import Cancelled, EngineUnavailable
from inferneo_core.responses import ResponseRequest
from inferneo_core.sampling import SamplingFields
from inferneo_server.answers.base import AnswerForm
from inferneo_server.answers.chat import ChatDetails
from inferneo_server.answers.messages import MessagesForm
from inferneo_server.answers.responses import ResponseForm
from inferneo_server.engines.base import Delta
from inferneo_server.engines.parsing import Parsed
from inferneo_server.generation import Generation, Terms
from inferneo_server.streams import Reader, Streams
from tests.server.services import ScriptedStream, delta, read_answer, read_events


class Script:
    """Reads what it is told to read: one piece for each delta, all of them at the end."""

    reasons = True
    reasoning_tokens = 1

    def __init__(self, *pieces: Parsed) -> None:
        self._pieces = pieces
        self._read = iter(pieces)

    def parser(self) -> "Script":
        return Script(*self._pieces)

    def feed(self, delta: Delta) -> Parsed:
        return next(self._read)

    def whole(self, text: str, token_ids: Sequence[int]) -> Parsed:
        calls: dict[int, list[ToolCallDelta]] = {}
        for call in (call for piece in self._pieces for call in piece.tool_calls):
            calls.setdefault(call.index, []).append(call)
        return Parsed(
            content="".join(piece.content for piece in self._pieces),
            reasoning="".join(piece.reasoning for piece in self._pieces),
            tool_calls=[joined(fragments) for fragments in calls.values()],
        )


def joined(fragments: list[ToolCallDelta]) -> ToolCallDelta:
    functions = [fragment.function for fragment in fragments if fragment.function]
    arguments = "".join(function.arguments or "" for function in functions)
    return call(fragments[0].index, name=functions[0].name or "", arguments=arguments)


def call(index: int, *, name: str = "", arguments: str = "") -> ToolCallDelta:
    """A fragment of a call, which begins with its name."""
    if not name:
        return ToolCallDelta(index=index, function=FunctionCallDelta(arguments=arguments))
    function = FunctionCallDelta(name=name, arguments=arguments)
    return ToolCallDelta(index=index, id=f"call_{index}", type="function", function=function)


PIECES = (
    Parsed(reasoning="Hm"),
    Parsed(reasoning=", so"),
    Parsed(reasoning=".", content="Let"),
    Parsed(),
    Parsed(content=" me see"),
    Parsed(tool_calls=[call(0, name="first", arguments='{"a"')]),
    Parsed(tool_calls=[call(0, arguments=": 1}")]),
    Parsed(tool_calls=[call(1, name="second"), call(1, arguments="{}")]),
)
FORMS: dict[str, Callable[[ChatDetails], AnswerForm]] = {
    "responses": lambda details: ResponseForm(ResponseRequest(input="?"), "m", details),
    "messages": lambda details: MessagesForm("m", details),
}
each_form = pytest.mark.parametrize("make", FORMS.values(), ids=FORMS)


async def over(form: AnswerForm, *steps: Any, streamed: bool) -> Reader:
    generation = Generation(
        form,
        ScriptedStream(*steps),
        choices=1,
        prompt_tokens=3,
        streamed=streamed,
        include_usage=True,
    )

    async def begun() -> Generation:
        return generation

    return await Streams().begin(SamplingFields(), Terms(), begun)


def steps(pieces: Sequence[Parsed], reason: str = "stop") -> list[list[Delta]]:
    """A step for each piece, the last with the reason to end."""
    last = len(pieces) - 1
    return [[delta("x", reason=reason if at == last else None)] for at in range(len(pieces))]


def events(make: Any, pieces: Sequence[Parsed], *more: Any, reason: str = "stop") -> list[Any]:
    async def read() -> list[Any]:
        form = make(ChatDetails(parsing=Script(*pieces)))
        return await read_events(await over(form, *steps(pieces, reason), *more, streamed=True))

    return asyncio.run(read())


def whole(make: Any, pieces: Sequence[Parsed], reason: str = "stop") -> Any:
    async def read() -> Any:
        form = make(ChatDetails(parsing=Script(*pieces)))
        return await read_answer(await over(form, *steps(pieces, reason), streamed=False))

    return asyncio.run(read())


def without_ids(value: Any) -> Any:
    """What two answers have in common."""
    if isinstance(value, dict):
        return {
            name: without_ids(inner)
            for name, inner in value.items()
            if not (name.endswith("id") and str(inner).count("_")) and not name.endswith("_at")
        }
    return [without_ids(inner) for inner in value] if isinstance(value, list) else value


@pytest.mark.parametrize("reason", ["stop", "length"])
def test_a_response_is_the_same_whole_and_streamed(reason: str) -> None:
    make = FORMS["responses"]
    told = whole(make, PIECES, reason)
    last = events(make, PIECES, reason=reason)[-1]
    assert last["type"] == ("response.incomplete" if reason == "length" else "response.completed")
    assert without_ids(last["response"]) == without_ids(told)
    assert [item["type"] for item in told["output"]] == [
        "reasoning",
        "message",
        "function_call",
        "function_call",
    ]
    Response.model_validate_json(json.dumps(told), strict=True)


def test_each_item_of_a_response_is_opened_and_done_in_its_turn() -> None:
    told = events(FORMS["responses"], PIECES)
    assert [event["sequence_number"] for event in told] == list(range(len(told)))
    ends = [
        (event["type"].rpartition(".")[2], event["output_index"])
        for event in told
        if event["type"].startswith("response.output_item")
    ]
    assert ends == [(what, index) for index in range(4) for what in ("added", "done")]
    output = told[-1]["response"]["output"]
    done = [event["item"] for event in told if event["type"] == "response.output_item.done"]
    assert done == output
    for event in told:
        if "item_id" in event:
            assert event["item_id"] == output[event["output_index"]]["id"]


@each_form
def test_a_call_gets_the_rest_of_its_arguments_before_the_text_behind_it(make: Any) -> None:
    pieces = (
        Parsed(tool_calls=[call(0, name="first", arguments='{"a"')]),
        Parsed(content="So", tool_calls=[call(0, arguments=": 1}"), call(1, name="second")]),
        Parsed(tool_calls=[call(1, arguments="{}")]),
    )
    told: dict[int, str] = {}
    for event in events(make, pieces):
        match event:
            case {"type": str(kind), "index": index, "delta": fields} if kind.endswith("delta"):
                piece = fields.get("partial_json") or fields.get("text")
            case {"type": str(kind), "output_index": index, "delta": piece}:
                pass
            case _:
                continue
        told[index] = told.get(index, "") + piece
    assert told == {0: '{"a": 1}', 1: "So", 2: "{}"}


@pytest.mark.parametrize("reason", ["stop", "length"])
def test_a_message_is_the_same_whole_and_streamed(reason: str) -> None:
    make = FORMS["messages"]
    told = whole(make, PIECES, reason)
    blocks: list[Any] = []
    for event in events(make, PIECES, reason=reason):
        match event:
            case {"type": "content_block_start", "content_block": block, "index": index}:
                assert index == len(blocks)
                blocks.append({**block, **({"input": ""} if "input" in block else {})})
            case {"type": "content_block_delta", "delta": {"type": _, **piece}}:
                ((name, text),) = piece.items()
                field = "input" if name == "partial_json" else name
                blocks[event["index"]][field] += text
            case {"type": "message_delta", "delta": fields, "usage": usage}:
                assert fields["stop_reason"] == told["stop_reason"]
                assert usage == told["usage"]
    for block in blocks:
        if "input" in block:
            block["input"] = json.loads(block["input"])
    assert blocks == told["content"]
    assert told["stop_reason"] == ("max_tokens" if reason == "length" else "tool_use")
    Message.model_validate_json(json.dumps(told), strict=True)


def test_arguments_that_are_no_object_are_told_as_none() -> None:
    for arguments in ('{"cut', "5", ""):
        pieces = [Parsed(tool_calls=[call(0, name="f", arguments=arguments)])]
        assert whole(FORMS["messages"], pieces)["content"][0]["input"] == {}


@each_form
def test_an_engine_that_fails_is_told_by_the_end(make: Any) -> None:
    failure = EngineUnavailable("The engine has died")
    form = make(ChatDetails())
    asyncio.run(drop(form, [delta("x")], failure))
    end = json.loads(form.end(failure))
    if form.done == "message.done":
        assert end["type"] == "error" and end["error"]["type"] == "overloaded_error"
    else:
        assert end["type"] == "response.failed"
        assert end["response"]["error"]["message"] == "The engine has died"
        assert json.loads(form.end(Cancelled("Enough")))["type"] == "error"
    assert form.end(None) == b""


async def drop(form: AnswerForm, *steps: Any) -> None:
    reader = await over(form, *steps, streamed=True)
    while await reader.read():
        pass
    assert reader.generation.error is not None
    await reader.aclose()
