"""Receives nothing; hands on the structs of `/v1/completions`.

Source: https://platform.openai.com/docs/api-reference/completions
"""

from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from inferneo_core.chat import FinishReason
from inferneo_core.logprobs import PromptLogprobs, TextLogprobs
from inferneo_core.sampling import MAX_CHOICES, Logprobs, SamplingFields, TokenId
from inferneo_core.usage import Usage

DEFAULT_MAX_TOKENS = 16


class CompletionRequest(
    SamplingFields, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True
):
    """Body of `POST /v1/completions`.

    `prompt` is a text, token ids, or a list of either; each gets `n` choices, the best of
    `best_of` by their mean logprob. `max_tokens` is 16 where it is not given, and may be 0 with
    `echo`, which puts the prompt before the answer. With `suffix` the answer fills the gap between
    the prompt and it.
    """

    prompt: str | list[str | TokenId | list[TokenId]]
    max_tokens: Annotated[int, Meta(ge=0)] | None = None
    logprobs: Logprobs | None = None
    echo: bool | None = None
    best_of: Annotated[int, Meta(ge=1, le=MAX_CHOICES)] | None = None
    suffix: str | None = None


class CompletionChoice(Struct, frozen=True, kw_only=True):
    """One answer, or what a chunk adds to it; OpenAI requires `logprobs`, null or not."""

    index: int
    text: str
    logprobs: TextLogprobs | None = None
    finish_reason: FinishReason | None = None
    stop_reason: int | str | UnsetType = UNSET
    token_ids: list[int] | UnsetType = UNSET
    prompt_logprobs: PromptLogprobs | UnsetType = UNSET
    prompt_token_ids: list[int] | UnsetType = UNSET


class Completion(Struct, frozen=True, kw_only=True):
    """Answer of `POST /v1/completions`, and each event of a streamed one."""

    id: str
    object: Literal["text_completion"] = "text_completion"
    created: int
    model: str
    choices: list[CompletionChoice]
    usage: Usage | UnsetType = UNSET
