"""Receives nothing; hands on the fields that chat and text completion requests share."""

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

MAX_CHOICES = 128
MAX_LOGPROBS = 20

Penalty = Annotated[float, Meta(ge=-2, le=2)]
StopText = Annotated[str, Meta(min_length=1)]


TokenId = Annotated[int, Meta(ge=0)]
Side = Literal["left", "right"]
Logprobs = Annotated[int, Meta(ge=0, le=MAX_LOGPROBS)]


class StreamOptions(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`include_usage` asks for a last chunk with the usage and no choices,
    `continuous_usage_stats` for the usage so far in each chunk."""

    include_usage: bool | None = None
    continuous_usage_stats: bool | None = None


class JsonSchemaFormat(
    Struct, frozen=True, kw_only=True, omit_defaults=True, rename={"schema_": "schema"}
):
    """A JSON Schema (`schema`), under a name."""

    name: str | None = None
    description: str | None = None
    schema_: dict[str, Any] | bool | None = None
    strict: bool | None = None


class ResponseFormat(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the answer's text is: anything, a JSON object, or JSON that fits a schema."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchemaFormat | None = None


class StructuredOutputs(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the answer's text must fit: exactly one of these. Source: vLLM's structured outputs."""

    json: dict[str, Any] | str | None = None
    regex: Annotated[str, Meta(min_length=1)] | None = None
    choice: Annotated[list[Annotated[str, Meta(min_length=1)]], Meta(min_length=1)] | None = None
    grammar: Annotated[str, Meta(min_length=1)] | None = None
    json_object: bool | None = None
    disable_any_whitespace: bool | None = None
    whitespace_pattern: str | None = None


class SamplingFields(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How to sample, when to stop, and in what form to answer. None means the model's default.

    `model` may be left out where one model is served. `top_k` of 0 or -1 takes all tokens, and
    `ignore_eos` writes on past the model's own end until `max_tokens`. `min_tokens` are written
    before any end. `logit_bias` maps token ids to what is added to their logits.
    `truncate_prompt_tokens` keeps the last so many tokens of the prompt; -1 as many as fit.
    With a `truncation_side` of right it keeps the first.
    Of the requests that wait, one with a lower `priority` comes first.
    """

    model: str | None = None
    max_tokens: Annotated[int, Meta(ge=1)] | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(gt=0, le=1)] | None = None
    top_k: Annotated[int, Meta(ge=-1, le=2**31 - 1)] | None = None
    min_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    seed: Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)] | None = None
    stop: StopText | Annotated[list[StopText], Meta(max_length=16)] | None = None
    stop_token_ids: Annotated[list[TokenId], Meta(max_length=64)] | None = None
    include_stop_str_in_output: bool | None = None
    bad_words: Annotated[list[StopText], Meta(max_length=1024)] | None = None
    allowed_token_ids: Annotated[list[TokenId], Meta(min_length=1)] | None = None
    logit_bias: dict[str, Annotated[float, Meta(ge=-100, le=100)]] | None = None
    min_tokens: Annotated[int, Meta(ge=0)] | None = None
    prompt_logprobs: Logprobs | None = None
    skip_special_tokens: bool | None = None
    return_token_ids: bool | None = None
    truncate_prompt_tokens: Annotated[int, Meta(ge=-1)] | None = None
    truncation_side: Side | None = None
    priority: Annotated[int, Meta(ge=-(2**31), le=2**31 - 1)] | None = None
    response_format: ResponseFormat | None = None
    structured_outputs: StructuredOutputs | None = None
    n: Annotated[int, Meta(ge=1, le=MAX_CHOICES)] | None = None
    frequency_penalty: Penalty | None = None
    presence_penalty: Penalty | None = None
    repetition_penalty: Annotated[float, Meta(gt=0, le=2)] | None = None
    ignore_eos: bool | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    user: str | None = None
