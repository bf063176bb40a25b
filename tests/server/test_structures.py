"""Proves which wishes for an answer's form are refused before a grammar is made of them."""

import json
from typing import Any

import pytest

from inferneo_core.errors import InvalidRequest
from inferneo_core.sampling import (
    JsonSchemaFormat,
    ResponseFormat,
    SamplingFields,
    StructuredOutputs,
)
from inferneo_server.engines.structures import forcible, wanted_structure

OTHERS = {"$ref": "https://example.com/person.json"}
LOCAL = {"$defs": {"n": {"type": "object", "properties": {"next": {"$ref": "#"}}}}}


def formatted(schema: Any) -> SamplingFields:
    wanted = JsonSchemaFormat(name="answer", schema_=schema)
    return SamplingFields(response_format=ResponseFormat(type="json_schema", json_schema=wanted))


def structured(**fields: Any) -> SamplingFields:
    return SamplingFields(structured_outputs=StructuredOutputs(**fields))


def refusal(sampling: SamplingFields) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        wanted_structure(sampling)
    return caught.value


@pytest.mark.parametrize(
    "schema",
    [
        OTHERS,
        {"$ref": "person.json#/$defs/name"},
        {"$ref": "#name"},
        {"properties": {"a": {"anyOf": [{"type": "null"}, OTHERS]}}},
        {"$defs": {"a": {"items": OTHERS}}, "$ref": "#/$defs/a"},
    ],
    ids=json.dumps,
)
def test_a_schema_that_refers_to_another_is_refused(schema: Any) -> None:
    assert refusal(formatted(schema)).param == "response_format"
    assert refusal(structured(json=schema)).param == "structured_outputs"
    assert "refers to" in refusal(structured(json=json.dumps(schema))).message


@pytest.mark.parametrize(
    "schema",
    [
        {**LOCAL, "$ref": "#/$defs/n"},
        {"$ref": "#"},
        {"enum": [OTHERS, 1]},
        {"const": OTHERS},
        {"properties": {"$ref": {"type": "string"}}},
        {"type": "string", "default": OTHERS, "examples": [OTHERS]},
    ],
    ids=json.dumps,
)
def test_a_schema_may_refer_to_itself_and_to_any_value(schema: Any) -> None:
    for sampling in (formatted(schema), structured(json=schema)):
        wanted = wanted_structure(sampling)
        assert wanted is not None
        assert wanted.json == schema


@pytest.mark.parametrize("text", ["{", "", "[" * 50_000])
def test_a_schema_in_a_text_must_be_json(text: str) -> None:
    assert refusal(structured(json=text)).param == "structured_outputs"


@pytest.mark.parametrize(
    "fields",
    [{}, {"regex": "a", "choice": ["b"]}, {"json_object": False}, {"whitespace_pattern": " "}],
)
def test_one_form_is_asked_for_and_no_more(fields: dict[str, Any]) -> None:
    assert "exactly one of" in refusal(structured(**fields)).message


@pytest.mark.parametrize("schema", [None, False])
def test_nothing_is_no_schema(schema: Any) -> None:
    assert refusal(formatted(schema)).param == "response_format.json_schema.schema"


def test_anything_is_an_object_where_a_schema_allows_all() -> None:
    for sampling in (formatted(True), formatted({}), structured(json={})):
        assert wanted_structure(sampling) == StructuredOutputs(json_object=True)
    assert wanted_structure(SamplingFields(response_format=ResponseFormat(type="text"))) is None


@pytest.fixture(scope="module")
def compiler() -> Any:
    """Makes grammars of schemas for a model whose tokens are the bytes."""
    import xgrammar

    tokens = xgrammar.TokenizerInfo([bytes([each]) for each in range(256)])
    return xgrammar.GrammarCompiler(tokens)


@pytest.mark.parametrize(
    ("bounds", "fitting", "others"),
    [
        ({"maxLength": 3}, ["", "abc", "\u00e9\u65e5x"], ["abcd"]),
        ({"minLength": 2}, ["ab", "a" * 50], ["", "a"]),
        ({"minLength": 2, "maxLength": 3}, ["ab", "abc"], ["a", "abcd"]),
    ],
)
def test_a_string_of_bounded_length_has_no_control_characters(
    bounds: dict[str, int], fitting: list[str], others: list[str], compiler: Any
) -> None:
    import xgrammar

    schema = {"type": "object", "properties": {"a": {"type": "string", **bounds}}}
    wanted = wanted_structure(formatted({**schema, "required": ["a"]}))
    assert wanted is not None
    grammar = compiler.compile_json_schema(json.dumps(wanted.json))

    def accepted(value: str) -> bool:
        matcher = xgrammar.GrammarMatcher(grammar)
        return bool(matcher.accept_string(f'{{"a": "{value}"}}')) and matcher.is_completed()

    assert all(map(accepted, fitting))
    assert not any(map(accepted, [*others, "a\x1d", "a\x00b"]))


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "string", "maxLength": 5, "pattern": "^a*$"},
        {"type": "string", "minLength": "many"},
        {"type": "object", "properties": {"maxLength": {"type": "integer"}}},
        {"enum": [{"type": "string", "maxLength": 5}]},
    ],
    ids=json.dumps,
)
def test_other_schemas_are_forced_as_they_are(schema: dict[str, Any]) -> None:
    wanted = wanted_structure(formatted(schema))
    assert wanted is not None and wanted.json == schema


def test_a_schema_that_is_nested_too_deeply_is_refused() -> None:
    deep = '{"items":' * 5000 + "{}" + "}" * 5000
    assert refusal(structured(json=deep)).param == "structured_outputs"
    nested: dict[str, Any] = {}
    for _ in range(900):
        nested = {"items": nested}
    assert "nested" in refusal(formatted(nested)).message
    with pytest.raises(InvalidRequest, match="nested") as caught:
        forcible([{"function": {"parameters": nested}}], "tools")
    assert caught.value.param == "tools"
