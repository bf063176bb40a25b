"""Receives nothing; hands on the fields that chat and text completion requests share."""

from typing import Annotated

from msgspec import Meta, Struct

MAX_CHOICES = 128

Penalty = Annotated[float, Meta(ge=-2, le=2)]
StopText = Annotated[str, Meta(min_length=1)]


class StreamOptions(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`include_usage` asks for a last chunk with the usage and no choices."""

    include_usage: bool | None = None


class SamplingFields(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How to sample, when to stop, and in what form to answer. None means the model's default.

    `model` may be left out where one model is served. `top_k` of 0 or -1 takes all tokens, and
    `ignore_eos` writes on past the model's own end until `max_tokens`.
    """

    model: str | None = None
    max_tokens: Annotated[int, Meta(ge=1)] | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(gt=0, le=1)] | None = None
    top_k: Annotated[int, Meta(ge=-1, le=2**31 - 1)] | None = None
    min_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    seed: Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)] | None = None
    stop: StopText | Annotated[list[StopText], Meta(max_length=16)] | None = None
    n: Annotated[int, Meta(ge=1, le=MAX_CHOICES)] | None = None
    frequency_penalty: Penalty | None = None
    presence_penalty: Penalty | None = None
    repetition_penalty: Annotated[float, Meta(gt=0, le=2)] | None = None
    ignore_eos: bool | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    user: str | None = None
