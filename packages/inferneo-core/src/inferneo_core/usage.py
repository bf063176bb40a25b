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
