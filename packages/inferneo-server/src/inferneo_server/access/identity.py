"""Receives nothing; hands on who a request comes from, and what they may do and use."""

from typing import Literal

from msgspec import Struct

from inferneo_core.errors import ModelNotAllowed

Scope = Literal["inference", "admin", "priority"]


class Limits(Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """What an identity may use; None is no limit.

    Attributes:
        requests_per_minute: requests begun in a minute.
        requests_per_day: requests begun in a day (UTC).
        tokens_per_minute: tokens read and written in a minute.
        tokens_per_day: tokens in a day (UTC).
        tokens_per_month: tokens in a month (UTC).
        tokens_total: tokens ever.
        concurrent_requests: requests that run or wait at once.
        max_prompt_tokens: tokens of one prompt.
        max_completion_tokens: tokens of one answer.
    """

    requests_per_minute: int | None = None
    requests_per_day: int | None = None
    tokens_per_minute: int | None = None
    tokens_per_day: int | None = None
    tokens_per_month: int | None = None
    tokens_total: int | None = None
    concurrent_requests: int | None = None
    max_prompt_tokens: int | None = None
    max_completion_tokens: int | None = None


class Identity(Struct, frozen=True, kw_only=True):
    """Who a request comes from.

    Attributes:
        owner: a stable id: generations, responses, limits and usage belong to it; empty where
            everyone is let in.
        name: what people call it.
        scopes: what it may do.
        models: the names of the models it may use; None is all.
        limits: what it may use; None is what the settings say of those without limits.
        weight: its share of a busy engine, beside the other identities'.
        expires_at: when it ends, in seconds since the epoch; None is never.
        counted_as: what its limits count, where that is not the owner: an address.
    """

    owner: str = ""
    name: str = ""
    scopes: frozenset[Scope] = frozenset({"inference", "admin", "priority"})
    models: frozenset[str] | None = None
    limits: Limits | None = None
    weight: float = 1.0
    expires_at: float | None = None
    counted_as: str = ""

    def check_model(self, *names: str) -> None:
        """Refuse a model that the identity may not use; unknown ones too, of which it learns none.

        Args:
            names: what the request calls it, and what it is called.

        Raises:
            ModelNotAllowed: it may use none of these.
        """
        if self.models is not None and self.models.isdisjoint(names):
            raise ModelNotAllowed(names[0])


ANYONE = Identity()
"""Who comes where no key is asked for."""
