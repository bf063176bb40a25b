"""Receives functions and types of Python; hands on the JSON Schemas that stand for them."""

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, get_type_hints

import msgspec


def as_tools(tools: Sequence[Any]) -> list[Any]:
    """Tools as a server takes them; a plain function becomes one."""
    return [tool_of(tool) if callable(tool) else tool for tool in tools]


def tool_of(function: Callable[..., Any]) -> dict[str, Any]:
    """A function as a tool: its name, its docstring, and a schema of its parameters.

    Raises:
        TypeError: a parameter has no annotation, or one that has no schema.
    """
    hints = get_type_hints(function, include_extras=True)
    described = _described(inspect.getdoc(function) or "")
    properties: dict[str, Any] = {}
    required: list[str] = []
    definitions: dict[str, Any] = {}
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise TypeError(f"A tool's parameters have names: {function.__name__} takes *{name}")
        if name not in hints:
            raise TypeError(f"{function.__name__}: the parameter {name!r} has no annotation")
        properties[name] = _property(hints[name], definitions)
        if name in described[1]:
            properties[name] = {**properties[name], "description": described[1][name]}
        if parameter.default is parameter.empty:
            required.append(name)
    schema = {"type": "object", "properties": properties, "required": required}
    if definitions:
        schema["$defs"] = definitions
    made = {"name": function.__name__, "description": described[0], "parameters": schema}
    return {"type": "function", "function": {key: value for key, value in made.items() if value}}


def _property(annotation: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    schema = schema_of(annotation)
    definitions.update(schema.pop("$defs", {}))
    return schema


_ARGUMENT = re.compile(r"^(\w+)(?: \(.+?\))?: (.+)$")


def _described(text: str) -> tuple[str, dict[str, str]]:
    """What a docstring in Google's style says of a function, and of each argument."""
    head, _, rest = text.partition("\nArgs:\n")
    arguments = {}
    for line in inspect.cleandoc(rest).splitlines() if rest else ():
        if not line:
            break
        if found := _ARGUMENT.match(line):
            arguments[found.group(1)] = found.group(2)
    return head.strip(), arguments


def _is_pydantic(kind: Any) -> bool:
    return isinstance(kind, type) and hasattr(kind, "model_json_schema")


def schema_of(kind: Any) -> dict[str, Any]:
    """The JSON Schema of a type: of pydantic, msgspec, a dataclass, a TypedDict, or a plain one.

    Raises:
        TypeError: the type has none.
    """
    if _is_pydantic(kind):
        schema: dict[str, Any] = kind.model_json_schema()
        return schema
    return msgspec.json.schema(kind, ref_template="#/$defs/{name}")


def as_response_format(wanted: Any) -> Any:
    """A `response_format` as a server takes it; a type becomes the schema of its JSON."""
    if isinstance(wanted, Mapping):
        return wanted
    schema = _inlined(schema_of(wanted))
    name = re.sub(r"[^a-zA-Z0-9_-]", "_", getattr(wanted, "__name__", "answer"))
    return {
        "type": "json_schema",
        "json_schema": {"name": name, "schema": schema, "strict": True},
    }


def _inlined(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema with its outermost reference resolved: OpenAI wants an object at the root."""
    reference = schema.get("$ref", "")
    if not reference.startswith("#/$defs/"):
        return schema
    definitions = schema["$defs"]
    name = reference.removeprefix("#/$defs/")
    rest = {key: value for key, value in definitions.items()}
    return {**definitions[name], "$defs": rest} if len(rest) > 1 else dict(definitions[name])


def parse_as(kind: Any, text: str) -> Any:
    """Decode what a model wrote as JSON of a type.

    Raises:
        ValueError: it is no such JSON.
    """
    if _is_pydantic(kind):
        return kind.model_validate_json(text)
    return msgspec.json.decode(text, type=kind)
