"""Receives the head of an answer; hands on whether it is a stream, and what it is otherwise."""

from typing import Any

import msgspec

from inferneo_client._errors import error_of, event_error, invalid_answer
from inferneo_client._transport import WholeResponse
from inferneo_core.errors import ApiError


def is_stream(response: Any) -> bool:
    """Whether an answer can be a stream: some servers give theirs a wrong type, or none."""
    kind = response.headers.get("content-type", "")
    return response.status == 200 and "json" not in kind and "html" not in kind


def not_a_stream(response: WholeResponse) -> ApiError:
    """The error of an answer that should have been a stream, and came in one piece."""
    try:
        document = msgspec.json.decode(response.body)
    except (ValueError, RecursionError):
        document = None
    if isinstance(document, dict) and (error := event_error(document, response.headers)):
        return error
    if response.status != 200:
        return error_of(response.status, response.headers, response.body)
    return invalid_answer(response.status, response.headers, response.body)
