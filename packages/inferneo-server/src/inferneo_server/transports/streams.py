"""Receives a stream's id; hands on the rest of it, or all of it, or ends it."""

from functools import partial
from typing import Annotated

from litestar import Router, delete, get
from litestar.params import HeaderParameter, QueryParameter
from litestar.response.base import ASGIResponse
from litestar.types import ASGIApp
from msgspec import Struct

from inferneo_core.errors import InvalidRequest
from inferneo_server.access.check import owner_of
from inferneo_server.generation import Generation
from inferneo_server.sharing.copied import Copy
from inferneo_server.streams import Reader
from inferneo_server.transports.answers import EventStream, JsonAnswer
from inferneo_server.transports.documentation import WholeOrEvents
from inferneo_server.transports.errors import error_responses
from inferneo_server.transports.requests import ApiRequest

# A browser's EventSource comes back after a cut as soon as is polite.
RETRY_MS = 500

_ERRORS = error_responses(400, 401, 403, 404, 410)


class CancelledStream(Struct, frozen=True, kw_only=True):
    """Answer of `DELETE /v1/streams/{id}`, and of `/v1/streams` with an `Idempotency-Key`."""

    id: str
    object: str = "stream.cancelled"


@get(
    "/{stream_id:str}",
    operation_class=WholeOrEvents,
    responses={**_ERRORS, **error_responses(499, 503, 504)},
)
async def read_stream(
    request: ApiRequest,
    stream_id: str,
    after: Annotated[
        str | None, QueryParameter(description="number of the last event read")
    ] = None,
    last_event_id: Annotated[str | None, HeaderParameter(name="Last-Event-ID")] = None,
) -> ASGIApp:
    """Go on with a stream behind an event; `Accept: application/json` waits for the whole answer.

    204 says that the given event was the last one: a browser's EventSource then comes back no more.
    """
    streams, owner = request.service.streams, owner_of(request.scope)

    async def go_on(generation: Generation | Copy, after: int) -> Reader:
        return streams.go_on(generation, after)

    if "application/json" in request.headers.get("accept", ""):
        return JsonAnswer(partial(go_on, await streams.locate(stream_id, owner), -1))
    number = _number(stream_id, after, last_event_id)
    generation = await streams.locate(stream_id, owner, number)
    if generation.ended and number == generation.log.count:
        return ASGIResponse(status_code=204)
    keep_alive_seconds = request.settings.keep_alive_seconds
    return EventStream(partial(go_on, generation, number), keep_alive_seconds, retry_ms=RETRY_MS)


@delete("/{stream_id:str}", status_code=200, responses=_ERRORS)
async def cancel_stream(request: ApiRequest, stream_id: str) -> CancelledStream:
    """End a generation for all its readers."""
    await request.service.streams.cancel(stream_id, owner_of(request.scope))
    return CancelledStream(id=stream_id)


@delete("/", status_code=200, responses=_ERRORS)
async def cancel_request(
    request: ApiRequest,
    key: Annotated[
        str, HeaderParameter(name="Idempotency-Key", description="that of the request to end")
    ],
) -> CancelledStream:
    """End the generation of a request whose answer, and so whose id, nobody has seen yet."""
    cancelled = await request.service.streams.cancel_begun(key, owner_of(request.scope))
    return CancelledStream(id=cancelled)


def _number(stream_id: str, after: str | None, last_event_id: str | None) -> int:
    """The last event that was read; -1 for none. The header wins: a browser that comes back sends
    it, and its URL still says where it began."""
    if last_event_id:
        owner, _, text = last_event_id.rpartition(":")
        if owner != stream_id:
            raise InvalidRequest("It is the id of another stream's event", param="Last-Event-ID")
        return _integer(text, "Last-Event-ID")
    return -1 if after is None else _integer(after, "after")


def _integer(text: str, name: str) -> int:
    # int() takes more than digits, and fails on thousands of them.
    if not (text == "-1" or (text.isascii() and text.isdigit() and len(text) < 18)):
        raise InvalidRequest(f"'{name}' must end with the number of an event", param=name)
    return int(text)


router = Router(
    "/v1/streams", route_handlers=[read_stream, cancel_stream, cancel_request], tags=["Streams"]
)
