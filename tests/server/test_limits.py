"""What Limits mean: how they are written, what they refuse, and what is left of them."""

from typing import Any

import pytest

from inferneo_core.errors import ApiError, QuotaExceeded, RateLimited
from inferneo_server.access.identity import Limits
from inferneo_server.environment import SettingsError
from inferneo_server.limits.base import NEVER_MS, Charge, Level
from inferneo_server.limits.presets import PRESETS, parse_limits
from inferneo_server.limits.rules import left_of, refusal, rules_of
from inferneo_server.settings import load_settings

NOW = 1_795_268_260_000


def test_a_preset_is_what_the_published_page_says() -> None:
    assert parse_limits("inferneo") == Limits(
        requests_per_minute=60, tokens_per_minute=150_000, requests_per_day=3_500
    )
    assert parse_limits("vllm-api-server") == Limits(
        requests_per_minute=1_000,
        concurrent_requests=100,
        max_prompt_tokens=32_768,
        max_completion_tokens=4_096,
    )


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ({"requests_per_minute": 5}, Limits(requests_per_minute=5)),
        ("{requests_per_minute: 5}", Limits(requests_per_minute=5)),
        ('{"tokens_total": 0}', Limits(tokens_total=0)),
        ({}, Limits()),
        (
            {"preset": "inferneo", "requests_per_day": None, "tokens_per_day": 7},
            Limits(requests_per_minute=60, tokens_per_minute=150_000, tokens_per_day=7),
        ),
        (PRESETS["inferneo"], PRESETS["inferneo"]),
    ],
)
def test_limits_are_written_by_name(written: Any, meant: Limits) -> None:
    assert parse_limits(written) == meant


@pytest.mark.parametrize(
    ("written", "complaint"),
    [
        ("gold", "no preset 'gold'; there are: inferneo, vllm-api-server"),
        ({"preset": "gold"}, "no preset 'gold'"),
        ({"requests_per_minutes": 5}, "did you mean requests_per_minute?"),
        ({"tokens_total": -1}, "tokens_total must be a whole number from 0 up, not -1"),
        ({"tokens_total": True}, "tokens_total must be"),
        ({"tokens_total": "many"}, "tokens_total must be"),
        ({5: 5}, "no limit 5"),
        (5, "give a preset's name"),
        ("[1, 2", "no preset"),
    ],
)
def test_limits_that_mean_nothing_are_refused_by_name(written: Any, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint.replace("?", r"\?")):
        parse_limits(written)


def test_settings_take_a_preset_or_numbers() -> None:
    settings = load_settings(
        default_limits="inferneo",
        anonymous_limits="{requests_per_minute: 3}",
        model_limits={"my-model": {"preset": "inferneo"}},
    )

    assert settings.default_limits == PRESETS["inferneo"]
    assert settings.anonymous_limits == Limits(requests_per_minute=3)
    assert settings.model_limits == {"my-model": PRESETS["inferneo"]}


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({"default_limits": "gold"}, "default_limits: .*no preset 'gold'"),
        ({"model_limits": {"m": {"x": 1}}}, "model_limits.m: .*no limit 'x'"),
        ({"limits_store": "postgres://x"}, "limits_store"),
        ({"usage_store": "redis"}, "usage_store: redis needs a limits_store"),
    ],
)
def test_settings_that_fit_nothing_are_refused_by_name(given: Any, complaint: str) -> None:
    with pytest.raises(SettingsError, match=complaint):
        load_settings(**given)


def charge_of(limits: Limits, *levels: tuple[int, int], lacking: list[int]) -> ApiError:
    rules = rules_of(limits, "me", "")
    told = [Level(used=used, ends_ms=NOW + left) for used, left in levels]
    return refusal(rules, Charge(now_ms=NOW, levels=told, lacking=lacking), 40, None)


def test_a_refusal_names_the_window_that_keeps_the_caller_waiting_longest() -> None:
    limits = Limits(requests_per_minute=5, tokens_per_minute=100, tokens_per_day=200)
    error = charge_of(limits, (5, 20_000), (90, 30_000), (190, 90_000), lacking=[0, 1, 2])

    assert isinstance(error, RateLimited)
    assert error.message == (
        "Rate limit reached: tokens per day: limit 200, used 190, asked for 40. It refills in 90 s"
    )
    assert error.retry_after == 90.0


def test_a_month_refills_and_a_total_does_not() -> None:
    month = charge_of(Limits(tokens_per_month=50), (50, 5_000), lacking=[0])
    total = charge_of(Limits(tokens_total=50), (50, NEVER_MS), lacking=[0])

    assert isinstance(month, QuotaExceeded) and isinstance(total, QuotaExceeded)
    assert (month.retry_after, total.retry_after) == (5.0, None)


def test_who_asks_for_more_than_there_can_ever_be_is_not_told_to_wait() -> None:
    error = charge_of(Limits(tokens_per_minute=30), (0, 60_000), lacking=[0])

    assert isinstance(error, RateLimited)
    assert error.message.startswith("The request alone is more than your limit allows")
    assert error.headers == {"x-should-retry": "false"}


def test_what_is_told_is_the_window_of_which_the_least_is_left() -> None:
    limits = Limits(requests_per_minute=5, requests_per_day=100)
    rules = rules_of(limits, "me", "")
    minute = left_of(
        rules, [Level(used=1, ends_ms=NOW + 1), Level(used=9, ends_ms=NOW + 9)], NOW
    ).requests
    day = left_of(
        rules, [Level(used=1, ends_ms=NOW + 1), Level(used=98, ends_ms=NOW + 9)], NOW
    ).requests
    over = left_of(rules, [Level(used=5, ends_ms=NOW), None], NOW).requests

    assert minute and (minute.limit, minute.remaining, minute.reset_ms) == (5, 4, 1)
    assert day and (day.limit, day.remaining, day.reset_ms) == (100, 2, 9)
    assert over and (over.limit, over.remaining, over.reset_ms) == (5, 5, 0)
