"""Receives nothing; hands on what a caller may still use, as frames and headers tell it.

Source of the `x-ratelimit-*-requests` and `-tokens` headers and of their form of durations:
https://platform.openai.com/docs/guides/rate-limits
"""

from typing import Final

from msgspec import UNSET, Struct, UnsetType

LIMIT_HEADERS: Final = (
    *(f"x-ratelimit-{part}" for part in ("limit", "remaining", "reset")),
    *(
        f"x-ratelimit-{part}-{unit}"
        for part in ("limit", "remaining", "reset")
        for unit in ("requests", "tokens")
    ),
)
"""All headers that tell of limits."""


class Remaining(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The window of requests, or of tokens, of which the least is left.

    Attributes:
        limit: what it holds.
        remaining: what is left of it.
        reset: when it is full again, in seconds since the epoch; absent where it never is.
        reset_ms: milliseconds until then.
    """

    limit: int
    remaining: int
    reset: int | UnsetType = UNSET
    reset_ms: int | UnsetType = UNSET


class LimitsLeft(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a caller has left; what is not limited is absent."""

    requests: Remaining | UnsetType = UNSET
    tokens: Remaining | UnsetType = UNSET


def limit_headers(left: LimitsLeft) -> dict[str, str]:
    """The headers that tell it: `x-ratelimit-limit` and its kin of requests, with the reset in
    epoch seconds, and OpenAI's of requests and of tokens, with the reset as a duration."""
    headers: dict[str, str] = {}
    if left.requests is not UNSET:
        headers["x-ratelimit-limit"] = str(left.requests.limit)
        headers["x-ratelimit-remaining"] = str(left.requests.remaining)
        if left.requests.reset is not UNSET:
            headers["x-ratelimit-reset"] = str(left.requests.reset)
    for name, one in (("requests", left.requests), ("tokens", left.tokens)):
        if one is not UNSET:
            headers[f"x-ratelimit-limit-{name}"] = str(one.limit)
            headers[f"x-ratelimit-remaining-{name}"] = str(one.remaining)
            if one.reset_ms is not UNSET:
                headers[f"x-ratelimit-reset-{name}"] = duration(one.reset_ms)
    return headers


def duration(milliseconds: int) -> str:
    """A time as OpenAI writes it: `12ms`, `1s`, `1.5s`, `6m0s`, `23h59m1s`."""
    if milliseconds < 1000:
        return f"{max(0, milliseconds)}ms"
    minutes, rest = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    seconds = f"{rest / 1000:g}s"
    if hours:
        return f"{hours}h{minutes}m{seconds}"
    return f"{minutes}m{seconds}" if minutes else seconds
