"""Receives the sampling fields of a request; hands on what its answer must fit, checked."""

import json
from typing import Any

import msgspec

from inferneo_core.errors import InvalidRequest
from inferneo_core.sampling import JsonSchemaFormat, SamplingFields, StructuredOutputs

# A grammar is compiled before its request can run: what is larger takes too long.
MAX_GRAMMAR_BYTES = 64 * 1024
MAX_PATTERN_CHARACTERS = 2048
# Parts of a schema that are values, and no schemas.
_VALUES = frozenset({"enum", "const", "default", "examples"})
_LENGTHS = frozenset({"minLength", "maxLength"})
# Beside these the length of a string is not what forces it.
_OTHERWISE_BOUND = frozenset({"pattern", "format", "enum", "const"})


def wanted_structure(sampling: SamplingFields) -> StructuredOutputs | None:
    """What the answer must fit, if anything.

    Raises:
        InvalidRequest: more or less than one thing is asked for, or it is too large.
    """
    wanted, format_ = sampling.structured_outputs, sampling.response_format
    if wanted is not None:
        if wanted.json == {}:
            wanted = msgspec.structs.replace(wanted, json=None, json_object=True)
        return _checked(wanted, "structured_outputs")
    if format_ is None or format_.type == "text":
        return None
    if format_.type == "json_object":
        return StructuredOutputs(json_object=True)
    schema = (format_.json_schema or JsonSchemaFormat()).schema_
    if schema is None:
        raise InvalidRequest(
            "'response_format' of type json_schema needs a schema",
            param="response_format.json_schema.schema",
        )
    if schema is True or schema == {}:
        return StructuredOutputs(json_object=True)
    if schema is False:
        raise InvalidRequest(
            "Nothing fits the schema 'false'", param="response_format.json_schema.schema"
        )
    return _checked(StructuredOutputs(json=schema), "response_format")


def _checked(wanted: StructuredOutputs, param: str) -> StructuredOutputs:
    fields = msgspec.to_builtins(wanted)
    kinds = [
        name for name in ("json", "regex", "choice", "grammar", "json_object") if fields.get(name)
    ]
    if len(kinds) != 1:
        raise InvalidRequest(
            f"'{param}' takes exactly one of json, regex, choice, grammar and json_object",
            param=param,
        )
    size = len(json.dumps(fields[kinds[0]]))
    if size > MAX_GRAMMAR_BYTES:
        raise InvalidRequest(
            f"'{param}' has {size} bytes, more than the {MAX_GRAMMAR_BYTES} that are allowed",
            param=param,
        )
    if wanted.regex and len(wanted.regex) > MAX_PATTERN_CHARACTERS:
        raise InvalidRequest(
            f"'{param}.regex' has more than {MAX_PATTERN_CHARACTERS} characters", param=param
        )
    if wanted.json is None:
        return wanted
    schema = _parsed(wanted.json, param)
    _check_references(schema, param)
    return msgspec.structs.replace(wanted, json=forcible(schema, param))


def _parsed(schema: Any, param: str) -> Any:
    if not isinstance(schema, str):
        return schema
    try:
        return json.loads(schema)
    except (ValueError, RecursionError) as error:
        raise InvalidRequest(f"'{param}.json' is no JSON: {error}", param=param) from None


def forcible(schema: Any, param: str) -> Any:
    """A schema, or what holds some, as the compilers of grammars force it rightly.

    xgrammar lets control characters into a string of bounded length, and JSON does not.

    Raises:
        InvalidRequest: it is nested too deeply.
    """
    try:
        return _forcible(schema)
    except RecursionError:
        raise InvalidRequest(f"'{param}' is nested too deeply", param=param) from None


def _forcible(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_forcible(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    parts = {name: each if name in _VALUES else _forcible(each) for name, each in schema.items()}
    bounds = [schema[name] for name in _LENGTHS & schema.keys()]
    whole = all(type(each) is int and each >= 0 for each in bounds)
    bounded = bounds and whole and not _OTHERWISE_BOUND & schema.keys()
    if bounded and schema.get("type") == "string":
        least, most = parts.pop("minLength", 0), parts.pop("maxLength", "")
        parts["pattern"] = f'^[^"\\\\\\x00-\\x1f]{{{least},{most}}}$'
    return parts


def _check_references(schema: Any, param: str) -> None:
    """Refuse a schema that refers to what is not in it: the compilers of grammars take that for
    anything at all.

    Raises:
        InvalidRequest: it does.
    """
    waiting: list[Any] = [schema]
    while waiting:
        part = waiting.pop()
        if isinstance(part, list):
            waiting += part
        elif isinstance(part, dict):
            reference = part.get("$ref")
            if isinstance(reference, str) and reference != "#" and not reference.startswith("#/"):
                raise InvalidRequest(
                    f"The schema refers to {reference[:200]!r}; it may refer to its own parts "
                    "only, as by '#/$defs/name'",
                    param=param,
                )
            waiting += [each for name, each in part.items() if name not in _VALUES]
