"""Receives nothing; hands on the counts of tokens that answers carry."""

from typing import Any

from inferneo_client.types.answer import Answer


class Usage(Answer, frozen=True, kw_only=True, gc=False):
    """Tokens read and written. The details are what the server tells, as it tells it."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0
    prompt_tokens_details: dict[str, Any] | None = None
    completion_tokens_details: dict[str, Any] | None = None
