"""Proves which bodies of requests are taken and which are refused, and with what words."""

import json
import time
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inferneo_core import (
    ChatCompletionRequest,
    CompletionRequest,
    Message,
)
from inferneo_core.chat import (
    FunctionCall,
    FunctionDefinition,
    TextPart,
    Tool,
    ToolCall,
)
from inferneo_core.codec import (
    MAX_NAMED_BYTES,
    chat_request,
    completion_request,
    decode_known,
    encode,
)
from inferneo_core.errors import InvalidRequest
from inferneo_core.sampling import StreamOptions

HELLO = [{"role": "user", "content": "Hello"}]


def chat(**fields: Any) -> bytes:
    return json.dumps({"messages": HELLO, **fields}).encode()


def text(**fields: Any) -> bytes:
    return json.dumps({"prompt": "Hello", **fields}).encode()


BOTH: list[tuple[Callable[..., bytes], msgspec.json.Decoder[Any]]] = [
    (chat, chat_request),
    (text, completion_request),
]


def refusal(body: bytes, decoder: msgspec.json.Decoder[Any] = chat_request) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        decode_known(body, decoder)
    return caught.value


def decode_request(body: bytes, decoder: msgspec.json.Decoder[Any]) -> Any:
    return decode_known(body, decoder)[0]


@pytest.mark.parametrize("decoder", [chat_request, completion_request])
@pytest.mark.parametrize(
    "body",
    [
        *(b"", b" ", b"{", b"nope", b"{'a': 1}", b'{"a": 1,}', b'{"user": "a\nb"}'),
        *(b'{"user": "\xff"}', b'{"user": "\\ud800"}', b'{"seed": NaN}', b"\xef\xbb\xbf{}"),
        b'{"user": "a',
        b'{"x":' + b"[" * 90_000 + b"]" * 90_000 + b"}",
    ],
)
def test_a_body_that_is_no_json_is_refused_as_such(
    body: bytes, decoder: msgspec.json.Decoder[Any]
) -> None:
    error = refusal(body, decoder)

    assert (error.status, error.code, error.param) == (400, "invalid_json", None)


def test_a_body_with_more_behind_it_is_no_json() -> None:
    assert refusal(chat() + b" x").code == "invalid_json"


@pytest.mark.parametrize("decoder", [chat_request, completion_request])
@pytest.mark.parametrize("body", [b"[]", b'"text"', b"null", b"1", b"true"])
def test_json_that_is_no_object_is_refused_without_a_field(
    body: bytes, decoder: msgspec.json.Decoder[Any]
) -> None:
    error = refusal(body, decoder)

    assert (error.code, error.param) == ("invalid_request_error", None)
    assert "Expected `object`" in error.message


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("model", [1, [], {}, True]),
        ("max_tokens", [-1, 1.5, 1.0, "1", True, []]),
        ("logit_bias", [1, [], "1"]),
        ("min_tokens", [-1, 1.5, "1"]),
        ("prompt_logprobs", [-1, 21, "1"]),
        ("truncate_prompt_tokens", [-2, "1"]),
        ("truncation_side", ["up", 1]),
        ("response_format", [1, "json", {"type": "xml"}]),
        ("temperature", [-0.1, 2.01, "1", True, [], 10**400]),
        ("top_p", [0, 0.0, 1.01, -1, "1"]),
        ("top_k", [-2, 1.5, "1"]),
        ("min_p", [-0.1, 1.1, "1"]),
        ("seed", [2**63, -(2**63) - 1, 10**40, 0.5, "1"]),
        ("n", [0, -1, 129, 1.5, "1"]),
        ("frequency_penalty", [-2.1, 2.1, "1"]),
        ("presence_penalty", [-2.1, 2.1, "1"]),
        ("repetition_penalty", [0, -1, 2.1, "1"]),
        ("ignore_eos", [0, 1, "true"]),
        ("stream", [0, 1, "true"]),
        ("stream_options", [True, [], "x"]),
        ("stop", ["", 1, ["x"] * 17, {}]),
        ("user", [1, {}]),
    ],
)
def test_a_shared_field_that_does_not_fit_is_named(name: str, values: list[Any]) -> None:
    for value in values:
        for write, decoder in BOTH:
            error = refusal(write(**{name: value}), decoder)
            assert error.code == "invalid_request_error", value
            assert error.param and error.param.partition(".")[0] == name, value
            assert error.message.startswith(f"Invalid '{error.param}': "), value
            assert error.status == 400


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"messages": []}, "messages"),
        ({"messages": None}, "messages"),
        ({"messages": "Hello"}, "messages"),
        ({"messages": ["Hello"]}, "messages[0]"),
        ({"messages": [{"role": ""}]}, "messages[0].role"),
        ({"messages": [{"role": "x" * 65}]}, "messages[0].role"),
        ({"messages": [*HELLO, {"role": None}]}, "messages[1].role"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
        (
            {"messages": [{"role": "user", "content": [{"type": "video", "video": {}}]}]},
            "messages[0].content[0].type",
        ),
        ({"messages": [{"role": "user", "tool_calls": [1]}]}, "messages[0].tool_calls[0]"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_completion_tokens": 0}, "max_completion_tokens"),
        ({"stop": ["a", ""]}, "stop[1]"),
        ({"stop": ["a", 1]}, "stop[1]"),
        ({"stream_options": {"include_usage": 1}}, "stream_options.include_usage"),
        ({"tools": {}}, "tools"),
        ({"tools": [{"type": "web", "function": {"name": "a"}}]}, "tools[0].type"),
        ({"tools": [{"function": {"name": ""}}]}, "tools[0].function.name"),
        ({"chat_template_kwargs": []}, "chat_template_kwargs"),
    ],
)
def test_a_field_of_a_chat_that_does_not_fit_is_named_by_its_path(
    fields: dict[str, Any], param: str
) -> None:
    error = refusal(chat(**fields))

    assert (error.param, error.code) == (param, "invalid_request_error")
    assert error.message.startswith(f"Invalid '{param}': ")


@pytest.mark.parametrize(
    ("prompt", "param"),
    [
        (None, "prompt"),
        (5, "prompt"),
        ({}, "prompt"),
        ([-1], "prompt[0]"),
        ([1, 1.5], "prompt[1]"),
        ([True], "prompt[0]"),
        ([None], "prompt[0]"),
        ([[1], [2, -2]], "prompt[1][1]"),
        ([["text"]], "prompt[0][0]"),
    ],
)
def test_a_prompt_that_does_not_fit_is_named_by_its_path(prompt: Any, param: str) -> None:
    error = refusal(text(prompt=prompt), completion_request)

    assert (error.param, error.code) == (param, "invalid_request_error")


@pytest.mark.parametrize(
    ("body", "decoder", "param"),
    [
        (b"{}", chat_request, "messages"),
        (b"{}", completion_request, "prompt"),
        (chat(messages=[{}]), chat_request, "messages[0].role"),
        (chat(tools=[{}]), chat_request, "tools[0].function"),
        (
            chat(messages=[{"role": "user", "content": [{"type": "text"}]}]),
            chat_request,
            "messages[0].content[0].text",
        ),
    ],
)
def test_a_field_that_is_missing_is_named_by_its_path(
    body: bytes, decoder: msgspec.json.Decoder[Any], param: str
) -> None:
    error = refusal(body, decoder)

    assert (error.message, error.param) == (f"Missing required field '{param}'", param)


@settings(deadline=None)
@given(
    st.binary(max_size=60)
    | st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["messages", "role", "content", "n", "stop"]), inner)
        ),
        max_leaves=12,
    ).map(lambda value: json.dumps(value).encode())
)
def test_any_body_is_either_decoded_or_refused(body: bytes) -> None:
    try:
        decoded = decode_request(body, chat_request)
    except InvalidRequest as error:
        assert error.message
    else:
        assert isinstance(decoded, ChatCompletionRequest)


def test_the_least_that_a_request_needs_is_taken_and_all_else_is_the_models_default() -> None:
    assert decode_request(chat(), chat_request) == ChatCompletionRequest(
        messages=[Message(role="user", content="Hello")]
    )
    assert decode_request(text(), completion_request) == CompletionRequest(prompt="Hello")


def test_null_means_the_same_as_a_field_that_is_left_out() -> None:
    optional = [name for name in ChatCompletionRequest.__struct_fields__ if name != "messages"]

    given_null = decode_request(chat(**dict.fromkeys(optional)), chat_request)

    assert given_null == decode_request(chat(), chat_request)


def test_fields_that_we_do_not_know_are_named() -> None:
    known, none = decode_known(chat(), chat_request)
    same, unknown = decode_known(chat(store=True, metadata={"a": [1]}), chat_request)

    assert same == known
    assert unknown == ["store", "metadata"]
    assert none == []


def test_of_the_unknown_fields_of_a_large_body_the_first_is_named() -> None:
    words = [{"role": "user", "content": "a" * MAX_NAMED_BYTES}]
    known, none = decode_known(chat(messages=words, seed=3), chat_request)
    same, unknown = decode_known(chat(messages=words, store=1, seed=3, more=2), chat_request)

    assert same == known and type(same) is type(known)
    assert unknown == ["store"]
    assert none == []
    assert refusal(chat(messages=words, store=1, seed="x")).param == "seed"
    assert refusal(text(prompt="a" * MAX_NAMED_BYTES, x=1)).param == "messages"


def test_of_a_field_that_is_there_twice_the_last_counts() -> None:
    # RFC 8259, section 4, leaves it open: whoever else reads the body has to read it alike.
    body = b'{"prompt": "a", "seed": 1, "prompt": "b", "seed": 2'

    assert decode_request(body + b"}", completion_request).seed == 2
    known, unknown = decode_known(body + b', "x": 1, "x": 2}', completion_request)
    assert (known.prompt, known.seed, unknown) == ("b", 2, ["x"])


MANY = 2_000_000
DEEP = 90_000
HUGE: dict[str, tuple[bytes, str]] = {
    "lists": (b'{"x":' + b"[" * DEEP + b"]" * DEEP + b"}", "invalid_json"),
    "many lists": (b'{"x":' + b"[" * MANY + b"]" * MANY + b"}", "invalid_request_error"),
    "lists in a known field": (
        chat()[:-1] + b',"chat_template_kwargs":{"a":' + b"[" * DEEP,
        "invalid_json",
    ),
    "lists at the top": (b"[" * MANY, "invalid_request_error"),
    "objects": (b'{"a":' * DEEP, "invalid_json"),
    "digits": (chat()[:-1] + b',"seed":' + b"1" * MANY + b"}", "invalid_request_error"),
    "an exponent": (chat()[:-1] + b',"temperature":1e99999999}', "invalid_request_error"),
    "text that is no UTF-8": (chat()[:-1] + b',"user":"' + b"\xff" * MANY + b'"}', "invalid_json"),
    "half of a pair": (chat()[:-1] + b',"user":"' + b"\\ud800" * MANY + b'"}', "invalid_json"),
    "unknown fields": (
        b"{" + b",".join(b'"%d":0' % number for number in range(500_000)) + b"}",
        "invalid_request_error",
    ),
}


@pytest.mark.parametrize(("body", "code"), HUGE.values(), ids=HUGE)
def test_a_huge_body_that_does_not_fit_is_refused_soon(body: bytes, code: str) -> None:
    started = time.perf_counter()
    error = refusal(body)
    print(f"\n{len(body)} bytes refused in {(time.perf_counter() - started) * 1000:.1f} ms")

    assert (error.status, error.code) == (400, code)
    assert len(error.message) < 300


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("max_tokens", [1, 10**9]),
        ("temperature", [0, 0.0, 2, 2.0]),
        ("top_p", [0.001, 1, 1.0]),
        ("top_k", [-1, 0, 1]),
        ("min_p", [0, 1]),
        ("seed", [-(2**63), 0, 2**63 - 1]),
        ("n", [1, 128]),
        ("frequency_penalty", [-2, 2]),
        ("presence_penalty", [-2, 2]),
        ("repetition_penalty", [0.001, 2]),
        ("stop", ["x", [], ["x"], ["x"] * 16]),
        ("user", ["", "someone"]),
        ("model", ["", "a/b"]),
    ],
)
def test_values_on_the_edge_of_their_range_are_taken(name: str, values: list[Any]) -> None:
    for value in values:
        for write, decoder in BOTH:
            assert getattr(decode_request(write(**{name: value}), decoder), name) == value


@pytest.mark.parametrize("prompt", ["", "a", [], ["a", "b"], [0, 1], [[1], [2, 3]], ["a", 1, [2]]])
def test_a_prompt_keeps_its_form(prompt: Any) -> None:
    assert decode_request(text(prompt=prompt), completion_request).prompt == prompt


def test_a_whole_conversation_with_tools_arrives_as_it_was_written() -> None:
    call = ToolCall(id="c1", function=FunctionCall(name="add", arguments='{"a": 1}'))
    request = ChatCompletionRequest(
        messages=[
            Message(
                role="system",
                content=[TextPart(text="Be"), TextPart(text="brief")],
            ),
            Message(role="assistant", tool_calls=[call], reasoning_content="Hm"),
            Message(role="tool", content="2", tool_call_id="c1", name="add"),
        ],
        tools=[Tool(function=FunctionDefinition(name="add", parameters={"type": "object"}))],
        chat_template_kwargs={"enable_thinking": False},
        max_completion_tokens=5,
        stop=["a", "b"],
        stream=True,
        stream_options=StreamOptions(include_usage=True),
    )

    assert decode_request(encode(request), chat_request) == request


def test_a_request_says_only_what_was_given() -> None:
    assert json.loads(
        encode(
            ChatCompletionRequest(messages=[Message(role="user", content="Hello")], temperature=0.0)
        )
    ) == {"messages": HELLO, "temperature": 0.0}
    assert json.loads(encode(CompletionRequest(prompt=[1, 2], stream=False))) == {
        "prompt": [1, 2],
        "stream": False,
    }
