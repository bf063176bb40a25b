"""Proves that answers fit the form that a request asks for, and that bad forms harm nobody."""

import json
import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.integration.asking import ASK_SECONDS, CHAT, TEXT, ask, refusal
from tests.servers import RunningServer

ASKED = {"messages": [{"role": "user", "content": "JSON with name Anna and age 30"}]}
GREEDY = {"temperature": 0, "max_tokens": 200}
PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 20}, "age": {"type": "integer"}},
    "required": ["name", "age"],
    "additionalProperties": False,
}

both_ways = pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])


def format_of(schema: Any) -> dict[str, Any]:
    wanted = {"name": "answer", "schema": schema, "strict": True}
    return {"response_format": {"type": "json_schema", "json_schema": wanted}}


def written(server: RunningServer, fields: dict[str, Any], *, stream: bool = False) -> Any:
    """The choice that answers with these fields."""
    [choice] = ask(server, CHAT, ASKED | GREEDY | fields, stream=stream)["choices"]
    return choice


@both_ways
def test_an_answer_fits_its_schema(vllm_server: RunningServer, stream: bool) -> None:
    choice = written(vllm_server, format_of(PERSON), stream=stream)

    assert choice["finish_reason"] == "stop"
    jsonschema.validate(json.loads(choice["message"]["content"]), PERSON)


@both_ways
def test_an_answer_is_a_json_object(vllm_server: RunningServer, stream: bool) -> None:
    fields = {
        "response_format": {"type": "json_object"},
        "messages": [{"role": "user", "content": "What is Inferneo?"}],
    }
    plain = written(vllm_server, {"messages": fields["messages"]}, stream=stream)
    choice = written(vllm_server, fields, stream=stream)

    assert not plain["message"]["content"].startswith("{")
    assert choice["message"]["content"].startswith("{")


@both_ways
@pytest.mark.parametrize(
    ("wanted", "pattern"),
    [
        ({"regex": "[0-9]{3}-[a-f]{2}"}, "[0-9]{3}-[a-f]{2}"),
        ({"choice": ["neither", "nor"]}, "neither|nor"),
        ({"grammar": 'root ::= "ab" [xy] "."'}, "ab[xy]\\."),
        ({"json": {"enum": [17]}}, "17"),
    ],
    ids=["regex", "choice", "grammar", "json"],
)
def test_structured_outputs_are_vllms(
    vllm_server: RunningServer, wanted: Any, pattern: str, stream: bool
) -> None:
    choice = written(vllm_server, {"structured_outputs": wanted}, stream=stream)

    assert re.fullmatch(pattern, choice["message"]["content"])


def test_texts_are_structured_too(vllm_server: RunningServer) -> None:
    body = {"prompt": "Inferneo", "structured_outputs": {"choice": ["yes", "no"]}} | GREEDY
    [choice] = ask(vllm_server, TEXT, body)["choices"]

    assert choice["text"] in ("yes", "no")


@pytest.mark.parametrize(
    "fields",
    [
        format_of({"type": "objekt"}),
        format_of({"type": "integer", "minimum": 5, "maximum": 1}),
        format_of({"$ref": "#"}),
        format_of({"enum": ["x" * 100_000]}),
        format_of(False),
        {"response_format": {"type": "json_schema"}},
        {"structured_outputs": {"regex": "["}},
        {"structured_outputs": {"regex": "(?=a)b"}},
        {"structured_outputs": {"regex": "a" * 3000}},
        {"structured_outputs": {"regex": "a", "choice": ["b"]}},
        {"structured_outputs": {}},
        {"structured_outputs": {"grammar": "root ::= nothing"}},
        {"structured_outputs": {"regex": "a"}, "response_format": {"type": "json_object"}},
    ],
)
def test_what_cannot_be_fitted_is_refused(vllm_server: RunningServer, fields: Any) -> None:
    error = refusal(vllm_server, CHAT, ASKED | GREEDY | fields)

    assert error["param"].startswith(("response_format", "structured_outputs"))


def nested(depth: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(depth):
        schema = {"type": "object", "properties": {"a": schema}, "required": ["a"]}
    return schema


@pytest.mark.parametrize(
    "schema",
    [
        nested(400),
        {"enum": [f"value {number}" for number in range(3000)]},
        {"type": "string", "pattern": "^(a{1,1000}){1,1000}$"},
        {"type": "array", "minItems": 100_000, "items": {"type": "string"}},
        {
            "anyOf": [
                {"properties": {f"k{at}": {"type": "string", "pattern": "(a|b)*c{10,200}"}}}
                for at in range(200)
            ]
        },
        {"$defs": {"n": {"properties": {"c": {"$ref": "#/$defs/n"}}}}, "$ref": "#/$defs/n"},
        {"type": "string", "pattern": "^(([a-z])+.)+[A-Z]([a-z])+$"},
    ],
    ids=["deep", "wide", "long", "endless", "many", "recursive", "catastrophic"],
)
def test_a_hostile_schema_is_answered_in_time(vllm_server: RunningServer, schema: Any) -> None:
    answer = httpx.post(
        f"{vllm_server.url}{CHAT}",
        json=ASKED | {"max_tokens": 8} | format_of(schema),
        timeout=ASK_SECONDS,
    )

    assert answer.status_code in (200, 400), answer.text
    assert written(vllm_server, {"max_tokens": 1})


_LEAVES = st.one_of(
    st.just({"type": "boolean"}),
    st.just({"type": "null"}),
    st.integers(-99, 99).map(lambda low: {"type": "integer", "minimum": low, "maximum": low + 50}),
    st.integers(1, 9).map(lambda most: {"type": "string", "maxLength": most}),
    st.lists(st.sampled_from(["red", "blue", 3, True, None]), min_size=1, unique_by=repr).map(
        lambda values: {"enum": values}
    ),
)


def _object(fields: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": fields,
        "required": sorted(fields),
        "additionalProperties": False,
    }


SCHEMAS = st.recursive(
    _LEAVES,
    lambda inner: st.one_of(
        st.dictionaries(st.sampled_from("abcd"), inner, min_size=1, max_size=3).map(_object),
        inner.map(lambda items: {"type": "array", "items": items, "minItems": 1, "maxItems": 2}),
        st.lists(inner, min_size=2, max_size=2).map(lambda either: {"anyOf": either}),
    ),
    max_leaves=4,
)


# Some at a time: the engine works on them together.
ASKED_AT_ONCE = 10


@settings(
    max_examples=20,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    asked=st.lists(
        st.tuples(SCHEMAS, st.integers(0, 99)), min_size=ASKED_AT_ONCE, max_size=ASKED_AT_ONCE
    )
)
def test_every_answer_that_ended_by_itself_fits_its_schema(
    vllm_server: RunningServer, asked: list[tuple[Any, int]]
) -> None:
    def answer(schema: Any, seed: int) -> dict[str, Any]:
        fields = format_of(schema) | {"temperature": 1, "seed": seed, "max_tokens": 60}
        choice: dict[str, Any] = written(vllm_server, fields)
        return choice

    with ThreadPoolExecutor(ASKED_AT_ONCE) as threads:
        choices = list(threads.map(answer, *zip(*asked, strict=True)))
    for choice, (schema, _) in zip(choices, asked, strict=True):
        if choice["finish_reason"] == "stop":
            jsonschema.validate(json.loads(choice["message"]["content"]), schema)
