"""Receives answers as they went over the wire; hands them on as the types of a client's package,
which they must fit strictly: no text where a number stands, no field missing."""

import json
from typing import Any, TypeVar, get_args

import httpx
import pydantic

from inferneo_core.sse import EventDecoder
from tests.servers import RunningServer

T = TypeVar("T")

SECONDS = 60


def fits(kind: type[T], body: str | bytes) -> T:
    """The body as this type; a validation error names what does not fit."""
    return pydantic.TypeAdapter(kind).validate_json(body, strict=True)


def kinds(union: Any) -> dict[str, Any]:
    """The classes of a union that is told apart by `type`, by that."""
    members = get_args(get_args(union)[0])
    return {get_args(member.model_fields["type"].annotation)[0]: member for member in members}


def post(server: RunningServer, path: str, body: dict[str, Any], **headers: str) -> httpx.Response:
    """Any answer."""
    return httpx.post(f"{server.url}{path}", json=body, headers=headers, timeout=SECONDS)


def answer_of(server: RunningServer, path: str, body: dict[str, Any], kind: type[T]) -> T:
    """A whole answer."""
    answer = post(server, path, body)
    assert answer.status_code == 200, answer.text
    return fits(kind, answer.content)


def events_of(server: RunningServer, path: str, body: dict[str, Any], union: Any) -> list[Any]:
    """A streamed answer, of which each event is named by its type."""
    answer = post(server, path, {**body, "stream": True})
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/event-stream")
    return named_events(answer.content, union)


def named_events(stream: bytes, union: Any) -> list[Any]:
    """The events of a stream."""
    known = kinds(union)
    events = EventDecoder().feed(stream)
    assert [json.loads(event.data)["type"] for event in events] == [each.event for each in events]
    return [fits(known[event.event], event.data) for event in events]
