"""Receives the requests of `/api/v1`; hands them to the service and its answers back."""

from functools import partial
from typing import Any

import msgspec
from litestar import Router, post
from litestar.openapi.datastructures import ResponseSpec
from litestar.types import ASGIApp

from inferneo_core.codec import decode_known, encode
from inferneo_core.errors import InvalidRequest
from inferneo_core.native import (
    BatchRequest,
    BatchResults,
    Generated,
    GenerateRequest,
    NativeError,
    SentEvent,
)
from inferneo_server.generating import generate, generate_all
from inferneo_server.generation import Terms
from inferneo_server.transports.answers import JsonAnswer, SeparateEvents
from inferneo_server.transports.documentation import WholeOrEvents
from inferneo_server.transports.errors import error_responses
from inferneo_server.transports.native_models import list_models, load_model
from inferneo_server.transports.requests import ApiRequest, refuse_or_name
from inferneo_server.transports.whole import WholeAnswer

_ERRORS = error_responses(400, 401, 403, 404, 409, 413, 429, 499, 503, 504, body=NativeError)
_BATCH_ERRORS = error_responses(400, 401, 403, 413, 504, body=NativeError)

_generate_request = msgspec.json.Decoder(GenerateRequest)


@post(
    "/generate",
    status_code=200,
    operation_class=WholeOrEvents,
    responses={200: ResponseSpec(Generated, generate_examples=False), **_ERRORS},
)
async def generate_text(request: ApiRequest, data: GenerateRequest) -> ASGIApp:
    """Answer a prompt, whole or, with `stream`, as `/generate/stream` does."""
    if data.stream:
        return _stream(request, data)
    begin = partial(generate, request.service, data, _terms(request))
    return JsonAnswer(begin, ignored=request.ignored)


@post(
    "/generate/stream",
    status_code=200,
    responses={
        200: ResponseSpec(SentEvent, generate_examples=False, media_type="text/event-stream"),
        **_ERRORS,
    },
)
async def generate_stream(request: ApiRequest, data: GenerateRequest) -> ASGIApp:
    """Answer a prompt as events of `{"token", "finished"}`, each in a write of its own."""
    return _stream(request, data)


def _stream(request: ApiRequest, data: GenerateRequest) -> ASGIApp:
    data = msgspec.structs.replace(data, stream=True)
    begin = partial(generate, request.service, data, _terms(request))
    return SeparateEvents(begin, ignored=request.ignored)


@post(
    "/batch/generate",
    status_code=200,
    responses={200: ResponseSpec(BatchResults, generate_examples=False), **_BATCH_ERRORS},
)
async def generate_batch(request: ApiRequest, data: BatchRequest) -> ASGIApp:
    """Answer many prompts side by side; what is wrong with one is told in its place."""
    most = request.settings.batch_requests
    if len(data.requests) > most:
        raise InvalidRequest(f"A batch holds up to {most} requests", param="requests")
    # The deadline is that of the whole, and a key for repeats would be one for all.
    terms = Terms(identity=_terms(request).identity)
    unknown: list[str] = []

    def read(number: int, value: Any) -> GenerateRequest:
        asked, names = decode_known(encode(value), _generate_request)
        if names:
            refuse_or_name(names, request.settings)
            unknown.extend(f"requests.{number}.{name}" for name in names)
            request.state.ignored = refuse_or_name(unknown, request.settings)
        if asked.stream:
            raise InvalidRequest("A batch is answered in one piece", param="stream")
        return asked

    return WholeAnswer(request, lambda: generate_all(request.service, data.requests, read, terms))


def _terms(request: ApiRequest) -> Terms:
    """What the headers ask for.

    Raises:
        InvalidRequest: a header does not fit, or asks for a stream that can be resumed.
    """
    terms = request.terms
    if terms.resume_for:
        raise InvalidRequest(
            "The events of '/api/v1' have no ids, so that nobody could go on behind one",
            param="Inferneo-Resume-For",
        )
    return terms


router = Router(
    "/api/v1",
    route_handlers=[generate_text, generate_stream, generate_batch, list_models, load_model],
    tags=["/api/v1"],
)
