"""Receives the sampling fields of a request; hands on what its answer must fit, checked."""

import json

import msgspec

from inferneo_core.errors import InvalidRequest
from inferneo_core.sampling import JsonSchemaFormat, SamplingFields, StructuredOutputs

# A grammar is compiled before its request can run: what is larger takes too long.
MAX_GRAMMAR_BYTES = 64 * 1024
MAX_PATTERN_CHARACTERS = 2048


def wanted_structure(sampling: SamplingFields) -> StructuredOutputs | None:
    """What the answer must fit, if anything.

    Raises:
        InvalidRequest: more or less than one thing is asked for, or it is too large.
    """
    wanted, format_ = sampling.structured_outputs, sampling.response_format
    if wanted is not None:
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
    if schema is True:
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
    return wanted
