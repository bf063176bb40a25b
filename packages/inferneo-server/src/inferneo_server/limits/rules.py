"""Receives Limits; hands on the windows and slots they mean, and the words of a refusal."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Literal

from msgspec import UNSET, Struct

from inferneo_core.errors import ApiError, QuotaExceeded, RateLimited
from inferneo_core.limits import LimitsLeft, Remaining
from inferneo_server.access.identity import Limits
from inferneo_server.limits.base import NEVER_MS, Charge, Level, Period, Window

Unit = Literal["requests", "tokens"]

# When one of the slots that are taken will be free, nobody can tell.
SLOT_SECONDS = 1.0

_PERIODS: dict[str, tuple[Unit, Period]] = {
    "requests_per_minute": ("requests", "minute"),
    "requests_per_day": ("requests", "day"),
    "tokens_per_minute": ("tokens", "minute"),
    "tokens_per_day": ("tokens", "day"),
    "tokens_per_month": ("tokens", "month"),
    "tokens_total": ("tokens", "total"),
}


class Rule(Struct, frozen=True, kw_only=True):
    """One limit of a caller, in all or on one model.

    Attributes:
        name: what it is called in Limits.
        key: where a store keeps what is used.
        limit: what may be used.
        unit: of what.
        period: in which time.
    """

    name: str
    key: str
    limit: int
    unit: Unit
    period: Period

    def window(self, tokens: int) -> Window:
        """The window that a request of so many tokens is charged to."""
        cost = tokens if self.unit == "tokens" else 1
        return Window(key=self.key, limit=self.limit, cost=cost, period=self.period)

    @property
    def words(self) -> str:
        """What is limited, for people."""
        return self.name.replace("_", " ")


@lru_cache(maxsize=4096)
def rules_of(limits: Limits, subject: str, model: str) -> tuple[Rule, ...]:
    """The rules of what a caller may use, in all (no model) or of one model."""
    return tuple(
        Rule(name=name, key=f"{subject}|{model}|{name}", limit=limit, unit=unit, period=period)
        for name, (unit, period) in _PERIODS.items()
        if (limit := getattr(limits, name)) is not None
    )


def left_of(rules: Sequence[Rule], levels: Sequence[Level | None], now_ms: int) -> LimitsLeft:
    """What is left where the least is; of equals, where it takes the longest to refill."""
    found: dict[Unit, tuple[int, int, Rule]] = {}
    for rule, level in zip(rules, levels, strict=True):
        running = level is not None and level.ends_ms > now_ms
        used, ends = (level.used, level.ends_ms) if level and running else (0, now_ms)
        remaining = max(0, rule.limit - used)
        best = found.get(rule.unit)
        if best is None or (remaining, -ends) < (best[0], -best[1]):
            found[rule.unit] = (remaining, ends, rule)
    told = {unit: _remaining(*one, now_ms) for unit, one in found.items()}
    return LimitsLeft(requests=told.get("requests", UNSET), tokens=told.get("tokens", UNSET))


def _remaining(remaining: int, ends_ms: int, rule: Rule, now_ms: int) -> Remaining:
    if ends_ms >= NEVER_MS:
        return Remaining(limit=rule.limit, remaining=remaining)
    return Remaining(
        limit=rule.limit,
        remaining=remaining,
        # Up: at that second it is full.
        reset=-(-ends_ms // 1000),
        reset_ms=ends_ms - now_ms,
    )


def refusal(rules: Sequence[Rule], charge: Charge, tokens: int, slots: int | None) -> ApiError:
    """The error of a charge that was refused.

    Args:
        rules: those that were to be charged.
        charge: what came of it.
        tokens: how many were asked for.
        slots: the limit of requests at once that is reached, where one is.
    """
    if not charge.lacking:
        return RateLimited(
            f"Rate limit reached: {slots} requests may run at once",
            unit="requests",
            retry_after=SLOT_SECONDS,
        )
    # Of several, the one that keeps the caller waiting longest.
    rule, level = max(
        ((rules[number], charge.levels[number]) for number in charge.lacking),
        key=lambda one: one[1].ends_ms,
    )
    seconds = (level.ends_ms - charge.now_ms) / 1000
    asked = tokens if rule.unit == "tokens" else 1
    message = f"{rule.words}: limit {rule.limit}, used {level.used}, asked for {asked}"
    if rule.period in ("month", "total"):
        never = level.ends_ms >= NEVER_MS or asked > rule.limit
        return QuotaExceeded(
            f"Your quota is used up: {message}", retry_after=None if never else seconds
        )
    if asked > rule.limit:
        return RateLimited(
            f"The request alone is more than your limit allows: {message}",
            unit=rule.unit,
            retry_after=None,
        )
    return RateLimited(
        f"Rate limit reached: {message}. It refills in {seconds:.3g} s",
        unit=rule.unit,
        retry_after=seconds,
    )
