"""Receives an answer, and what a page shows of it; hands on whether all of that is there."""

import json
from typing import Any

SECONDS = 60.0


def fits(value: Any, shape: Any, place: str = "the answer") -> None:
    """Demand all that a shape shows, each with its type; there may be more.

    Args:
        value: JSON, decoded.
        shape: a type, of which float takes whole numbers too; a tuple of types; a dict of fields;
            a list of one shape, for one item or more; else the value itself.
        place: what is looked at, for the complaint.
    """
    if isinstance(shape, dict):
        assert isinstance(value, dict), f"{place} is {value!r}"
        for name, inner in shape.items():
            assert name in value, f"{place} has no '{name}': {value!r}"
            fits(value[name], inner, f"{place}.{name}")
    elif isinstance(shape, list):
        assert isinstance(value, list) and value, f"{place} is {value!r}"
        for number, item in enumerate(value):
            fits(item, shape[0], f"{place}[{number}]")
    elif isinstance(shape, type | tuple):
        kinds = shape if isinstance(shape, tuple) else (shape,)
        kinds = (*kinds, int) if float in kinds else kinds
        assert isinstance(value, kinds), f"{place} is {value!r}"
        assert bool in kinds or not isinstance(value, bool), f"{place} is {value!r}"
    else:
        assert value == shape, f"{place} is {value!r}"


def sent_events(body: str) -> list[Any]:
    """The events of a stream that ends as OpenAI's do, read as a client of a few lines reads it."""
    *lines, last = [line for line in body.split("\n\n") if line]
    assert last == "data: [DONE]", last
    return [json.loads(line.removeprefix("data: ")) for line in lines]


MODEL = "inferneo-tiny"
USAGE = {"prompt_tokens": int, "completion_tokens": int, "total_tokens": int}
CHAT = {
    "id": str,
    "object": "chat.completion",
    "created": int,
    "model": MODEL,
    "choices": [
        {"index": 0, "message": {"role": "assistant", "content": str}, "finish_reason": str}
    ],
    "usage": USAGE,
}
