"""Receives what went wrong; hands on one tree of errors, with their codes and HTTP status.

The tree, split by who has to act:

ApiError
├── RequestError            the caller must change the request
│   ├── InvalidRequest          400, 413
│   ├── ContextLengthExceeded   400
│   ├── ModelLoadFailed         400
│   ├── AuthenticationFailed    401
│   ├── PermissionDenied        403
│   │   └── ModelNotAllowed         403
│   ├── NotFound                404
│   │   ├── ModelNotFound       404
│   │   ├── StreamNotFound      404
│   │   ├── ResponseNotFound    404
│   │   └── RequestNotFound     404
│   ├── MethodNotAllowed        405
│   ├── Conflict                409
│   ├── EventsDropped           410
│   ├── TooManyRequests         429
│   │   ├── RateLimited         429
│   │   └── QuotaExceeded       429
│   └── Cancelled               499
└── ServerError             the same request may succeed later
    ├── EngineUnavailable       503
    ├── Overloaded              503
    ├── LimitsUnavailable       503
    ├── Draining                503
    └── DeadlineExceeded        504
"""

import math
import time
from typing import Any, ClassVar

from msgspec import UNSET, Struct, UnsetType

from inferneo_core.limits import LimitsLeft


class ErrorDetail(Struct, frozen=True, kw_only=True):
    """What an error answer says.

    `message` is for people, `code` for programs; `param` names the field of the request that is at
    fault. Source: https://platform.openai.com/docs/guides/error-codes
    """

    message: str
    type: str
    param: str | None = None
    code: str | None = None


class ErrorBody(Struct, frozen=True, kw_only=True):
    """An error answer of `/v1`; `detail` repeats the message for clients that read only that.

    `request_id` is there on a stream or a socket, which have no header of their own to carry it.
    """

    error: ErrorDetail
    detail: str
    request_id: str | int | UnsetType = UNSET


class ApiError(Exception):
    """An error that a caller is told of.

    Attributes:
        status: HTTP status of the answer.
        close_code: WebSocket close code (RFC 6455, section 7.4) where the error ends the socket.
        type: OpenAI's error type.
        code: OpenAI's error code, a string.
        param: the field of the request at fault, as a path (`messages[0].role`), or None.
        headers: further headers of the answer.
        retryable: whether the same request may succeed later.
        request_id: the answer's `x-request-id`, where a client raises it; else None.
        attempts: how often a client sent the request before it gave up; 0 in a server.
        limits: what the caller has left, where the error is about that.
        retry_after: seconds after which a client may come back, where the server said so.
    """

    retryable: ClassVar[bool] = False
    request_id: str | None = None
    attempts: int = 0
    limits: LimitsLeft | None = None

    status: ClassVar[int] = 500
    close_code: ClassVar[int] = 1011
    type: ClassVar[str] = "server_error"
    code: ClassVar[str] = "server_error"

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        status: int | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.headers: dict[str, str] = headers or {}
        # Set on the instance only where given: the class holds what is usual.
        overrides: dict[str, Any] = {"code": code, "status": status}
        self.__dict__.update({name: value for name, value in overrides.items() if value})

    @property
    def retry_after(self) -> float | None:
        """Seconds after which it is worth trying again; None where that is not said."""
        return retry_after(self.headers)

    def body(self) -> ErrorBody:
        """The answer that tells of this error."""
        detail = ErrorDetail(message=self.message, type=self.type, param=self.param, code=self.code)
        return ErrorBody(error=detail, detail=self.message)


class RequestError(ApiError):
    """The request cannot be served as it is."""

    status: ClassVar[int] = 400
    close_code: ClassVar[int] = 1008
    type: ClassVar[str] = "invalid_request_error"
    code: ClassVar[str] = "invalid_request_error"


class InvalidRequest(RequestError):
    """Malformed JSON, a wrong type, a value out of range, a body too large."""


class ContextLengthExceeded(RequestError):
    """The prompt, or the prompt and the tokens asked for, do not fit the model."""

    code: ClassVar[str] = "context_length_exceeded"


class ModelLoadFailed(RequestError):
    """The model cannot be loaded as it was asked for; what served before serves on."""

    code: ClassVar[str] = "model_load_failed"


class AuthenticationFailed(RequestError):
    """The key is missing or wrong."""

    status: ClassVar[int] = 401
    type: ClassVar[str] = "authentication_error"
    code: ClassVar[str] = "invalid_api_key"

    def __init__(self, message: str) -> None:
        # RFC 9110, section 11.6.1: a 401 names the scheme.
        super().__init__(message, headers={"www-authenticate": "Bearer"})


class PermissionDenied(RequestError):
    """The key may not do that."""

    status: ClassVar[int] = 403
    type: ClassVar[str] = "permission_error"
    code: ClassVar[str] = "permission_denied"


class ModelNotAllowed(PermissionDenied):
    """The key may not use that model, be it there or not."""

    code: ClassVar[str] = "model_not_allowed"

    def __init__(self, model: str) -> None:
        super().__init__(f"Your key may not use the model '{model}'", param="model")


class NotFound(RequestError):
    """There is nothing at that address."""

    status: ClassVar[int] = 404
    code: ClassVar[str] = "not_found"


class ModelNotFound(NotFound):
    """No model of that name is served."""

    code: ClassVar[str] = "model_not_found"

    def __init__(self, model: str, served: list[str]) -> None:
        names = ", ".join(f"'{name}'" for name in served)
        super().__init__(f"The model '{model}' does not exist. Served here: {names}", param="model")


class StreamNotFound(NotFound):
    """No generation of that id can be read: unknown, expired, evicted, or of another key."""

    code: ClassVar[str] = "stream_not_found"

    def __init__(self, stream_id: str) -> None:
        super().__init__(
            f"There is no stream '{stream_id}': it never was, its time is over, or it belongs to "
            "another key"
        )


class ResponseNotFound(NotFound):
    """No response of that id is stored: unknown, expired, evicted, or of another key."""

    code = "response_not_found"

    def __init__(self, response_id: str) -> None:
        super().__init__(f"Response with id '{response_id}' not found", param="response_id")


class RequestNotFound(NotFound):
    """No request of that id runs on this socket."""

    code: ClassVar[str] = "request_not_found"


class MethodNotAllowed(RequestError):
    """The route is there, and does not take this method."""

    status: ClassVar[int] = 405
    code: ClassVar[str] = "method_not_allowed"


class Conflict(RequestError):
    """The request contradicts an earlier one: its idempotency key, or its request id, is in use."""

    status: ClassVar[int] = 409
    code: ClassVar[str] = "conflict"


class EventsDropped(RequestError):
    """The events that a reader wants next are no longer in the log of its generation."""

    status: ClassVar[int] = 410
    code: ClassVar[str] = "stream_truncated"


class TooManyRequests(RequestError):
    """More at once than is allowed."""

    status: ClassVar[int] = 429
    close_code: ClassVar[int] = 1013
    code: ClassVar[str] = "too_many_requests"

    def __init__(self, message: str, *, retry_after: float = 1) -> None:
        super().__init__(message, headers=retry_headers(retry_after))


class RateLimited(TooManyRequests):
    """A window of requests or tokens is used up, or too many requests run; it refills by itself.

    Source: https://platform.openai.com/docs/guides/rate-limits; `type` is what was too much.

    Args:
        message: what was used up, and when it refills.
        unit: `requests` or `tokens`.
        retry_after: seconds until it is worth trying again; None where waiting does not help,
            since the request alone is more than the limit.
    """

    code: ClassVar[str] = "rate_limit_exceeded"

    def __init__(self, message: str, *, unit: str, retry_after: float | None) -> None:
        super().__init__(message, retry_after=retry_after or 0)
        self.headers: dict[str, str] = _come_back(retry_after)
        self.__dict__["type"] = unit


class QuotaExceeded(TooManyRequests):
    """The tokens of a month, or of all time, are used up.

    Args:
        message: what was used up.
        retry_after: seconds until it refills; None is never.
    """

    type: ClassVar[str] = "insufficient_quota"
    code: ClassVar[str] = "insufficient_quota"

    def __init__(self, message: str, *, retry_after: float | None) -> None:
        super().__init__(message, retry_after=retry_after or 0)
        # OpenAI's clients try a 429 again unless they are told not to.
        self.headers: dict[str, str] = {**_come_back(retry_after), "x-should-retry": "false"}


class Cancelled(RequestError):
    """Somebody ended the generation before its end. The status is nginx's."""

    status: ClassVar[int] = 499
    code: ClassVar[str] = "cancelled"


class ServerError(ApiError):
    """The server failed; the same request may succeed later."""

    retryable: ClassVar[bool] = True


class EngineUnavailable(ServerError):
    """The engine is loading, restarting or has died."""

    status: ClassVar[int] = 503
    close_code: ClassVar[int] = 1012
    code: ClassVar[str] = "engine_unavailable"

    def __init__(self, message: str, *, retry_after: float = 5, code: str | None = None) -> None:
        super().__init__(message, headers=retry_headers(retry_after), code=code)


class Overloaded(ServerError):
    """The queue is full."""

    status: ClassVar[int] = 503
    close_code: ClassVar[int] = 1013
    code: ClassVar[str] = "overloaded"

    def __init__(self, message: str, *, retry_after: float = 1, code: str | None = None) -> None:
        super().__init__(message, headers=retry_headers(retry_after), code=code)


class LimitsUnavailable(ServerError):
    """What a caller has used cannot be looked up now, so that nothing may be spent."""

    status: ClassVar[int] = 503
    close_code: ClassVar[int] = 1013
    code: ClassVar[str] = "limits_unavailable"

    def __init__(self) -> None:
        message = "The server cannot look up your limits at the moment"
        super().__init__(message, headers=retry_headers(1))


class Draining(ServerError):
    """The server is shutting down and takes no new request."""

    status: ClassVar[int] = 503
    close_code: ClassVar[int] = 1012
    code: ClassVar[str] = "draining"

    def __init__(self) -> None:
        super().__init__("The server is shutting down", headers=retry_headers(1))


class DeadlineExceeded(ServerError):
    """The time that the request allowed is over."""

    status: ClassVar[int] = 504
    code: ClassVar[str] = "deadline_exceeded"

    def __init__(self) -> None:
        super().__init__("The answer was not done within the time that the request allowed")


def retry_headers(seconds: float) -> dict[str, str]:
    """When to come back, in both forms that clients read (whole seconds, and milliseconds)."""
    # Rounded up: who comes a moment too early is refused again.
    return {
        "retry-after": str(max(1, math.ceil(seconds))),
        "retry-after-ms": str(math.ceil(seconds * 1000)),
    }


def _come_back(seconds: float | None) -> dict[str, str]:
    return {"x-should-retry": "false"} if seconds is None else retry_headers(seconds)


def retry_after(headers: dict[str, str]) -> float | None:
    """Seconds that the server asks to wait; None where it does not say, or says it unreadably."""
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        try:
            seconds = float(headers[name]) * unit
        except (KeyError, ValueError):
            continue
        if 0 <= seconds < float("inf"):
            return seconds
    return _seconds_until(headers.get("retry-after", ""))


def _seconds_until(date: str) -> float | None:
    # RFC 9110, section 10.2.3: a date is allowed as well.
    from email.utils import parsedate_to_datetime

    try:
        return max(0.0, parsedate_to_datetime(date).timestamp() - time.time())
    except (TypeError, ValueError):
        return None
