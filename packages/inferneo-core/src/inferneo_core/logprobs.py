"""Receives nothing; hands on the structs that tell how likely the tokens were.

Sources: https://platform.openai.com/docs/api-reference/chat (logprobs), the legacy completions of
the same reference, and vLLM's `prompt_logprobs`.
"""

from msgspec import Struct


class TopLogprob(Struct, frozen=True, kw_only=True):
    """One of the likeliest tokens at a place; `bytes` are those of its text in UTF-8."""

    token: str
    logprob: float
    bytes: list[int] | None


class TokenLogprob(Struct, frozen=True, kw_only=True):
    """A token that was written, and those that were likeliest in its place."""

    token: str
    logprob: float
    bytes: list[int] | None
    top_logprobs: list[TopLogprob]


class ChatLogprobs(Struct, frozen=True, kw_only=True):
    """Of a chat's choice; OpenAI requires both fields."""

    content: list[TokenLogprob] | None
    refusal: None = None


class TextLogprobs(Struct, frozen=True, kw_only=True):
    """Of a text's choice: four lists of the same length. The first token of an echoed prompt has
    no logprob."""

    text_offset: list[int]
    token_logprobs: list[float | None]
    tokens: list[str]
    top_logprobs: list[dict[str, float] | None]


class PromptLogprob(Struct, frozen=True, kw_only=True):
    """One candidate for a token of the prompt; `rank` counts from 1, the likeliest."""

    logprob: float
    rank: int | None
    decoded_token: str | None


PromptLogprobs = list[dict[int, PromptLogprob] | None]
