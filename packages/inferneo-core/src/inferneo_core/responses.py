"""Receives nothing; hands on the structs of `/v1/responses`: requests, items, answers.

Source: https://platform.openai.com/docs/api-reference/responses
"""

from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from inferneo_core.chat import ReasoningEffort
from inferneo_core.codec import convert_part
from inferneo_core.errors import InvalidRequest
from inferneo_core.logprobs import TokenLogprob
from inferneo_core.sampling import (
    Logprobs,
    Penalty,
    StopText,
    StructuredOutputs,
    TokenId,
)

ItemStatus = Literal["in_progress", "completed", "incomplete"]
ResponseStatus = Literal["queued", "in_progress", "completed", "incomplete", "failed", "cancelled"]
Metadata = Annotated[
    dict[
        Annotated[str, Meta(max_length=64)],
        Annotated[str, Meta(max_length=512)],
    ],
    Meta(max_length=16),
]


class InputText(Struct, frozen=True, kw_only=True, tag_field="type", tag="input_text"):
    """A text that the model reads."""

    text: str


class InputImage(
    Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="type", tag="input_image"
):
    """A picture that the model reads, as a URL or a `data:` URL."""

    image_url: str
    detail: str = "auto"


class OutputText(Struct, frozen=True, kw_only=True, tag_field="type", tag="output_text"):
    """A text that the model wrote."""

    text: str
    annotations: list[Any] = []
    logprobs: list[TokenLogprob] | None | UnsetType = UNSET


class Refusal(Struct, frozen=True, kw_only=True, tag_field="type", tag="refusal"):
    """What a model said instead of an answer."""

    refusal: str


class ReasoningText(Struct, frozen=True, kw_only=True, tag_field="type", tag="reasoning_text"):
    """What a model thought."""

    text: str


class SummaryText(Struct, frozen=True, kw_only=True, tag_field="type", tag="summary_text"):
    """What a model thought, in short."""

    text: str


Content = InputText | InputImage | OutputText | Refusal


class MessageItem(Struct, frozen=True, kw_only=True, tag_field="type", tag="message"):
    """A message, read or written."""

    id: str = ""
    role: Literal["user", "assistant", "system", "developer"]
    status: ItemStatus = "completed"
    content: str | list[Content]


class FunctionCallItem(Struct, frozen=True, kw_only=True, tag_field="type", tag="function_call"):
    """A call of a function; `arguments` is a JSON document in a string."""

    id: str = ""
    call_id: str
    name: str
    arguments: str
    status: ItemStatus = "completed"


class FunctionOutputItem(
    Struct, frozen=True, kw_only=True, tag_field="type", tag="function_call_output"
):
    """What a called function gave."""

    id: str = ""
    call_id: str
    output: str | list[Content]
    status: ItemStatus = "completed"


class ReasoningItem(Struct, frozen=True, kw_only=True, tag_field="type", tag="reasoning"):
    """What a model thought before it answered."""

    id: str = ""
    summary: list[SummaryText] = []
    content: list[ReasoningText] | None = None
    status: ItemStatus | None = "completed"


class ItemReference(Struct, frozen=True, kw_only=True, tag_field="type", tag="item_reference"):
    """An item of the conversation that went before, by its id."""

    id: str


Item = MessageItem | FunctionCallItem | FunctionOutputItem | ReasoningItem

_ITEMS: Final[dict[str, Any]] = {
    "message": MessageItem,
    "function_call": FunctionCallItem,
    "function_call_output": FunctionOutputItem,
    "reasoning": ReasoningItem,
    "item_reference": ItemReference,
}


class FunctionTool(Struct, frozen=True, kw_only=True, tag_field="type", tag="function"):
    """A function that the model may call; `parameters` is a JSON Schema."""

    name: Annotated[str, Meta(min_length=1, max_length=128)]
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class NamedFunction(Struct, frozen=True, kw_only=True, tag_field="type", tag="function"):
    """A choice of one function."""

    name: str


class FunctionReference(Struct, frozen=True, kw_only=True):
    """One of the allowed functions."""

    type: Literal["function"] = "function"
    name: str


class AllowedFunctions(Struct, frozen=True, kw_only=True, tag_field="type", tag="allowed_tools"):
    """A choice among some of the functions."""

    mode: Literal["auto", "required"]
    tools: Annotated[list[FunctionReference], Meta(min_length=1)]


ToolChoice = Literal["none", "auto", "required"] | NamedFunction | AllowedFunctions


class PlainFormat(Struct, frozen=True, kw_only=True, tag_field="type", tag="text"):
    """Any text."""


class JsonFormat(Struct, frozen=True, kw_only=True, tag_field="type", tag="json_object"):
    """A JSON object."""


class SchemaFormat(
    Struct,
    frozen=True,
    kw_only=True,
    tag_field="type",
    tag="json_schema",
    rename={"schema_": "schema"},
):
    """JSON that fits a schema."""

    name: Annotated[str, Meta(min_length=1, max_length=64)]
    schema_: dict[str, Any]
    description: str | None = None
    strict: bool | None = None


class TextConfig(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the answer's text is like. `verbosity` is taken, not used."""

    format: PlainFormat | JsonFormat | SchemaFormat | None = None
    verbosity: Literal["low", "medium", "high"] | None = None


class ReasoningConfig(Struct, frozen=True, kw_only=True):
    """How much to think. No summary is written: the thoughts themselves are told."""

    effort: ReasoningEffort | None = None
    summary: Literal["auto", "concise", "detailed"] | None = None


class ResponseStreamOptions(Struct, frozen=True, kw_only=True):
    """`include_obfuscation` is taken, not used: nothing is added to the events."""

    include_obfuscation: bool | None = None


class ResponseRequest(
    Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True
):
    """Body of `POST /v1/responses`.

    The fields below `user` are vLLM's, and mean what they mean in a chat request.
    """

    input: str | list[dict[str, Any]] | None = None
    model: str | None = None
    instructions: str | None = None
    previous_response_id: str | None = None
    store: bool | None = None
    background: bool | None = None
    stream: bool | None = None
    stream_options: ResponseStreamOptions | None = None
    max_output_tokens: Annotated[int, Meta(ge=1)] | None = None
    max_tool_calls: Annotated[int, Meta(ge=1)] | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(gt=0, le=1)] | None = None
    top_logprobs: Logprobs | None = None
    include: list[str] | None = None
    metadata: Metadata | None = None
    truncation: Literal["auto", "disabled"] | None = None
    text: TextConfig | None = None
    reasoning: ReasoningConfig | None = None
    tools: list[FunctionTool] | None = None
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    conversation: Any = None
    prompt: Any = None
    service_tier: str | None = None
    prompt_cache_key: str | None = None
    safety_identifier: str | None = None
    user: str | None = None
    top_k: Annotated[int, Meta(ge=-1, le=2**31 - 1)] | None = None
    min_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    seed: Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)] | None = None
    stop: StopText | Annotated[list[StopText], Meta(max_length=16)] | None = None
    stop_token_ids: Annotated[list[TokenId], Meta(max_length=64)] | None = None
    logit_bias: dict[str, Annotated[float, Meta(ge=-100, le=100)]] | None = None
    min_tokens: Annotated[int, Meta(ge=0)] | None = None
    frequency_penalty: Penalty | None = None
    presence_penalty: Penalty | None = None
    repetition_penalty: Annotated[float, Meta(gt=0, le=2)] | None = None
    ignore_eos: bool | None = None
    priority: Annotated[int, Meta(ge=-(2**31), le=2**31 - 1)] | None = None
    structured_outputs: StructuredOutputs | None = None
    chat_template_kwargs: dict[str, Any] | None = None


class ResponseInputTokens(Struct, frozen=True, kw_only=True):
    """Answer of `POST /v1/responses/input_tokens`."""

    object: Literal["response.input_tokens"] = "response.input_tokens"
    input_tokens: int


class ResponseInputTokensDetails(Struct, frozen=True, kw_only=True):
    """How much of the input was found in the engine's cache; nothing is charged for writing it."""

    cached_tokens: int = 0
    cache_write_tokens: int = 0


class ResponseOutputTokensDetails(Struct, frozen=True, kw_only=True):
    """How many of the tokens written were reasoning."""

    reasoning_tokens: int = 0


class ResponseUsage(Struct, frozen=True, kw_only=True):
    """Tokens read and written for a response."""

    input_tokens: int
    input_tokens_details: ResponseInputTokensDetails
    output_tokens: int
    output_tokens_details: ResponseOutputTokensDetails
    total_tokens: int


class ResponseFault(Struct, frozen=True, kw_only=True):
    """Why a response failed."""

    code: Literal["server_error", "rate_limit_exceeded", "invalid_prompt"] = "server_error"
    message: str


class IncompleteDetails(Struct, frozen=True, kw_only=True):
    """Why a response is not whole."""

    reason: Literal["max_output_tokens", "content_filter"]


class Response(Struct, frozen=True, kw_only=True):
    """Answer of `POST /v1/responses`; times are in seconds since 1970.

    OpenAI requires most fields, null or not; they repeat what was asked for.
    """

    id: str
    object: Literal["response"] = "response"
    created_at: int
    status: ResponseStatus
    background: bool = False
    completed_at: int | None = None
    error: ResponseFault | None = None
    incomplete_details: IncompleteDetails | None = None
    instructions: str | None = None
    max_output_tokens: int | None = None
    max_tool_calls: int | None = None
    model: str
    output: list[MessageItem | FunctionCallItem | ReasoningItem] = []
    parallel_tool_calls: bool = True
    previous_response_id: str | None = None
    prompt_cache_key: str | UnsetType = UNSET
    reasoning: ReasoningConfig
    safety_identifier: str | UnsetType = UNSET
    service_tier: str = "default"
    store: bool = True
    temperature: float | None = None
    text: TextConfig
    tool_choice: ToolChoice = "auto"
    tools: list[FunctionTool] = []
    top_logprobs: int = 0
    top_p: float | None = None
    truncation: Literal["auto", "disabled"] = "disabled"
    usage: ResponseUsage | None = None
    user: str | UnsetType = UNSET
    metadata: dict[str, str] = {}


class ItemList(Struct, frozen=True, kw_only=True):
    """Answer of `GET /v1/responses/{id}/input_items`."""

    object: Literal["list"] = "list"
    data: list[Item]
    first_id: str
    last_id: str
    has_more: bool


class DeletedResponse(Struct, frozen=True, kw_only=True):
    """Answer of `DELETE /v1/responses/{id}`."""

    id: str
    object: Literal["response"] = "response"
    deleted: bool = True


response_request: Final = msgspec.json.Decoder(ResponseRequest)


def decode_item(given: dict[str, Any], param: str) -> Item | ItemReference:
    """Decode one item of `input`; a message needs no `type`.

    Raises:
        InvalidRequest: it is of no type that is served, or does not fit; `param` is its path.
    """
    kind = given.get("type")
    if kind is None:
        kind = "message" if "role" in given or "content" in given else "item_reference"
    if not isinstance(kind, str) or kind not in _ITEMS:
        known = ", ".join(f"'{name}'" for name in _ITEMS)
        raise InvalidRequest(
            f"Items of type {kind!r} are not served; those that are: {known}", param=f"{param}.type"
        )
    # A client that sends back what it was given may send nulls for what is not there.
    fields = {name: value for name, value in given.items() if value is not None}
    item: Item | ItemReference = convert_part({**fields, "type": kind}, _ITEMS[kind], param)
    return item
