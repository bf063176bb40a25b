"""Receives the requests of `/v1/responses`; hands them on and their answers back."""

from functools import partial
from typing import Annotated

from litestar import Router, delete, get, post
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import QueryParameter
from litestar.response.base import ASGIResponse
from litestar.types import ASGIApp

from inferneo_core.codec import encode
from inferneo_core.errors import InvalidRequest
from inferneo_core.responses import (
    DeletedResponse,
    ItemList,
    Response,
    ResponseInputTokens,
    ResponseRequest,
)
from inferneo_server.access.check import owner_of
from inferneo_server.responses import MAX_LISTED, Responses
from inferneo_server.streams import Reader
from inferneo_server.transports.answers import EventStream, JsonAnswer
from inferneo_server.transports.documentation import WholeOrEvents
from inferneo_server.transports.errors import error_responses
from inferneo_server.transports.requests import ApiRequest

_ERRORS = error_responses(400, 401, 403, 404, 409, 413, 429, 499, 503, 504)
_COUNTED = error_responses(400, 401, 403, 404, 413, 429, 503)
_STORED = error_responses(400, 401, 403, 404)
_RESPONSE = ResponseSpec(Response, generate_examples=False)


def _responses(request: ApiRequest) -> Responses:
    responses: Responses = request.app.state.responses
    return responses


@post(
    "/responses",
    status_code=200,
    operation_class=WholeOrEvents,
    responses={200: _RESPONSE, **_ERRORS},
)
async def create_response(request: ApiRequest, data: ResponseRequest) -> ASGIApp:
    """Answer input items, whole, as server-sent events, or in the background."""
    responses = _responses(request)
    begin = partial(responses.begin, data, request.terms)
    if data.stream:
        return EventStream(begin, request.settings.keep_alive_seconds, ignored=request.ignored)
    if not data.background:
        return JsonAnswer(begin, ignored=request.ignored)
    reader = await begin()
    # From here on the generation is its own reader, for as long as responses are stored.
    try:
        response = responses.get(reader.generation.id, owner_of(request.scope))
    finally:
        await reader.aclose()
    headers = {"inferneo-ignored": request.ignored} if request.ignored else {}
    return ASGIResponse(body=encode(response), media_type="application/json", headers=headers)


@post("/responses/input_tokens", status_code=200, responses=_COUNTED)
async def count_input_tokens(request: ApiRequest, data: ResponseRequest) -> ResponseInputTokens:
    """Say how many tokens the model would read to answer input items."""
    tokens = await _responses(request).count_tokens(data, request.identity)
    return ResponseInputTokens(input_tokens=tokens)


@get(
    "/responses/{response_id:str}",
    operation_class=WholeOrEvents,
    responses={200: _RESPONSE, **error_responses(400, 401, 403, 404, 410)},
)
async def get_response(
    request: ApiRequest,
    response_id: str,
    stream: Annotated[
        str | None, QueryParameter(description="`true` gives its events, where they are kept")
    ] = None,
    starting_after: Annotated[
        str | None, QueryParameter(description="sequence number of the last event read")
    ] = None,
) -> ASGIApp:
    """Give a stored response, or its events."""
    responses, owner = _responses(request), owner_of(request.scope)
    if _choice(stream, "stream", ("true", "false"), "false") == "true":
        after = -1 if starting_after is None else _number(starting_after, "starting_after")

        async def read() -> Reader:
            return responses.read(response_id, owner, after)

        return EventStream(read, request.settings.keep_alive_seconds)
    body = encode(responses.get(response_id, owner))
    return ASGIResponse(body=body, media_type="application/json")


@delete("/responses/{response_id:str}", status_code=200, responses=_STORED)
async def delete_response(request: ApiRequest, response_id: str) -> DeletedResponse:
    """Forget a stored response."""
    await _responses(request).delete(response_id, owner_of(request.scope))
    return DeletedResponse(id=response_id)


@post("/responses/{response_id:str}/cancel", status_code=200, responses=_STORED)
async def cancel_response(request: ApiRequest, response_id: str) -> Response:
    """End a response that is written in the background."""
    return await _responses(request).cancel(response_id, owner_of(request.scope))


@get("/responses/{response_id:str}/input_items", responses=_STORED)
async def list_input_items(
    request: ApiRequest,
    response_id: str,
    after: Annotated[str | None, QueryParameter(description="id of the last item read")] = None,
    limit: Annotated[str | None, QueryParameter(description="1 to 100, default 20")] = None,
    order: Annotated[str | None, QueryParameter(description="`desc` (default) or `asc`")] = None,
) -> ItemList:
    """List the items of the conversation that a response answers."""
    count = 20 if limit is None else _number(limit, "limit")
    if not 1 <= count <= MAX_LISTED:
        raise InvalidRequest(f"'limit' must be 1 to {MAX_LISTED}", param="limit")
    return _responses(request).input_items(
        response_id,
        owner_of(request.scope),
        after=after,
        limit=count,
        order=_choice(order, "order", ("asc", "desc"), "desc"),
    )


def _choice(text: str | None, name: str, choices: tuple[str, ...], default: str) -> str:
    chosen = default if text is None else text.lower()
    if chosen not in choices:
        raise InvalidRequest(f"'{name}' must be one of: {', '.join(choices)}", param=name)
    return chosen


def _number(text: str, name: str) -> int:
    # int() takes more than digits, and fails on thousands of them.
    if not (text.isascii() and text.isdigit() and len(text) < 18):
        raise InvalidRequest(f"'{name}' must be a number", param=name)
    return int(text)


router = Router(
    "/v1",
    route_handlers=[
        create_response,
        count_input_tokens,
        get_response,
        delete_response,
        cancel_response,
        list_input_items,
    ],
    tags=["Responses"],
)
