"""Receives nothing; hands on the structs of `/tokenize` and `/detokenize`.

Source: vLLM's tokenizer API.
"""

from typing import Annotated, Any

from msgspec import UNSET, Meta, Struct, UnsetType

from inferneo_core.chat import Message, Tool
from inferneo_core.sampling import TokenId


class TokenizeRequest(
    Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True
):
    """Body of `POST /tokenize`: a `prompt`, or the `messages` of a chat.

    `add_special_tokens` is true for a prompt where it is not given, and false for a chat, whose
    template writes them. `return_token_strs` asks for the tokens as the vocabulary spells them. The
    others are for a chat, and those of `ChatCompletionRequest`.
    """

    model: str | None = None
    prompt: str | None = None
    messages: Annotated[list[Message], Meta(min_length=1)] | None = None
    add_special_tokens: bool | None = None
    return_token_strs: bool | None = None
    tools: list[Tool] | None = None
    add_generation_prompt: bool | None = None
    continue_final_message: bool | None = None
    chat_template_kwargs: dict[str, Any] | None = None


class Tokenized(Struct, frozen=True, kw_only=True):
    """Answer of `POST /tokenize`; `max_model_len` is the model's context in tokens."""

    count: int
    max_model_len: int
    tokens: list[int]
    token_strs: list[str] | UnsetType = UNSET


class DetokenizeRequest(
    Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True
):
    """Body of `POST /detokenize`."""

    model: str | None = None
    tokens: list[TokenId]


class Detokenized(Struct, frozen=True, kw_only=True):
    """Answer of `POST /detokenize`."""

    prompt: str
