"""What is left, as headers tell it."""

import pytest

from inferneo_core.errors import QuotaExceeded, RateLimited
from inferneo_core.limits import LIMIT_HEADERS, LimitsLeft, Remaining, duration, limit_headers


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [
        (0, "0ms"),
        (-5, "0ms"),
        (12, "12ms"),
        (1000, "1s"),
        (1500, "1.5s"),
        (59_999, "59.999s"),
        (60_000, "1m0s"),
        (360_000, "6m0s"),
        (86_341_000, "23h59m1s"),
        (3_600_000, "1h0m0s"),
    ],
)
def test_a_time_is_written_as_openai_writes_it(milliseconds: int, text: str) -> None:
    assert duration(milliseconds) == text


def test_the_headers_tell_both_families() -> None:
    left = LimitsLeft(
        requests=Remaining(limit=60, remaining=59, reset=1_795_268_260, reset_ms=60_000),
        tokens=Remaining(limit=150_000, remaining=149_984, reset=1_795_268_560, reset_ms=360_000),
    )

    assert limit_headers(left) == {
        "x-ratelimit-limit": "60",
        "x-ratelimit-remaining": "59",
        "x-ratelimit-reset": "1795268260",
        "x-ratelimit-limit-requests": "60",
        "x-ratelimit-remaining-requests": "59",
        "x-ratelimit-reset-requests": "1m0s",
        "x-ratelimit-limit-tokens": "150000",
        "x-ratelimit-remaining-tokens": "149984",
        "x-ratelimit-reset-tokens": "6m0s",
    }
    assert set(limit_headers(left)) == set(LIMIT_HEADERS)


def test_what_is_not_limited_or_never_refills_has_no_header() -> None:
    left = LimitsLeft(tokens=Remaining(limit=5, remaining=0))

    assert limit_headers(left) == {
        "x-ratelimit-limit-tokens": "5",
        "x-ratelimit-remaining-tokens": "0",
    }


def test_an_error_says_when_to_come_back_and_not_too_early() -> None:
    soon = RateLimited("full", unit="tokens", retry_after=1.2004)
    never = QuotaExceeded("used up", retry_after=None)

    assert soon.headers == {"retry-after": "2", "retry-after-ms": "1201"}
    assert (soon.retry_after, never.retry_after) == (1.201, None)
    assert never.headers == {"x-should-retry": "false"}
    assert (soon.status, soon.code, soon.type) == (429, "rate_limit_exceeded", "tokens")
