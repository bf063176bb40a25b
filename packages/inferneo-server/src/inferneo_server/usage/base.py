"""Receives nothing; hands on the contract of a store of what each owner used, by model and day."""

from collections.abc import Awaitable
from datetime import date
from typing import Protocol

from msgspec import Struct


class Use(Struct, frozen=True, kw_only=True):
    """What an owner used of a model on a day (UTC).

    Attributes:
        owner: the id of who used it; empty where everyone is let in.
        model: the model's name.
        day: the day on which the requests ended.
        requests: how many ended.
        prompt_tokens: tokens read.
        completion_tokens: tokens written.
        cached_tokens: tokens read that were in the engine's prefix cache.
        aborted: requests that were cancelled or failed.
    """

    owner: str
    model: str
    day: date
    requests: int = 1
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    aborted: int = 0

    @property
    def key(self) -> tuple[str, str, date]:
        """What is summed up."""
        return self.owner, self.model, self.day

    def __add__(self, other: "Use") -> "Use":
        return Use(
            owner=self.owner,
            model=self.model,
            day=self.day,
            requests=self.requests + other.requests,
            prompt_tokens=self.prompt_tokens + other.prompt_tokens,
            completion_tokens=self.completion_tokens + other.completion_tokens,
            cached_tokens=self.cached_tokens + other.cached_tokens,
            aborted=self.aborted + other.aborted,
        )


class UsageFailed(Exception):
    """The store cannot be reached, read, or written to."""


class UsageStore(Protocol):
    """Sums of what was used."""

    def add(self, use: Use) -> Awaitable[None] | None:
        """Add to the sums. Done at once where None is returned; what is returned raises
        UsageFailed, as this does.
        """
        ...

    async def uses(self, start: date, end: date, owner: str | None) -> list[Use]:
        """The sums of the days from `start` to `end`, of one owner or of all, in any order.

        Raises:
            UsageFailed: they cannot be read.
        """
        ...

    async def tidy(self) -> None:
        """See to the store; now and then."""
        ...

    async def aclose(self) -> None:
        """Close it. Idempotent."""
        ...
