"""Streams shaped like those of other servers, as bytes on a socket, in every flavour."""

import json
from typing import Any

import pytest

from inferneo_client import (
    ApiError,
    Inferneo,
    InvalidAnswer,
    StreamInterruptedError,
    StreamTruncatedError,
)
from tests.client.flavours import FLAVOURS, MESSAGES, QUICK, Deed, Flavour, Outcome
from tests.client.scripted import ScriptedServer, sse, whole

OPTIONS = {"retry": QUICK}
DONE = b"data: [DONE]\n\n"


def event(*choices: dict[str, Any] | None, **fields: Any) -> bytes:
    document = {"id": "1", "choices": list(choices), **fields}
    return b"data: " + json.dumps(document).encode() + b"\n\n"


def says(content: str | None, reason: str | None = None, **fields: Any) -> dict[str, Any]:
    return {"index": 0, "delta": {"content": content, **fields}, "finish_reason": reason}


SHAPES = {
    # vLLM: fields of its own in each chunk, and the usage behind the end.
    "vllm": event(says("", role="assistant"), prompt_token_ids=None)
    + event({**says("Hel"), "token_ids": None, "stop_reason": None}, kv=None)
    + event(says("lo", None, reasoning_content=None))
    + event(says(None, "stop"))
    + event(usage={"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3})
    + DONE,
    # SGLang: text together with the finish reason, and an unknown field with an object.
    "sglang": event(says("Hello", "stop"), metadata={"weight_version": "1"}) + DONE,
    # llama.cpp: timings, and null choices beside them.
    "llama.cpp": event(says("Hello"))
    + event(says(None, "stop"), timings={"predicted_ms": 1.5})
    + b'data: {"choices": null, "usage": null}\n\n'
    + DONE,
    # Ollama: no space behind the colon, and the role in each chunk.
    "ollama": event(says("Hel", role="assistant")).replace(b"data: ", b"data:")
    + event(says("lo", "stop", role="assistant")).replace(b"data: ", b"data:")
    + b"data:[DONE]\n\n",
    # OpenAI and OpenRouter: padding, comments while the model thinks.
    "openai": b": OPENROUTER PROCESSING\n\n"
    + event(says("Hel"), obfuscation="x7")
    + b": ping\n\n"
    + event(says("lo", "stop"), service_tier="default")
    + DONE,
    "carriage returns": (event(says("Hel")) + event(says("lo", "stop")) + DONE).replace(
        b"\n", b"\r\n"
    ),
    "lone carriage returns": (event(says("Hel")) + event(says("lo", "stop")) + DONE).replace(
        b"\n", b"\r"
    ),
    "named events with a byte order mark": b"\xef\xbb\xbfevent: chunk\nid: 9\n"
    + event(says("Hel"))
    + b"retry: 10\n"
    + event(says("lo", "stop"))
    + DONE,
    "data in two lines": b'data: {"choices": [{"index": 0,\n'
    + b'data: "delta": {"content": "Hello"}, "finish_reason": "stop"}]}\n\n'
    + DONE,
    "no done, but all choices finished": event(says("Hello", "stop")),
}


def ask(server: ScriptedServer, flavour: Flavour, answer: bytes, **deed: Any) -> Outcome:
    server.answer = answer
    return flavour.run(server.url, OPTIONS, Deed(**deed))


@pytest.fixture(params=FLAVOURS, ids=lambda flavour: flavour.name)
def flavour(request: pytest.FixtureRequest) -> Flavour:
    found: Flavour = request.param
    return found


@pytest.mark.parametrize("shape", SHAPES)
def test_a_stream_of_another_server_is_read(
    other: ScriptedServer, flavour: Flavour, shape: str
) -> None:
    outcome = ask(other, flavour, sse(SHAPES[shape]))

    assert outcome.error is None
    assert outcome.final.choices[0].message.content == "Hello"
    assert outcome.final.choices[0].finish_reason == "stop"


def test_what_no_class_knows_is_in_extra(other: ScriptedServer, flavour: Flavour) -> None:
    strange = event({**says("x", "stop", mood="good"), "matched": 7}, timings={"ms": 1}) + DONE
    chunk = ask(other, flavour, sse(strange)).chunks[0]

    assert chunk.extra == {"timings": {"ms": 1}}
    assert chunk.choices[0].extra == {"matched": 7}
    assert chunk.choices[0].delta.extra == {"mood": "good"}
    assert chunk.to_dict()["choices"][0]["matched"] == 7


@pytest.mark.parametrize("name", ["reasoning", "reasoning_content"])
def test_reasoning_is_found_under_both_of_its_names(
    other: ScriptedServer, flavour: Flavour, name: str
) -> None:
    thought = event(says(None, **{name: "hm"})) + event(says("x", "stop")) + DONE
    message = ask(other, flavour, sse(thought)).final.choices[0].message

    assert (message.reasoning_text, message.content) == ("hm", "x")


def test_a_stream_without_its_end_is_never_whole(other: ScriptedServer, flavour: Flavour) -> None:
    outcome = ask(other, flavour, sse(event(says("Hel"))))

    assert isinstance(outcome.error, StreamTruncatedError)
    assert outcome.error.partial.choices[0].message.content == "Hel"
    assert len(outcome.chunks) == 1


def test_half_an_event_at_the_end_is_no_event(other: ScriptedServer, flavour: Flavour) -> None:
    outcome = ask(other, flavour, sse(event(says("Hel")) + event(says("lo", "stop"))[:-2]))

    assert isinstance(outcome.error, StreamTruncatedError)


def test_a_broken_stream_says_what_came(other: ScriptedServer, flavour: Flavour) -> None:
    cut = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: 9999\r\n\r\n"
    outcome = ask(other, flavour, cut + event(says("Hel")))

    assert isinstance(outcome.error, StreamInterruptedError)
    assert not isinstance(outcome.error, StreamTruncatedError)
    assert outcome.error.partial.choices[0].message.content == "Hel"
    assert other.generations == 1


@pytest.mark.parametrize(
    ("document", "status", "code"),
    [
        ({"error": {"message": "no", "type": "server_error", "code": "overloaded"}}, 503, None),
        ({"error": {"message": "no", "code": 400, "type": "BadRequestError"}}, 400, None),
        ({"error": "no"}, 500, None),
    ],
)
def test_an_error_in_a_stream_is_raised_behind_what_came(
    other: ScriptedServer, flavour: Flavour, document: Any, status: int, code: None
) -> None:
    told = event(says("Hel")) + b"data: " + json.dumps(document).encode() + b"\n\n"
    outcome = ask(other, flavour, sse(told))

    assert isinstance(outcome.error, ApiError)
    assert not isinstance(outcome.error, StreamInterruptedError)
    assert outcome.error.status == status
    assert len(outcome.chunks) == 1


@pytest.mark.parametrize("streamed", [True, False])
def test_a_200_that_is_an_error_is_raised(
    other: ScriptedServer, flavour: Flavour, streamed: bool
) -> None:
    body = b'{"error": {"message": "The model is loading", "type": "server_error", "code": null}}'
    outcome = ask(other, flavour, whole(200, body, connection="close"), streamed=streamed)

    assert isinstance(outcome.error, ApiError)
    assert "The model is loading" in str(outcome.error)


@pytest.mark.parametrize("streamed", [True, False])
@pytest.mark.parametrize("status", [200, 302])
def test_a_page_of_a_proxy_is_no_answer(
    other: ScriptedServer, flavour: Flavour, streamed: bool, status: int
) -> None:
    page = whole(status, b"<html>Log in</html>", content_type="text/html", connection="close")
    outcome = ask(other, flavour, page, streamed=streamed)

    assert isinstance(outcome.error, InvalidAnswer)
    assert "Log in" in str(outcome.error)
    assert "base_url" in str(outcome.error)


@pytest.mark.parametrize("streamed", [True, False])
def test_a_page_with_an_error_status_is_told_as_that_error(
    other: ScriptedServer, flavour: Flavour, streamed: bool
) -> None:
    page = whole(403, b"<html>Forbidden</html>", content_type="text/html", connection="close")
    outcome = ask(other, flavour, page, streamed=streamed)

    assert isinstance(outcome.error, ApiError)
    assert (outcome.error.status, outcome.error.retryable) == (403, False)


def test_arguments_of_a_tool_that_come_as_an_object_are_kept_as_json(
    other: ScriptedServer, flavour: Flavour
) -> None:
    call = {"id": "1", "function": {"name": "f", "arguments": {"a": 1}}}
    told = event(says(None, "tool_calls", tool_calls=[call])) + DONE
    found = ask(other, flavour, sse(told)).final.choices[0].message.tool_calls

    assert [call.function.arguments for call in found] == ['{"a":1}']


def test_calls_without_an_index_are_told_apart_by_their_id(
    other: ScriptedServer, flavour: Flavour
) -> None:
    pieces = [
        {"id": "1", "function": {"name": "f", "arguments": "{}"}},
        {"id": "2", "function": {"name": "g", "arguments": "["}},
        {"function": {"arguments": "]"}},
    ]
    told = b"".join(event(says(None, tool_calls=[piece])) for piece in pieces)
    found = ask(other, flavour, sse(told + event(says(None, "tool_calls")) + DONE))
    calls = found.final.choices[0].message.tool_calls

    assert [(call.id, call.function.name, call.function.arguments) for call in calls] == [
        ("1", "f", "{}"),
        ("2", "g", "[]"),
    ]


def test_two_choices_must_both_have_ended(other: ScriptedServer) -> None:
    one = event(says("a", "stop"))
    two = event({"index": 1, "delta": {"content": "b"}, "finish_reason": "stop"})
    with Inferneo(base_url=other.url) as client:
        other.answer = sse(one)
        with pytest.raises(StreamTruncatedError):
            client.chat.completions.create(messages=MESSAGES, n=2, stream=True).final()
        other.answer = sse(one + two)
        answer = client.chat.completions.create(messages=MESSAGES, n=2, stream=True).final()

    assert [choice.message.content for choice in answer.choices] == ["a", "b"]
