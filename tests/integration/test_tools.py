"""Proves that tool calls and reasoning are found in answers, and that calls can be forced."""

import json
from typing import Any

import pytest

from tests.integration.asking import CHAT, ask, events, refusal
from tests.servers import RunningServer

WEATHER: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Get the weather in a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    },
}
CLOCK: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "get_time",
        "description": "Get the time in a city",
        "parameters": {
            "type": "object",
            "properties": {"zone": {"type": "string", "enum": ["UTC", "CET"]}},
            "required": ["zone"],
        },
    },
}
FITTING = {"messages": [{"role": "user", "content": "What is the weather in Paris?"}]}
UNRELATED = {"messages": [{"role": "user", "content": "What is Inferneo?"}]}
GREEDY = {"temperature": 0, "max_tokens": 80}
NAMED = {"type": "function", "function": {"name": "get_time"}}
ALLOWED = {
    "type": "allowed_tools",
    "allowed_tools": {"mode": "required", "tools": [NAMED]},
}

both_ways = pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])


def only(answer: Any) -> Any:
    [choice] = answer["choices"]
    return choice


def call_of(choice: Any) -> tuple[str, Any]:
    """The name and the arguments of a choice's only call."""
    [call] = choice["message"]["tool_calls"]
    assert call["type"] == "function"
    assert call["id"]
    return call["function"]["name"], json.loads(call["function"]["arguments"])


@both_ways
@pytest.mark.parametrize("choice", [{}, {"tool_choice": "auto"}])
def test_a_fitting_tool_is_called(
    vllm_server: RunningServer, stream: bool, choice: dict[str, Any]
) -> None:
    body = FITTING | GREEDY | {"tools": [WEATHER]} | choice
    answer = only(ask(vllm_server, CHAT, body, stream=stream))

    assert call_of(answer) == ("get_weather", {"city": "Paris"})
    assert answer["finish_reason"] == "tool_calls"
    assert not answer["message"]["content"]


def test_a_streamed_call_tells_its_name_once_and_its_arguments_in_pieces(
    vllm_server: RunningServer,
) -> None:
    body = FITTING | GREEDY | {"tools": [WEATHER]}
    deltas = [
        delta
        for chunk in events(vllm_server, CHAT, body)
        for part in chunk["choices"]
        for delta in part["delta"].get("tool_calls", [])
    ]

    first, *others = deltas
    assert {"index", "id", "type", "function"} == first.keys()
    assert others
    assert all({"index", "function"} == delta.keys() for delta in others)
    assert all({"arguments"} == delta["function"].keys() for delta in others)


@both_ways
def test_no_tool_is_called_where_none_may_be(vllm_server: RunningServer, stream: bool) -> None:
    body = FITTING | GREEDY
    without = ask(vllm_server, CHAT, body, stream=stream)
    barred = ask(
        vllm_server, CHAT, body | {"tools": [WEATHER], "tool_choice": "none"}, stream=stream
    )

    assert "tool_calls" not in only(barred)["message"]
    assert barred["usage"] == without["usage"] | barred["usage"]
    assert barred["usage"]["prompt_tokens"] == without["usage"]["prompt_tokens"]


@both_ways
@pytest.mark.parametrize(
    "choice", ["required", NAMED, ALLOWED], ids=["required", "named", "allowed"]
)
def test_a_call_can_be_forced_on_any_question(
    vllm_server: RunningServer, stream: bool, choice: Any
) -> None:
    tools = [CLOCK, {"type": "function", "function": {**CLOCK["function"], "name": "set_time"}}]
    body = UNRELATED | GREEDY | {"tools": tools, "tool_choice": choice}
    answer = only(ask(vllm_server, CHAT, body, stream=stream))

    name, arguments = call_of(answer)
    if choice == "required":
        assert name in ("get_time", "set_time")
        # OpenAI ends a call that the request names by `stop`.
        assert answer["finish_reason"] == "tool_calls"
    else:
        assert name == "get_time"
        assert arguments["zone"] in ("UTC", "CET")
        assert answer["finish_reason"] == ("stop" if choice == NAMED else "tool_calls")


def test_a_call_that_is_cut_keeps_what_it_has(vllm_server: RunningServer) -> None:
    body = FITTING | GREEDY | {"tools": [WEATHER], "tool_choice": "required"}
    length = ask(vllm_server, CHAT, body)["usage"]["completion_tokens"]
    found = []
    for stream in (False, True):
        answer = only(ask(vllm_server, CHAT, body | {"max_tokens": length - 5}, stream=stream))
        [call] = answer["message"]["tool_calls"]
        assert answer["finish_reason"] == "length"
        assert not answer["message"]["content"]
        found.append(call["function"])

    whole, streamed = found
    assert whole == streamed
    assert whole["name"] == "get_weather"
    assert '{"city": "Paris"}'.startswith(whole["arguments"])
    assert whole["arguments"]


def test_a_tool_that_is_not_offered_cannot_be_chosen(vllm_server: RunningServer) -> None:
    for choice in (NAMED, ALLOWED):
        body = FITTING | {"tools": [WEATHER], "tool_choice": choice}
        error = refusal(vllm_server, CHAT, body)
        assert error["param"] == "tool_choice"
        assert "get_time" in error["message"]


@pytest.mark.parametrize("choice", ["required", ALLOWED], ids=["required", "allowed"])
def test_a_call_that_no_grammar_can_be_made_for_is_refused_by_its_tool(
    vllm_server: RunningServer, choice: Any
) -> None:
    function = {**CLOCK["function"], "parameters": {"type": "nonsense"}}
    tools = [{"type": "function", "function": function}]
    body = FITTING | {"tools": tools, "tool_choice": choice}

    assert refusal(vllm_server, CHAT, body)["param"] == "tools"


def test_a_choice_of_a_tool_names_it(vllm_server: RunningServer) -> None:
    nameless = {"mode": "auto", "tools": [{"type": "function"}]}
    choice = {"type": "allowed_tools", "allowed_tools": nameless}
    error = refusal(vllm_server, CHAT, FITTING | {"tools": [WEATHER], "tool_choice": choice})

    assert (error["param"], "None" in error["message"]) == ("tool_choice", False)


@both_ways
def test_calls_in_the_history_reach_the_model(vllm_server: RunningServer, stream: bool) -> None:
    call = {
        "id": "call_1",
        "type": "function",
        "function": {"name": "get_weather", "arguments": '{"city": "Paris"}'},
    }
    history = [
        *FITTING["messages"],
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": '{"temperature": 21}'},
    ]
    body = GREEDY | {"messages": history, "tools": [WEATHER]}
    answer = only(ask(vllm_server, CHAT, body, stream=stream))

    assert "21" in answer["message"]["content"]
    assert answer["finish_reason"] == "stop"


@both_ways
@pytest.mark.parametrize(
    "wish",
    [{"chat_template_kwargs": {"enable_thinking": True}}, {"reasoning_effort": "low"}],
    ids=["template", "effort"],
)
def test_reasoning_stands_beside_the_answer(
    vllm_server: RunningServer, stream: bool, wish: dict[str, Any]
) -> None:
    body = {"messages": [{"role": "user", "content": "Which is larger, 3 or 8?"}]} | GREEDY | wish
    answer = ask(vllm_server, CHAT, body, stream=stream)

    message = only(answer)["message"]
    assert message["reasoning"] == message["reasoning_content"]
    assert message["reasoning"].strip()
    assert message["content"].strip()
    assert "think>" not in message["content"] + message["reasoning"]
    details = answer["usage"]["completion_tokens_details"]
    assert 0 < details["reasoning_tokens"] < answer["usage"]["completion_tokens"]


@both_ways
def test_reasoning_can_be_left_out(vllm_server: RunningServer, stream: bool) -> None:
    body = {"messages": [{"role": "user", "content": "Which is larger, 3 or 8?"}]} | GREEDY
    wish = {"reasoning_effort": "low"}
    told = only(ask(vllm_server, CHAT, body | wish, stream=stream))["message"]
    hidden = only(ask(vllm_server, CHAT, body | wish | {"include_reasoning": False}, stream=stream))

    assert "reasoning" not in hidden["message"]
    assert hidden["message"]["content"] == told["content"]


def test_no_effort_is_no_reasoning(vllm_server: RunningServer) -> None:
    body = {"messages": [{"role": "user", "content": "Think first: 3 or 8?"}]} | GREEDY
    message = only(ask(vllm_server, CHAT, body | {"reasoning_effort": "none"}))["message"]

    assert "reasoning" not in message
    assert "<think>" not in message["content"]


@both_ways
def test_parallel_calls_can_be_barred(vllm_server: RunningServer, stream: bool) -> None:
    # A model that is kept from ending its answer goes on with another call.
    bias: dict[str, Any] = {"logit_bias": {"0": -100, "2": -100}}
    tools = {"tools": [WEATHER, CLOCK], "tool_choice": "required"}
    body = FITTING | GREEDY | tools | bias
    one = ask(vllm_server, CHAT, body | {"parallel_tool_calls": False}, stream=stream)
    length = one["usage"]["completion_tokens"] - 1
    two = only(ask(vllm_server, CHAT, body | {"max_tokens": 2 * length}, stream=stream))

    assert len(only(one)["message"]["tool_calls"]) == 1
    assert len(two["message"]["tool_calls"]) == 2
