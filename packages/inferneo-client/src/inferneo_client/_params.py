"""Receives the arguments of a call, which are declared here once; hands on its body."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypedDict

import msgspec
from msgspec import Struct

Message = Struct | Mapping[str, Any]


class CallParams(TypedDict, total=False):
    """What every call takes beside its body.

    Attributes:
        extra_body: fields of the body that are not among the arguments.
        extra_headers: headers of this call alone.
        timeout: see `Timeout`; a number bounds the whole call.
        max_retries: for this call alone.
        idempotency_key: the same key and body join the same generation; made up where not given.
    """

    extra_body: Mapping[str, Any] | None
    extra_headers: Mapping[str, str] | None
    timeout: Any
    max_retries: int | None
    idempotency_key: str | None


class SamplingParams(CallParams, total=False):
    """How to sample, and when to stop. What is left out, or None, is the model's default."""

    model: str | None
    max_tokens: int | None
    temperature: float | None
    top_p: float | None
    top_k: int | None
    min_p: float | None
    seed: int | None
    stop: str | Sequence[str] | None
    n: int | None
    frequency_penalty: float | None
    presence_penalty: float | None
    repetition_penalty: float | None
    logit_bias: Mapping[str, float] | None
    ignore_eos: bool | None
    stream_options: Mapping[str, Any] | None
    user: str | None


class ParseParams(SamplingParams, total=False):
    """What `parse` takes beside the messages; a tool may be a plain function."""

    max_completion_tokens: int | None
    tools: Sequence[Any] | None
    tool_choice: Literal["none", "auto", "required"] | Mapping[str, Any] | None
    parallel_tool_calls: bool | None
    logprobs: bool | None
    top_logprobs: int | None
    reasoning_effort: str | None
    metadata: Mapping[str, str] | None
    store: bool | None
    service_tier: str | None
    chat_template_kwargs: Mapping[str, Any] | None


class ChatParams(ParseParams, total=False):
    """What `/v1/chat/completions` takes beside the messages; a type is a response format too."""

    response_format: Any


class CompletionParams(SamplingParams, total=False):
    """What `/v1/completions` takes beside the prompt."""

    suffix: str | None
    echo: bool | None
    best_of: int | None
    logprobs: int | None


class EmbeddingParams(CallParams, total=False):
    """What `/v1/embeddings` takes beside the input.

    Attributes:
        encoding_format: what travels: base64 of float32 where it is not given, or `float`; the
            answer's `embedding` and `buffer` are the same.
        dimensions: so many of the first ones, where the model was trained for that.
        truncate_prompt_tokens: cuts each input to so many tokens, -1 to as many as fit.
    """

    model: str | None
    encoding_format: Literal["float", "base64"] | None
    dimensions: int | None
    truncate_prompt_tokens: int | None
    truncation_side: Literal["left", "right"] | None
    add_special_tokens: bool | None
    use_activation: bool | None
    priority: int | None
    user: str | None


class ScoringParams(CallParams, total=False):
    """What `/score` and `/rerank` take beside their texts; the limits are in tokens."""

    model: str | None
    max_tokens_per_query: int | None
    max_tokens_per_doc: int | None
    truncate_prompt_tokens: int | None
    truncation_side: Literal["left", "right"] | None
    use_activation: bool | None
    priority: int | None
    user: str | None


class RerankParams(ScoringParams, total=False):
    """`top_n` gives the best so many; `return_documents` (true) repeats their texts."""

    top_n: int | None
    return_documents: bool | None


class TokenizeParams(CallParams, total=False):
    """What `/tokenize` takes beside the text, or the messages; the last four are for messages."""

    model: str | None
    add_special_tokens: bool | None
    return_token_strs: bool | None
    tools: Sequence[Any] | None
    add_generation_prompt: bool | None
    continue_final_message: bool | None
    chat_template_kwargs: Mapping[str, Any] | None


class DetokenizeParams(CallParams, total=False):
    """What `/detokenize` takes beside the tokens."""

    model: str | None


class ResponseParams(CallParams, total=False):
    """What `/v1/responses` takes beside the input; a tool may be a plain function.

    Those from `top_k` on are vLLM's, and mean what they mean in a chat request.
    """

    model: str | None
    instructions: str | None
    previous_response_id: str | None
    store: bool | None
    background: bool | None
    stream_options: Mapping[str, Any] | None
    max_output_tokens: int | None
    max_tool_calls: int | None
    temperature: float | None
    top_p: float | None
    top_logprobs: int | None
    include: Sequence[str] | None
    metadata: Mapping[str, str] | None
    truncation: Literal["auto", "disabled"] | None
    text: Mapping[str, Any] | None
    reasoning: Mapping[str, Any] | None
    tools: Sequence[Any] | None
    tool_choice: Literal["none", "auto", "required"] | Mapping[str, Any] | None
    parallel_tool_calls: bool | None
    service_tier: str | None
    prompt_cache_key: str | None
    safety_identifier: str | None
    user: str | None
    top_k: int | None
    min_p: float | None
    seed: int | None
    stop: str | Sequence[str] | None
    logit_bias: Mapping[str, float] | None
    min_tokens: int | None
    frequency_penalty: float | None
    presence_penalty: float | None
    repetition_penalty: float | None
    ignore_eos: bool | None
    priority: int | None
    structured_outputs: Mapping[str, Any] | None
    chat_template_kwargs: Mapping[str, Any] | None


class GenerateParams(CallParams, total=False):
    """What `/api/v1/generate` takes beside the prompt."""

    model: str | None
    max_tokens: int | None
    temperature: float | None
    top_p: float | None
    top_k: int | None
    min_p: float | None
    seed: int | None
    stop: str | Sequence[str] | None
    frequency_penalty: float | None
    presence_penalty: float | None
    repetition_penalty: float | None
    ignore_eos: bool | None
    user: str | None


class LoadParams(CallParams, total=False):
    """What `/v1/models/load` takes beside the model.

    Attributes:
        name: its name in requests; left out, its id, or its folder's name.
        engine: `vllm`, `torch` or `simulated`; and its arguments in `engine_args`.
        lora_modules: its LoRA adapters: Hugging Face ids, or paths on the server, by their names.
        device: `gpu:0`, `cpu`, `auto`, ...
        pinned: whether it is kept, whatever else needs memory.
        idle_seconds: unused time after which it is unloaded.
        persist: whether it is loaded again when the server is started again.
    """

    name: str | None
    engine: str | None
    engine_args: Mapping[str, Any] | None
    aliases: Sequence[str] | None
    lora_modules: Mapping[str, str] | None
    device: str | None
    quantization: str | None
    pinned: bool | None
    idle_seconds: float | None
    persist: bool | None


ResponseInput = str | Sequence[Message]
Document = str | Mapping[str, str]
Documents = Document | Sequence[Document]
Prompt = str | Sequence[str] | Sequence[int] | Sequence[Sequence[int]]

CALL_PARAMS = frozenset(CallParams.__annotations__)
_encode = msgspec.json.Encoder().encode


def body_of(known: type, params: Mapping[str, Any], **fields: Any) -> bytes:
    """The body of a request: `fields`, and those of `params` that belong to it.

    Raises:
        TypeError: there is no such argument.
    """
    body = {name: value for name, value in fields.items() if value is not None}
    names = known.__annotations__
    for name, value in params.items():
        if name not in names:
            raise TypeError(
                f"There is no argument {name!r}; what a server takes beyond those there"
                " are goes into extra_body={...}"
            )
        if value is not None and name not in CALL_PARAMS:
            body[name] = value
    if extra := params.get("extra_body"):
        body.update(extra)
    return _encode(body)
