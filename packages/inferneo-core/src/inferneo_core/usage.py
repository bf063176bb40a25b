"""Receives nothing; hands on the count of tokens that every kind of answer carries."""

from msgspec import UNSET, Struct, UnsetType


class PromptTokensDetails(Struct, frozen=True, kw_only=True):
    """How many tokens of the prompt were found in the engine's prefix cache."""

    cached_tokens: int


class CompletionTokensDetails(Struct, frozen=True, kw_only=True):
    """How many of the tokens written were reasoning."""

    reasoning_tokens: int


class Usage(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Tokens read and written for a request, all prompts and choices taken together."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokensDetails | UnsetType = UNSET
    completion_tokens_details: CompletionTokensDetails | UnsetType = UNSET


class UsageRow(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What was used, summed up over what the row does not name.

    Attributes:
        owner: whose key or name it was; told in the list of all owners.
        day: the day (UTC), `2026-11-21`.
        model: the model's name.
        requests: requests that were begun and have ended, well or not.
        prompt_tokens: tokens read.
        completion_tokens: tokens written.
        cached_tokens: how many of those read were in the engine's prefix cache.
        aborted: how many of the requests were cancelled or failed.
    """

    owner: str | UnsetType = UNSET
    day: str | UnsetType = UNSET
    model: str | UnsetType = UNSET
    # Always told, zero or not: a default would be left out.
    requests: int
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int
    aborted: int


class UsageReport(Struct, frozen=True, kw_only=True):
    """Answer of `GET /v1/usage`: the days from `start` to `end`, both included."""

    start: str
    end: str
    data: list[UsageRow]
    total: UsageRow
    object: str = "usage"
