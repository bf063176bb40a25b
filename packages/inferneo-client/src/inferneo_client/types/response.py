"""Receives the head of an HTTP answer and times; hands on what a caller can ask of it."""

from collections.abc import Mapping

from msgspec import Struct


class RateLimits(Struct, frozen=True, kw_only=True):
    """What `x-ratelimit-*` tells; None where the server does not. Resets are as it writes them."""

    limit_requests: int | None = None
    remaining_requests: int | None = None
    reset_requests: str | None = None
    limit_tokens: int | None = None
    remaining_tokens: int | None = None
    reset_tokens: str | None = None


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
        """What is left of the key's rate limits."""
        texts = {
            name: self.headers.get(f"x-ratelimit-{name.replace('_', '-')}")
            for name in RateLimits.__struct_fields__
        }
        return RateLimits(
            limit_requests=_count(texts["limit_requests"]),
            remaining_requests=_count(texts["remaining_requests"]),
            reset_requests=texts["reset_requests"],
            limit_tokens=_count(texts["limit_tokens"]),
            remaining_tokens=_count(texts["remaining_tokens"]),
            reset_tokens=texts["reset_tokens"],
        )


def _count(text: str | None) -> int | None:
    return int(text) if text and text.isdecimal() else None
