"""Receives nothing; hands on exchanges as servers send them: events, and the answer they make."""

import json
from typing import Any

WORDS = ["Streams", " that", " survive", ": é", "\n\n", 'data: "', "日本", " 🙂", "\\u", "."]


def chunk(choices: list[dict[str, Any]], **more: Any) -> bytes:
    """A chat chunk as our server writes it."""
    head = {"id": "chatcmpl-7", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    return json.dumps({**head, "choices": choices, **more}, ensure_ascii=False).encode()


def delta(index: int = 0, finish_reason: str | None = None, **fields: Any) -> dict[str, Any]:
    """One choice of a chunk."""
    return {"index": index, "delta": fields, "finish_reason": finish_reason}


def call_piece(index: int, **function: Any) -> dict[str, Any]:
    """A piece of a tool call."""
    head = {"id": f"call_{index}", "type": "function"} if "name" in function else {}
    return {"index": index, **head, "function": function}


USAGE = {"prompt_tokens": 3, "completion_tokens": 9, "total_tokens": 12}

EVENTS = [
    chunk([delta(role="assistant", content="")]),
    *[chunk([delta(content=word)]) for word in WORDS],
    chunk([delta(tool_calls=[call_piece(0, name="look", arguments='{"a"')])]),
    chunk([delta(tool_calls=[call_piece(0, arguments=": 1}")])]),
    chunk([delta(finish_reason="tool_calls")]),
    chunk([], usage=USAGE),
]
TEXT = "".join(WORDS)

WHOLE = json.dumps(
    {
        "id": "chatcmpl-7",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [
            {
                "index": 0,
                "message": {
                    "role": "assistant",
                    "content": TEXT,
                    "tool_calls": [
                        {
                            "id": "call_0",
                            "type": "function",
                            "function": {"name": "look", "arguments": '{"a": 1}'},
                        }
                    ],
                },
                "finish_reason": "tool_calls",
            }
        ],
        "usage": USAGE,
    }
).encode()
