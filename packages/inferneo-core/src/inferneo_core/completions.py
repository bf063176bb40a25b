"""Receives nothing; hands on the structs of `/v1/completions`.

Source: https://platform.openai.com/docs/api-reference/completions
"""

from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from inferneo_core.chat import FinishReason
from inferneo_core.sampling import SamplingFields
from inferneo_core.usage import Usage

DEFAULT_MAX_TOKENS = 16

TokenId = Annotated[int, Meta(ge=0)]
TokenIds = Annotated[list[TokenId], Meta(min_length=1)]
Texts = Annotated[list[str], Meta(min_length=1)]


class CompletionRequest(SamplingFields, frozen=True, kw_only=True, omit_defaults=True):
    """Body of `POST /v1/completions`.

    `prompt` is a text, token ids, or a list of either; each gets `n` choices. `max_tokens` is 16
    where it is not given.
    """

    prompt: str | list[str | TokenId | list[TokenId]]


class CompletionChoice(Struct, frozen=True, kw_only=True):
    """One answer, or what a chunk adds to it; OpenAI requires `logprobs`, null or not."""

    index: int
    text: str
    logprobs: None = None
    finish_reason: FinishReason | None = None


class Completion(Struct, frozen=True, kw_only=True):
    """Answer of `POST /v1/completions`, and each event of a streamed one."""

    id: str
    object: Literal["text_completion"] = "text_completion"
    created: int
    model: str
    choices: list[CompletionChoice]
    usage: Usage | UnsetType = UNSET
