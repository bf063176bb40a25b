"""Proves what each error tells: its status, codes, headers and body."""

import json
import re
from collections.abc import Iterator

import pytest

from inferneo_core import errors
from inferneo_core.codec import encode
from inferneo_core.errors import (
    ApiError,
    AuthenticationFailed,
    Cancelled,
    Conflict,
    ContextLengthExceeded,
    DeadlineExceeded,
    Draining,
    EngineUnavailable,
    EventsDropped,
    InvalidRequest,
    LimitsUnavailable,
    MethodNotAllowed,
    ModelLoadFailed,
    ModelNotAllowed,
    ModelNotFound,
    NotFound,
    Overloaded,
    PermissionDenied,
    QuotaExceeded,
    RateLimited,
    RequestError,
    RequestNotFound,
    ResponseNotFound,
    ServerError,
    StreamNotFound,
    TooManyRequests,
    retry_headers,
)

INVALID = "invalid_request_error"

# The error, its parent, its HTTP status, its close code, its type and its code.
TREE: list[tuple[ApiError, type[Exception], int, int, str, str]] = [
    (ApiError("a"), Exception, 500, 1011, "server_error", "server_error"),
    (RequestError("a"), ApiError, 400, 1008, INVALID, INVALID),
    (InvalidRequest("a"), RequestError, 400, 1008, INVALID, INVALID),
    (ContextLengthExceeded("a"), RequestError, 400, 1008, INVALID, "context_length_exceeded"),
    (ModelLoadFailed("a"), RequestError, 400, 1008, INVALID, "model_load_failed"),
    (
        AuthenticationFailed("a"),
        RequestError,
        401,
        1008,
        "authentication_error",
        "invalid_api_key",
    ),
    (PermissionDenied("a"), RequestError, 403, 1008, "permission_error", "permission_denied"),
    (ModelNotAllowed("a"), PermissionDenied, 403, 1008, "permission_error", "model_not_allowed"),
    (NotFound("a"), RequestError, 404, 1008, INVALID, "not_found"),
    (ModelNotFound("a", ["b"]), NotFound, 404, 1008, INVALID, "model_not_found"),
    (StreamNotFound("a"), NotFound, 404, 1008, INVALID, "stream_not_found"),
    (ResponseNotFound("a"), NotFound, 404, 1008, INVALID, "response_not_found"),
    (RequestNotFound("a"), NotFound, 404, 1008, INVALID, "request_not_found"),
    (MethodNotAllowed("a"), RequestError, 405, 1008, INVALID, "method_not_allowed"),
    (Conflict("a"), RequestError, 409, 1008, INVALID, "conflict"),
    (EventsDropped("a"), RequestError, 410, 1008, INVALID, "stream_truncated"),
    (TooManyRequests("a"), RequestError, 429, 1013, INVALID, "too_many_requests"),
    (
        RateLimited("a", unit="tokens", retry_after=1),
        TooManyRequests,
        429,
        1013,
        "tokens",
        "rate_limit_exceeded",
    ),
    (
        QuotaExceeded("a", retry_after=None),
        TooManyRequests,
        429,
        1013,
        "insufficient_quota",
        "insufficient_quota",
    ),
    (Cancelled("a"), RequestError, 499, 1008, INVALID, "cancelled"),
    (ServerError("a"), ApiError, 500, 1011, "server_error", "server_error"),
    (EngineUnavailable("a"), ServerError, 503, 1012, "server_error", "engine_unavailable"),
    (Overloaded("a"), ServerError, 503, 1013, "server_error", "overloaded"),
    (LimitsUnavailable(), ServerError, 503, 1013, "server_error", "limits_unavailable"),
    (Draining(), ServerError, 503, 1012, "server_error", "draining"),
    (DeadlineExceeded(), ServerError, 504, 1011, "server_error", "deadline_exceeded"),
]


def family(root: type[ApiError]) -> Iterator[type[ApiError]]:
    yield root
    for child in root.__subclasses__():
        yield from family(child)


@pytest.mark.parametrize(
    ("error", "parent", "status", "close_code", "kind", "code"),
    TREE,
    ids=[type(row[0]).__name__ for row in TREE],
)
def test_each_error_has_its_place_and_its_codes(
    error: ApiError, parent: type[Exception], status: int, close_code: int, kind: str, code: str
) -> None:
    assert type(error).__bases__ == (parent,)
    assert (error.status, error.close_code) == (status, close_code)
    assert (error.type, error.code) == (kind, code)
    assert str(error) == error.message


def test_the_table_above_misses_no_error() -> None:
    ours = {error for error in family(ApiError) if error.__module__ == errors.__name__}

    assert ours == {type(row[0]) for row in TREE}


def test_the_tree_that_the_module_draws_names_each_error_with_its_status() -> None:
    drawn = dict(re.findall(r"── (\w+) +(\d[\d, ]*)$", errors.__doc__ or "", re.MULTILINE))
    leaves = {type(row[0]) for row in TREE} - {ApiError, RequestError, ServerError}

    assert drawn.keys() == {error.__name__ for error in leaves}
    assert all(str(error.status) in drawn[error.__name__].split(", ") for error in leaves)


def test_a_body_has_openais_shape_and_repeats_the_message_as_detail() -> None:
    error = InvalidRequest("Invalid 'n': too many", param="n")

    assert json.loads(encode(error.body())) == {
        "error": {
            "message": "Invalid 'n': too many",
            "type": "invalid_request_error",
            "param": "n",
            "code": "invalid_request_error",
        },
        "detail": "Invalid 'n': too many",
    }


def test_a_body_without_a_field_at_fault_says_null() -> None:
    assert json.loads(encode(Draining().body()))["error"]["param"] is None


def test_one_error_may_have_its_own_code_and_status_and_its_class_keeps_the_usual() -> None:
    error = InvalidRequest("Too large", code="body_too_large", status=413)

    assert (error.status, error.code) == (413, "body_too_large")
    assert error.body().error.code == "body_too_large"
    assert (InvalidRequest.status, InvalidRequest.code) == (400, INVALID)
    assert (InvalidRequest("a").status, InvalidRequest("a").code) == (400, INVALID)


def test_headers_are_those_given_and_are_not_shared() -> None:
    first, second = ServerError("a"), ServerError("b")
    first.headers["x"] = "1"

    assert second.headers == {}
    assert MethodNotAllowed("a", headers={"allow": "GET"}).headers == {"allow": "GET"}


def test_a_model_that_is_not_there_is_named_with_those_that_are() -> None:
    error = ModelNotFound("gpt", ["a/b", "c"])

    assert error.message == "The model 'gpt' does not exist. Served here: 'a/b', 'c'"
    assert error.param == "model"


def test_a_refused_key_names_the_scheme() -> None:
    assert AuthenticationFailed("a").headers == {"www-authenticate": "Bearer"}


@pytest.mark.parametrize(
    ("error", "seconds", "milliseconds"),
    [
        (EngineUnavailable("a"), "5", "5000"),
        (EngineUnavailable("a", retry_after=0.25), "1", "250"),
        (Overloaded("a"), "1", "1000"),
        (Overloaded("a", retry_after=2.4), "3", "2400"),
        (Draining(), "1", "1000"),
        (TooManyRequests("a"), "1", "1000"),
        (TooManyRequests("a", retry_after=0.1), "1", "100"),
    ],
)
def test_what_may_succeed_later_says_when(error: ApiError, seconds: str, milliseconds: str) -> None:
    assert error.headers == {"retry-after": seconds, "retry-after-ms": milliseconds}


@pytest.mark.parametrize(
    ("given", "seconds", "milliseconds"),
    [(0, "1", "0"), (0.0004, "1", "1"), (0.4, "1", "400"), (1.2, "2", "1200"), (90, "90", "90000")],
)
def test_whole_seconds_are_never_too_few_since_who_comes_early_is_refused_again(
    given: float, seconds: str, milliseconds: str
) -> None:
    assert retry_headers(given) == {"retry-after": seconds, "retry-after-ms": milliseconds}
