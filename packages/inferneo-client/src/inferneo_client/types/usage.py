"""Receives nothing; hands on the counts of tokens: of an answer, and of a key over days."""

from typing import Any

from inferneo_client.types.answer import Answer
from inferneo_client.types.response import ResponseInfo


class Usage(Answer, frozen=True, kw_only=True, gc=False):
    """Tokens read and written. The details are what the server tells, as it tells it."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0
    prompt_tokens_details: dict[str, Any] | None = None
    completion_tokens_details: dict[str, Any] | None = None


class UsageRow(Answer, frozen=True, kw_only=True, gc=False):
    """What was used, summed up over what the row does not name; a day is UTC's, `2026-11-21`."""

    owner: str | None = None
    day: str | None = None
    model: str | None = None
    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    aborted: int = 0


class UsageReport(Answer, frozen=True, kw_only=True, gc=False):
    """What was used in the days from `start` to `end`, both included."""

    object: str = "usage"
    start: str = ""
    end: str = ""
    data: list[UsageRow] = []
    total: UsageRow = UsageRow()
    response: ResponseInfo | None = None
