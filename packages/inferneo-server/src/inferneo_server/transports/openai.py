"""Receives the requests of OpenAI's routes; hands them to the service and its answers back."""

from functools import partial

from litestar import Router, post
from litestar.openapi.datastructures import ResponseSpec
from litestar.types import ASGIApp

from inferneo_core.chat import ChatCompletion, ChatCompletionRequest
from inferneo_core.completions import Completion, CompletionRequest
from inferneo_server.transports.answers import EventStream, JsonAnswer
from inferneo_server.transports.documentation import WholeOrEvents
from inferneo_server.transports.errors import error_responses
from inferneo_server.transports.requests import ApiRequest

_ERRORS = error_responses(400, 401, 403, 404, 409, 413, 429, 499, 503, 504)


@post(
    "/chat/completions",
    status_code=200,
    operation_class=WholeOrEvents,
    responses={200: ResponseSpec(ChatCompletion, generate_examples=False), **_ERRORS},
)
async def create_chat_completion(request: ApiRequest, data: ChatCompletionRequest) -> ASGIApp:
    """Answer a conversation, whole or as server-sent events of `chat.completion.chunk`."""
    return _answer(request, data)


@post(
    "/completions",
    status_code=200,
    operation_class=WholeOrEvents,
    responses={200: ResponseSpec(Completion, generate_examples=False), **_ERRORS},
)
async def create_completion(request: ApiRequest, data: CompletionRequest) -> ASGIApp:
    """Continue a text, whole or as server-sent events."""
    return _answer(request, data)


def _answer(request: ApiRequest, data: ChatCompletionRequest | CompletionRequest) -> ASGIApp:
    begin = partial(request.service.begin, data, request.terms)
    if data.stream:
        return EventStream(begin, request.settings.keep_alive_seconds, ignored=request.ignored)
    return JsonAnswer(begin, ignored=request.ignored)


router = Router(
    "/v1",
    route_handlers=[create_chat_completion, create_completion],
    tags=["OpenAI"],
)
