"""Receives nothing; hands on the structs of `/v1/embeddings`.

Source: https://platform.openai.com/docs/api-reference/embeddings, and vLLM's further parameters.
"""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from inferneo_core.sampling import Side, TokenId

MAX_INPUTS = 2048

Kept = Annotated[int, Meta(ge=-1)]
Priority = Annotated[int, Meta(ge=-(2**31), le=2**31 - 1)]


class EmbeddingRequest(
    Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True
):
    """Body of `POST /v1/embeddings`.

    `input` is a text, token ids, or a list of up to 2,048 of either. `encoding_format` is float
    where it is not given; base64 holds little-endian float32. `dimensions` takes so many of the
    first ones, where the model was trained for that. `truncate_prompt_tokens` cuts each input to so
    many tokens, -1 to as many as fit, and keeps the beginning unless `truncation_side` is left.
    `add_special_tokens` (true) and `use_activation` (the model's own) are vLLM's. Of the inputs
    that wait, those with a lower `priority` come first.
    """

    input: str | list[str | TokenId | list[TokenId]]
    model: str | None = None
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Annotated[int, Meta(ge=1)] | None = None
    truncate_prompt_tokens: Kept | None = None
    truncation_side: Side | None = None
    add_special_tokens: bool | None = None
    use_activation: bool | None = None
    priority: Priority | None = None
    user: str | None = None


class Embedding(Struct, frozen=True, kw_only=True):
    """The vector of the input at `index`: numbers, or their base64."""

    object: Literal["embedding"] = "embedding"
    index: int
    embedding: list[float] | str


class PromptUsage(Struct, frozen=True, kw_only=True):
    """Tokens read for a request that writes none, all inputs taken together."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingList(Struct, frozen=True, kw_only=True):
    """Answer of `POST /v1/embeddings`, in the order of the inputs."""

    object: Literal["list"] = "list"
    data: list[Embedding]
    model: str
    usage: PromptUsage
