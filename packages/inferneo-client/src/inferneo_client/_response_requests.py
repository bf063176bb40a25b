"""Receives what is asked of `/v1/responses`; hands on the calls, and how their events join."""

from typing import Any, Literal, cast
from urllib.parse import quote, urlencode

from inferneo_client._calls import Call
from inferneo_client._options import Options
from inferneo_client._params import ResponseInput, ResponseParams, body_of
from inferneo_client._requests import Request, StreamRequest, get, post
from inferneo_client._response_events import ResponseFold, event_decoder
from inferneo_client._tools import as_tools
from inferneo_client.types.response_events import (
    ResponseEvent,
    ResponseStateEvent,
    TextDeltaEvent,
)
from inferneo_client.types.responses import DeletedResponse, InputTokens, ItemList, Response

ResponseStreamRequest = StreamRequest[ResponseEvent, Response]


def response(options: Options, input: ResponseInput, params: ResponseParams) -> Request[Response]:
    """`POST /v1/responses`, in one piece."""
    return Request(_call(options, input, params, None), Response)


def input_tokens(
    options: Options, input: ResponseInput, params: ResponseParams
) -> Request[InputTokens]:
    """`POST /v1/responses/input_tokens`."""
    call = _call(options, input, params, None)
    call.path += "/input_tokens"
    call.safe = True
    return Request(call, InputTokens)


def response_stream(
    options: Options, input: ResponseInput, params: ResponseParams
) -> ResponseStreamRequest:
    """`POST /v1/responses`, as a stream."""
    return _stream_of(_call(options, input, params, True))


def _call(
    options: Options, input: ResponseInput, params: ResponseParams, stream: bool | None
) -> Call:
    given = cast("dict[str, Any]", params)
    if given.get("tools"):
        given = {**given, "tools": [_flat(tool) for tool in as_tools(given["tools"])]}
    body = body_of(ResponseParams, given, input=input, stream=stream)
    return post(options, "/responses", body, given, bool(stream))


def _flat(tool: Any) -> Any:
    """A tool as this route has it: with no `function` around what describes it."""
    if isinstance(tool, dict) and isinstance(tool.get("function"), dict):
        return {"type": "function", **tool["function"]}
    return tool


def _stream_of(call: Call) -> ResponseStreamRequest:
    # The type of the chunks is their decoder's to say: they are of many classes.
    kind = cast("Any", ResponseStateEvent)
    return StreamRequest(call, kind, ResponseFold, _texts, event_decoder())


def _texts(events: list[ResponseEvent]) -> list[str]:
    return [event.delta for event in events if isinstance(event, TextDeltaEvent)]


def stored(options: Options, identity: str) -> Request[Response]:
    """`GET /v1/responses/{id}`."""
    return Request(get(options, _path(identity)), Response)


def stored_stream(
    options: Options, identity: str, starting_after: int | None
) -> ResponseStreamRequest:
    """`GET /v1/responses/{id}?stream=true`: the events behind number `starting_after`, or all."""
    call = get(options, _path(identity, stream="true", starting_after=starting_after))
    call.streamed = True
    return _stream_of(call)


def deleted(options: Options, identity: str) -> Request[DeletedResponse]:
    """`DELETE /v1/responses/{id}`."""
    call = Call(method="DELETE", path=_path(identity), options=options, safe=True)
    return Request(call, DeletedResponse)


def cancelled(options: Options, identity: str) -> Request[Response]:
    """`POST /v1/responses/{id}/cancel`."""
    return Request(post(options, _path(identity, "/cancel"), b"", {}, safe=True), Response)


def input_items(
    options: Options,
    identity: str,
    after: str | None,
    limit: int | None,
    order: Literal["asc", "desc"] | None,
) -> Request[ItemList]:
    """`GET /v1/responses/{id}/input_items`."""
    path = _path(identity, "/input_items", after=after, limit=limit, order=order)
    return Request(get(options, path), ItemList)


def _path(identity: str, rest: str = "", **query: Any) -> str:
    given = {name: value for name, value in query.items() if value is not None}
    return f"/responses/{quote(identity, safe='')}{rest}{'?' if given else ''}{urlencode(given)}"
