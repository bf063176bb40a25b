"""Receives the head of an HTTP answer and times; hands on what a caller can ask of it."""

import re
import time
from collections.abc import Mapping
from typing import Final

from msgspec import Struct

# `1d2h3m4.5s`, `12ms`: all parts may be missing.
_NUMBER: Final = r"(\d{1,12}(?:\.\d{1,12})?)"
_DURATION: Final = re.compile(
    "".join(rf"(?:{_NUMBER}{unit})?" for unit in ("d", "h", "m(?!s)", "s", "ms"))
)
_UNITS: Final = (86_400, 3_600, 60, 1, 0.001)
# No wait is as long: a number above it is a time.
_EPOCH: Final = 10**9


class Allowance(Struct, frozen=True, kw_only=True):
    """What a key may use of one thing; None where the server does not tell.

    Attributes:
        limit: of the window of which the least is left.
        remaining: what is left of it.
        reset_seconds: until it is full again, counted from the answer.
    """

    limit: int | None = None
    remaining: int | None = None
    reset_seconds: float | None = None


class RateLimits(Struct, frozen=True, kw_only=True):
    """What is left of a key's rate limits; None is what the server does not tell of."""

    requests: Allowance | None = None
    tokens: Allowance | None = None


class ResponseInfo(Struct, kw_only=True):
    """How an answer came.

    Attributes:
        status: HTTP status.
        headers: by lower-case name.
        attempts: how often the request was sent until it was answered.
        resumes: how often the stream was picked up again.
        head_seconds: from the call to the answer's head.
        first_event_seconds: from the call to a stream's first event; None before it.
        total_seconds: from the call to the end; None before it.
    """

    status: int
    headers: Mapping[str, str]
    attempts: int = 1
    resumes: int = 0
    head_seconds: float = 0.0
    first_event_seconds: float | None = None
    total_seconds: float | None = None

    @property
    def request_id(self) -> str | None:
        """What to tell the server's operator when something is wrong."""
        return self.headers.get("x-request-id")

    @property
    def limits(self) -> RateLimits:
        """What is left of the key's rate limits, by the headers `x-ratelimit-*`."""
        return rate_limits(self.headers)


def rate_limits(headers: Mapping[str, str]) -> RateLimits:
    """What headers by lower-case name tell of limits.

    Source: https://platform.openai.com/docs/guides/rate-limits; servers that have the three headers
    without a unit mean requests.
    """
    return RateLimits(
        requests=_allowance(headers, "-requests") or _allowance(headers, ""),
        tokens=_allowance(headers, "-tokens"),
    )


def _allowance(headers: Mapping[str, str], unit: str) -> Allowance | None:
    limit, remaining, reset = (
        headers.get(f"x-ratelimit-{part}{unit}", "") for part in ("limit", "remaining", "reset")
    )
    if not (limit or remaining):
        return None
    return Allowance(limit=_count(limit), remaining=_count(remaining), reset_seconds=_wait(reset))


def _count(text: str) -> int | None:
    # int() takes more digits than ASCII's, and fails on thousands of them.
    return int(text) if text.isascii() and text.isdigit() and len(text) < 18 else None


def _wait(text: str) -> float | None:
    """Seconds from now: of a duration as `6m0s`, of a number of seconds, or of an epoch time."""
    if (number := _count(text)) is not None:
        return max(0.0, number - time.time()) if number > _EPOCH else float(number)
    parts = _DURATION.fullmatch(text)
    if not (text and parts):
        return None
    return sum(float(part or 0) * unit for part, unit in zip(parts.groups(), _UNITS, strict=True))
