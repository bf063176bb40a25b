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
    if wanted.json is not None:
        _check_references(wanted.json, param)
    return wanted


def _check_references(schema: dict[str, Any] | str, param: str) -> None:
    """Refuse a schema that refers to what is not in it: the compilers of grammars take that for
    anything at all.

    Raises:
        InvalidRequest: it does, or is no JSON.
    """
    if isinstance(schema, str):
        try:
            schema = json.loads(schema)
        except (ValueError, RecursionError) as error:
            raise InvalidRequest(f"'{param}.json' is no JSON: {error}", param=param) from None
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
