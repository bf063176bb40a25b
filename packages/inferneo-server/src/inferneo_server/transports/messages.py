"""Receives the requests of `/v1/messages`; hands them to the service and its answers back."""

from functools import partial

from litestar import Router, post
from litestar.openapi.datastructures import ResponseSpec
from litestar.types import ASGIApp

from inferneo_core.messages import (
    CountRequest,
    Message,
    MessagesError,
    MessagesRequest,
    TokenCount,
)
from inferneo_server.answers.messages import MessagesForm
from inferneo_server.rendering import Wording
from inferneo_server.translations.messages import chat_request
from inferneo_server.transports.answers import EventStream, JsonAnswer
from inferneo_server.transports.documentation import WholeOrEvents
from inferneo_server.transports.errors import error_responses
from inferneo_server.transports.requests import ApiRequest

_ERRORS = error_responses(400, 401, 403, 404, 409, 413, 429, 499, 503, 504, body=MessagesError)
_COUNTED = error_responses(400, 401, 403, 404, 413, 429, 503, body=MessagesError)


@post(
    "/messages",
    status_code=200,
    operation_class=WholeOrEvents,
    responses={200: ResponseSpec(Message, generate_examples=False), **_ERRORS},
)
async def create_message(request: ApiRequest, data: MessagesRequest) -> ASGIApp:
    """Answer a conversation in Anthropic's form, whole or as server-sent events."""
    wording = Wording(asked=data, form=MessagesForm)
    begin = partial(request.service.begin, chat_request(data), request.terms, wording)
    if data.stream:
        return EventStream(begin, request.settings.keep_alive_seconds, ignored=request.ignored)
    return JsonAnswer(begin, ignored=request.ignored)


@post("/messages/count_tokens", status_code=200, responses=_COUNTED)
async def count_tokens(request: ApiRequest, data: CountRequest) -> TokenCount:
    """Say how many tokens a conversation has, as the model reads it."""
    tokens = await request.service.count_tokens(chat_request(data), request.identity)
    return TokenCount(input_tokens=tokens)


router = Router("/v1", route_handlers=[create_message, count_tokens], tags=["Messages"])
