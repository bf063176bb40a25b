"""Receives any exception; hands on the answer that a client is told, in its API's shape."""

import logging
from typing import Any, cast

from litestar import Request, Response
from litestar.exceptions import (
    HTTPException,
    MethodNotAllowedException,
    NotFoundException,
    ValidationException,
)
from litestar.openapi.datastructures import ResponseSpec
from msgspec import Struct

from inferneo_core.codec import encode
from inferneo_core.errors import (
    ApiError,
    ErrorBody,
    InvalidRequest,
    MethodNotAllowed,
    NotFound,
    ServerError,
)
from inferneo_core.messages import error_body as messages_body
from inferneo_core.native import error_body as native_body
from inferneo_server.transports.probes import takes_head

_MESSAGES = "/v1/messages"
_NATIVE = "/api/v1"
# What clients ask for whose base URL has no `/v1`.
_BARE = ("/chat/completions", "/completions", "/models", "/embeddings", "/responses")

logger = logging.getLogger(__name__)

_DESCRIPTIONS = {
    400: "The request does not fit",
    401: "The key is missing or wrong",
    403: "The key may not do that, or not use that model",
    404: "There is no such model, stream or response",
    409: "The idempotency key belongs to another request",
    410: "What follows the given event is no longer kept",
    413: "The body is too large",
    429: "A limit of the caller is reached",
    499: "Somebody ended the generation before its end",
    503: "The engine is loading, restarting or overloaded",
    504: "The time that the request allowed is over",
}


def error_responses(*statuses: int, body: Any = ErrorBody) -> dict[int, ResponseSpec]:
    """What the documentation of a route says of its errors."""
    shape = cast("type[Any]", body)  # a union of structs is none to mypy
    return {
        status: ResponseSpec(shape, description=_DESCRIPTIONS[status], generate_examples=False)
        for status in statuses
    }


def to_api_error(error: Exception, method: str = "", path: str = "") -> ApiError:
    """Name any failure in the words of the contract; what we did not foresee tells nothing."""
    match error:
        case ApiError():
            return error
        case MethodNotAllowedException():
            return MethodNotAllowed(f"{path} does not take {method}", headers=_allow(error, path))
        case NotFoundException():
            return NotFound(f"There is nothing at {path}{_advice(path)}")
        case ValidationException():
            return InvalidRequest("The body is missing, or does not fit")
        case HTTPException() if error.status_code < 500:
            return InvalidRequest(error.detail, status=error.status_code)
    logger.exception("Unforeseen failure on %s %s", method, path, exc_info=error)
    return ServerError("The server failed on this request")


def _advice(path: str) -> str:
    """What is wrong with the base URL of a client whose every request would end here."""
    if path.startswith(_BARE):
        return "; routes of OpenAI's begin with /v1, in which a client's base URL ends"
    if path.startswith("/v1/v1/"):
        return "; the client adds /v1 itself, so that its base URL must not end in it"
    return ""


def _allow(error: HTTPException, path: str) -> dict[str, str]:
    """The methods that a path takes; to Litestar a WebSocket is one of them, and HEAD is none."""
    methods = set((error.headers or {}).get("allow", "").split(", ")) - {"websocket"}
    if "GET" in methods and takes_head(path):
        methods.add("HEAD")
    return {"allow": ", ".join(sorted(methods))}


def _body(path: str, error: ApiError) -> Struct:
    """The error in the words of a path's API, whose own clients read no other."""
    if path.startswith(_MESSAGES):
        return messages_body(error)
    if path == _NATIVE or path.startswith(f"{_NATIVE}/"):
        return native_body(error)
    return error.body()


def error_response(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """The exception map of the application: one entry for everything."""
    path = request.url.path
    told = to_api_error(error, request.method, path)
    return Response(
        encode(_body(path, told)),
        status_code=told.status,
        media_type="application/json",
        headers=told.headers,
    )
