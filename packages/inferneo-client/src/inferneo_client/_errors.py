"""Receives answers that are errors, and broken connections; hands on what is raised.

What a server answered is raised as the class of `inferneo_core.errors` that the server raised.
Below that same root stand the errors that only a client sees:

ApiError
├── RequestError
│   └── TooManyRequests             429, with `retry_after`: core's RateLimited and QuotaExceeded
├── UnparsableAnswer                the model did not write the type that `parse` asked for
└── ConnectionFailed                no answer came, or not all of it; `status` is 0
    ├── TimedOut                    also a TimeoutError; `phase` says which wait
    ├── InvalidAnswer               something came that is no answer, as a proxy's HTML page
    └── StreamInterruptedError      a stream broke and cannot be picked up; `partial` has the rest
        └── StreamTruncatedError    it ended without its end
"""

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Literal

import msgspec

from inferneo_core.errors import ApiError, InvalidRequest, RequestError, ServerError, retry_after

Phase = Literal["connect", "pool", "ttft", "idle", "total"]

_EXCERPT = 200


class ConnectionFailed(ApiError):
    """No answer came, or not all of it.

    Attributes:
        sent: whether the server may have seen the request.
    """

    status: ClassVar[int] = 0
    type: ClassVar[str] = "connection_error"
    code: ClassVar[str] = "connection_failed"
    retryable: ClassVar[bool] = True

    def __init__(self, message: str, *, sent: bool = True, code: str | None = None) -> None:
        super().__init__(message, code=code)
        self.sent = sent


class TimedOut(ConnectionFailed, TimeoutError):
    """A wait was longer than allowed.

    Attributes:
        phase: which of the `Timeout`'s.
    """

    code: ClassVar[str] = "timeout"

    def __init__(self, message: str, *, phase: Phase, sent: bool = True) -> None:
        super().__init__(message, sent=sent)
        self.phase: Phase = phase


class InvalidAnswer(ConnectionFailed):
    """What came is no answer of an OpenAI-compatible server."""

    code: ClassVar[str] = "invalid_answer"
    retryable: ClassVar[bool] = False


class UnparsableAnswer(ApiError):
    """What the model wrote is not of the type that was asked for.

    Attributes:
        completion: the answer as it came.
    """

    status: ClassVar[int] = 200
    type: ClassVar[str] = "invalid_answer"
    code: ClassVar[str] = "unparsable_answer"
    retryable: ClassVar[bool] = True

    def __init__(self, message: str, completion: Any) -> None:
        super().__init__(message)
        self.completion = completion


class StreamInterruptedError(ConnectionFailed):
    """A stream broke off, and could not be picked up again.

    Attributes:
        partial: the answer as far as it came: a `ChatCompletion` or `Completion` whose unfinished
            choices have no finish reason; None where nothing came.
    """

    code: ClassVar[str] = "stream_interrupted"
    retryable: ClassVar[bool] = False

    def __init__(self, message: str, *, partial: Any = None) -> None:
        super().__init__(message)
        self.partial = partial


class StreamTruncatedError(StreamInterruptedError):
    """A stream ended without saying that it was whole."""

    code: ClassVar[str] = "stream_truncated"


def _tree(root: type[ApiError]) -> Iterator[type[ApiError]]:
    yield root
    for kind in root.__subclasses__():
        yield from _tree(kind)


def error_of(status: int, headers: Mapping[str, str], body: bytes) -> ApiError:
    """The error that an answer tells of, whatever its form."""
    detail = _detail(body)
    message = detail.get("message") or _excerpt(body) or "The server gave no reason"
    code = detail.get("code")
    error = error_from(
        status,
        message=str(message),
        code=code if isinstance(code, str) else None,
        param=detail.get("param"),
        headers=headers,
    )
    error.__dict__["type"] = detail.get("type") or type(error).type
    return error


def error_from(
    status: int,
    *,
    message: str,
    code: str | None = None,
    param: Any = None,
    headers: Mapping[str, str] | None = None,
) -> ApiError:
    """The error of that code, or else of that status."""
    kind = _kind(status, code)
    headers = dict(headers or {})
    wait = retry_after(headers)
    error = kind.__new__(kind)
    # Not the class's own: those take what a server knows, as the names of its models.
    ApiError.__init__(
        error,
        f"{message}{_advice(status, code, wait)}",
        param=param if isinstance(param, str) else None,
        code=code,
        status=status,
        headers=headers,
    )
    # OpenAI's own header, which says that waiting does not help.
    refused = headers.get("x-should-retry") == "false"
    error.__dict__["retryable"] = _retryable(status, code) and not refused
    error.request_id = error.headers.get("x-request-id")
    if isinstance(error, ConnectionFailed):
        error.sent = True
    return error


def event_error(document: dict[str, Any], headers: Mapping[str, str]) -> ApiError | None:
    """The error that an event, or a 200's body, tells of; None where it tells of none."""
    error = document.get("error")
    if document.get("type") == "error":
        # As `/v1/responses` and `/v1/messages` word it: the former with no object within.
        error = error or document
    if not error:
        return None
    status = document.get("status")
    detail = error if isinstance(error, dict) else {}
    if not isinstance(status, int):
        # vLLM and SGLang write the status where OpenAI has its code.
        number = detail.get("code", detail.get("status_code"))
        status = number if isinstance(number, int) and 400 <= number < 600 else None
    code = detail.get("code")
    code = code if isinstance(code, str) else None
    found = error_from(
        status or _status_of(code, detail.get("type")),
        message=str(detail.get("message") or error),
        code=code,
        param=detail.get("param"),
        headers=headers,
    )
    return found


def _status_of(code: str | None, kind: Any) -> int:
    """The status that goes with an error told in a stream, which has none of its own."""
    for error in _tree(ApiError):
        if code is not None and error.__dict__.get("code") == code and error.status:
            return error.status
    return 400 if kind == RequestError.type else 500


def _kind(status: int, code: str | None) -> type[ApiError]:
    kinds = [kind for kind in _tree(ApiError) if not issubclass(kind, StreamInterruptedError)]
    exact = [kind for kind in kinds if code and kind.__dict__.get("code") == code]
    if exact and exact[0] not in (ApiError, RequestError, ServerError):
        return exact[0]
    same = [kind for kind in kinds if kind.__dict__.get("status") == status]
    # The server's own errors have codes: a 504 without one is a proxy's, and no deadline.
    if same and status < 500:
        return same[0]
    if 400 <= status < 500:
        return InvalidRequest if status in (400, 413, 422) else RequestError
    return ServerError


def _retryable(status: int, code: str | None) -> bool:
    if code == "insufficient_quota":
        return False
    return status in (408, 429) or (status >= 500 and status not in (501, 505))


def _detail(body: bytes) -> dict[str, Any]:
    try:
        document = msgspec.json.decode(body)
    except (ValueError, RecursionError):
        return {}
    if not isinstance(document, dict):
        return {}
    error = document.get("error", document)
    if isinstance(error, str):
        return {"message": error}
    if not isinstance(error, dict):
        return {}
    # FastAPI's own errors say `detail`, a text or a list.
    return {"message": document.get("detail"), **error} if "message" not in error else error


def _excerpt(body: bytes) -> str:
    text = " ".join(body[: _EXCERPT * 4].decode("utf-8", "replace").split())
    return f"{text[:_EXCERPT]}..." if len(text) > _EXCERPT else text


def _advice(status: int, code: str | None, wait: float | None) -> str:
    advice = {
        401: "Give a valid key: api_key=..., or INFERNEO_API_KEY in the environment.",
        404: "Check base_url and the model's name; client.models.list() names what is served.",
        403: "The key lacks a scope or a model that this needs.",
        413: "Send less at once.",
    }.get(status)
    if wait is not None and status in (429, 503):
        advice = f"It may be asked again in {wait:g} s."
    if code == "insufficient_quota":
        advice = "The key's quota is used up: ask for more"
        advice += "." if wait is None else f", or wait for {wait:g} s."
    return f" ({advice})" if advice else ""


def invalid_answer(status: int, headers: Mapping[str, str], body: bytes) -> InvalidAnswer:
    """The error of an answer that is none, as a proxy's page with status 200."""
    kind = headers.get("content-type", "no content type")
    error = InvalidAnswer(
        f"The answer ({status}, {kind}) is none of an OpenAI-compatible server: "
        f"{_excerpt(body)!r}. Check base_url (it usually ends in /v1), and what stands between."
    )
    error.headers = dict(headers)
    error.request_id = headers.get("x-request-id")
    return error
