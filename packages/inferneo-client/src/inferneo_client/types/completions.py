"""Receives nothing; hands on the answers of `/v1/completions`: a chunk has the form of a whole one.

Source: https://platform.openai.com/docs/api-reference/completions
"""

from typing import Any

from inferneo_client.types.answer import Answer
from inferneo_client.types.response import ResponseInfo
from inferneo_client.types.usage import Usage


class CompletionChoice(Answer, frozen=True, kw_only=True, gc=False):
    """One answer, or what a chunk adds to it."""

    index: int = 0
    text: str = ""
    logprobs: dict[str, Any] | None = None
    finish_reason: str | None = None
    stop_reason: int | str | None = None
    token_ids: list[int] | None = None
    prompt_logprobs: Any = None
    prompt_token_ids: list[int] | None = None


class Completion(Answer, frozen=True, kw_only=True, gc=False):
    """An answer, whole or a chunk of it; `created` is in seconds since 1970."""

    id: str = ""
    object: str = "text_completion"
    created: int = 0
    model: str = ""
    choices: list[CompletionChoice] = []
    usage: Usage | None = None
    system_fingerprint: str | None = None
    service_tier: str | None = None
    kv_transfer_params: Any = None
    response: ResponseInfo | None = None
