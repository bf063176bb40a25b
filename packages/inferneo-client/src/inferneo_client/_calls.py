"""Receives a call and the outcomes of its steps; hands on the steps: what to send, and when.

The policy of retries is written once, as a generator: it yields a step, and is sent what came of
it. The sync and the async client both drive it, and it does no I/O.
"""

import random
import time
from collections.abc import Generator
from typing import Any, Final
from urllib.parse import urlsplit
from uuid import uuid4

from msgspec import Struct

from inferneo_client._errors import (
    ConnectionFailed,
    InvalidAnswer,
    TimedOut,
    error_of,
    event_error,
    invalid_answer,
)
from inferneo_client._options import Options, Timeout
from inferneo_client._transport import AsyncResponse, SyncResponse, WholeResponse, WireRequest
from inferneo_client.types.answer import AnswerDecoder, decoder
from inferneo_client.types.response import ResponseInfo
from inferneo_core.errors import ApiError

VERSION: Final = "0.1.0"
# A generation whose unary caller is gone helps nobody: it waits for a retry and no longer.
_UNARY_RESUME_SECONDS = 10.0
_PROBE_SECONDS = 5.0
# The answers that say that the request was not taken. Behind any other, a proxy's 502 as well as a
# server's own 500, a generation may have begun.
_REFUSED = frozenset({408, 425, 429, 503, 529})


class Call(Struct, kw_only=True):
    """One call of the SDK, with all its attempts.

    Attributes:
        path: below `base_url`, beginning with a slash; or a whole URL.
        deadline: on the monotonic clock; None where the call has none.
        safe: sending it twice does no harm.
        choices: how many answers a stream will have.
        attempts: how often it has been sent so far.
        sent: when it was sent last, on the monotonic clock.
    """

    method: str
    path: str
    options: Options
    content: bytes = b""
    headers: dict[str, str] = {}
    streamed: bool = False
    safe: bool = False
    choices: int = 1
    key: str = ""
    started: float = 0.0
    deadline: float | None = None
    attempts: int = 0
    sent: float = 0.0

    def __post_init__(self) -> None:
        self.started = self.sent = time.monotonic()
        total = self.options.timeout.total
        self.deadline = None if total is None else self.started + total
        if self.method == "POST":
            self.key = self.key or self.headers.get("idempotency-key") or uuid4().hex

    def remaining(self) -> float | None:
        """Seconds until the deadline."""
        return None if self.deadline is None else self.deadline - time.monotonic()

    def wire(self) -> WireRequest:
        """The request of the next attempt, which is sent now."""
        self.sent = time.monotonic()
        options, remaining = self.options, self.remaining()
        timeout = options.timeout
        headers = {"user-agent": f"inferneo-client/{VERSION}", **self._own_headers(remaining)}
        if options.api_key:
            headers["authorization"] = f"Bearer {options.api_key}"
        headers |= options.headers
        headers |= self.headers
        head = least(timeout.ttft, remaining)
        return WireRequest(
            method=self.method,
            url=self.path if "://" in self.path else options.base_url + self.path,
            headers=headers,
            content=self.content,
            connect=least(timeout.connect, remaining),
            pool=least(timeout.pool, remaining),
            head=head,
            silence=least(_longer(timeout), remaining) if self.streamed else head,
        )

    def _own_headers(self, remaining: float | None) -> dict[str, str]:
        headers = {"accept": "text/event-stream" if self.streamed else "application/json"}
        if self.content:
            headers["content-type"] = "application/json"
        if self.key:
            headers["idempotency-key"] = self.key
            if wanted := self.options.retry.resume_for:
                seconds = wanted if self.streamed else min(wanted, _UNARY_RESUME_SECONDS)
                headers["inferneo-resume-for"] = f"{seconds:g}"
        if remaining is not None:
            headers["inferneo-timeout"] = f"{max(remaining, 0.001):.3f}"
        return headers

    def info(self, response: WholeResponse | SyncResponse | AsyncResponse) -> ResponseInfo:
        """What a caller is told of the answer that has just come."""
        return ResponseInfo(
            status=response.status,
            headers=response.headers,
            attempts=self.attempts,
            head_seconds=time.monotonic() - self.started,
        )


def cancelling(call: Call) -> Call | None:
    """The call that ends what another one began and will not read; None where there is no need.

    The answer that has the generation's id has not come: its key stands for it.
    """
    remaining = call.remaining()
    if not call.key or call.safe or (remaining is not None and remaining <= 0):
        return None
    headers = {**call.headers, "idempotency-key": call.key}
    return Call(method="DELETE", path="/streams", options=call.options, headers=headers, safe=True)


def least(*seconds: float | None) -> float | None:
    """The shortest of some waits, of which None has no end; never negative."""
    bounds = [bound for bound in seconds if bound is not None]
    return max(min(bounds), 0.001) if bounds else None


def _longer(timeout: Timeout) -> float | None:
    if timeout.ttft is None or timeout.idle is None:
        return None
    return max(timeout.ttft, timeout.idle)


class Knowledge:
    """What a client has learned of its server.

    Attributes:
        joins: the server gives a request that comes twice under one key the same generation; None
            where it was not asked yet.
    """

    def __init__(self) -> None:
        self.joins: bool | None = None

    def learn(self, response: WholeResponse | SyncResponse | AsyncResponse) -> None:
        """Take what an answer tells."""
        headers = response.headers
        if "inferneo-stream" in headers or "inferneo-replayed" in headers:
            self.joins = True


class Send(Struct, frozen=True):
    """Send this, and send back the answer or throw what was raised.

    With `opened`, an answer that is a stream is given before its body is received.
    """

    request: WireRequest
    opened: bool


class Pause(Struct, frozen=True):
    """Wait so many seconds."""

    seconds: float


Step = Send | Pause
Received = WholeResponse | SyncResponse | AsyncResponse
Steps = Generator[Step, Any, Received]


def perform(call: Call, knowledge: Knowledge) -> Steps:
    """The steps of a call; it returns the answer.

    Raises:
        ApiError: the last attempt's error, once another is not safe, or is of no use.
    """
    while True:
        call.attempts += 1
        try:
            response: Received = yield Send(call.wire(), call.streamed)
        except ApiError as failure:
            error = failure
        else:
            knowledge.learn(response)
            if 200 <= response.status < 300:
                return response
            error = _error_of(response)
        error.attempts = call.attempts
        pause = next_pause(error, call.attempts, call)
        if pause is None:
            raise error
        if not (yield from _safe_again(call, error, knowledge)):
            raise error
        yield Pause(pause)


def _error_of(response: Received) -> ApiError:
    assert isinstance(response, WholeResponse), "only streams that begin well are given unread"
    if 300 <= response.status < 400:
        return invalid_answer(response.status, response.headers, response.body)
    return error_of(response.status, response.headers, response.body)


def next_pause(error: ApiError, attempts: int, call: Call) -> float | None:
    """Seconds to wait before another attempt; None where there shall be none."""
    retry = call.options.retry
    if not error.retryable or attempts >= retry.attempts:
        return None
    pause = error.retry_after
    if pause is None:
        bound = min(retry.delay * 2 ** (attempts - 1), retry.max_delay)
        pause = random.uniform(0, bound)
    elif pause > retry.max_delay:
        return None
    remaining = call.remaining()
    return None if remaining is not None and pause >= remaining else pause


def _safe_again(call: Call, error: ApiError, knowledge: Knowledge) -> Generator[Step, Any, bool]:
    """Whether sending the request once more cannot make a second generation."""
    refused = error.status in _REFUSED or (isinstance(error, ConnectionFailed) and not error.sent)
    if call.safe or refused:
        return True
    for attempt in range(call.options.retry.attempts):
        if knowledge.joins is not None:
            break
        if attempt:
            yield Pause(random.uniform(0, call.options.retry.delay))
        knowledge.joins = yield from _ask_whether_it_joins(call)
    return bool(knowledge.joins)


def _ask_whether_it_joins(call: Call) -> Generator[Step, Any, bool | None]:
    """Ask the server whether it is ours, which joins requests of one key; None for no answer."""
    address = urlsplit(call.options.base_url)
    path = address.path.removesuffix("/v1")
    bound = least(_PROBE_SECONDS, call.remaining())
    probe = WireRequest(
        method="GET",
        url=f"{address.scheme}://{address.netloc}{path}/",
        headers={"accept": "application/json", **call.options.headers},
        connect=bound,
        pool=bound,
        head=bound,
        silence=bound,
    )
    try:
        response = yield Send(probe, False)
    except ConnectionFailed:
        return None
    if response.status >= 500 or response.status in _REFUSED:
        return None
    return response.status == 200 and b'"Inferneo"' in response.body


Answer = Any


def decode_whole(response: WholeResponse, kind: Any) -> Any:
    """Decode a whole answer.

    Raises:
        ApiError: the body tells of an error, whatever the status.
        InvalidAnswer: it is no such answer.
    """
    answers: AnswerDecoder[Any] = decoder(kind)
    try:
        answer = answers.decode(response.body)
    except (ValueError, RecursionError):
        raise invalid_answer(response.status, response.headers, response.body) from None
    if answer.unknown and (error := event_error(answer.unknown, response.headers)):
        raise error
    return answer


def deadline_passed(call: Call) -> TimedOut:
    """The error of a call that ran out of its total time."""
    total = call.options.timeout.total
    error = TimedOut(
        f"The call took longer than its total of {total:g} s. Give it more: timeout=...",
        phase="total",
    )
    error.attempts = call.attempts
    return error


__all__ = [
    "Call",
    "InvalidAnswer",
    "Knowledge",
    "Pause",
    "Send",
    "cancelling",
    "decode_whole",
    "deadline_passed",
    "least",
    "next_pause",
    "perform",
]
