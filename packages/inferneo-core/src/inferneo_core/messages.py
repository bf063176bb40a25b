"""Receives nothing; hands on the structs of `/v1/messages`: requests, answers, errors.

Source: https://docs.anthropic.com/en/api/messages
"""

from typing import Annotated, Any, Final, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from inferneo_core.errors import ApiError
from inferneo_core.sampling import StopText

StopReason = Literal["end_turn", "max_tokens", "stop_sequence", "tool_use"]


class TextBlock(Struct, frozen=True, kw_only=True, tag_field="type", tag="text"):
    """A piece of text."""

    text: str


class Base64Source(Struct, frozen=True, kw_only=True, tag_field="type", tag="base64"):
    """A file itself."""

    media_type: str
    data: str


class UrlSource(Struct, frozen=True, kw_only=True, tag_field="type", tag="url"):
    """Where a file is."""

    url: str


class ImageBlock(Struct, frozen=True, kw_only=True, tag_field="type", tag="image"):
    """A picture."""

    source: Base64Source | UrlSource


class ThinkingBlock(Struct, frozen=True, kw_only=True, tag_field="type", tag="thinking"):
    """What a model thought. Nothing is signed: the signature is empty."""

    thinking: str
    signature: str = ""


class RedactedThinkingBlock(
    Struct, frozen=True, kw_only=True, tag_field="type", tag="redacted_thinking"
):
    """Thoughts that another server hid; they are not read."""

    data: str


class ToolUseBlock(Struct, frozen=True, kw_only=True, tag_field="type", tag="tool_use"):
    """A call that the model asks for."""

    id: str
    name: str
    input: dict[str, Any]


class ToolResultBlock(Struct, frozen=True, kw_only=True, tag_field="type", tag="tool_result"):
    """What a called tool gave."""

    tool_use_id: str
    content: str | list[TextBlock | ImageBlock] | None = None
    is_error: bool | None = None


InputBlock = (
    TextBlock | ImageBlock | ThinkingBlock | RedactedThinkingBlock | ToolUseBlock | ToolResultBlock
)
OutputBlock = TextBlock | ThinkingBlock | ToolUseBlock


class InputMessage(Struct, frozen=True, kw_only=True):
    """One message of a conversation."""

    role: Literal["user", "assistant", "system"]
    content: str | list[InputBlock]


class MessagesTool(Struct, frozen=True, kw_only=True):
    """A tool that the model may call; `input_schema` is a JSON Schema."""

    name: Annotated[str, Meta(min_length=1, max_length=128)]
    input_schema: dict[str, Any]
    type: Literal["custom"] | None = None
    description: str | None = None
    strict: bool | None = None


class AutoChoice(Struct, frozen=True, kw_only=True, tag_field="type", tag="auto"):
    """The model chooses whether to call."""

    disable_parallel_tool_use: bool | None = None


class AnyChoice(Struct, frozen=True, kw_only=True, tag_field="type", tag="any"):
    """The model must call."""

    disable_parallel_tool_use: bool | None = None


class ToolChoice(Struct, frozen=True, kw_only=True, tag_field="type", tag="tool"):
    """The model must call this tool."""

    name: str
    disable_parallel_tool_use: bool | None = None


class NoChoice(Struct, frozen=True, kw_only=True, tag_field="type", tag="none"):
    """The model must not call."""


class ThinkingConfig(Struct, frozen=True, kw_only=True):
    """Whether to think before the answer. There is no budget: `budget_tokens` is not used."""

    type: Literal["enabled", "disabled", "adaptive", "between_tools"]
    budget_tokens: Annotated[int, Meta(ge=1)] | None = None


class OutputSchema(
    Struct,
    frozen=True,
    kw_only=True,
    tag_field="type",
    tag="json_schema",
    rename={"schema_": "schema"},
):
    """JSON that fits a schema."""

    schema_: dict[str, Any]


class OutputConfig(Struct, frozen=True, kw_only=True):
    """How much to think, and what the answer's text fits."""

    effort: Literal["low", "medium", "high", "xhigh", "max"] | None = None
    format: OutputSchema | None = None


class PromptFields(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the model reads."""

    messages: Annotated[list[InputMessage], Meta(min_length=1)]
    model: str | None = None
    system: str | list[TextBlock] | None = None
    tools: list[MessagesTool] | None = None
    tool_choice: AutoChoice | AnyChoice | ToolChoice | NoChoice | None = None
    thinking: ThinkingConfig | None = None
    output_config: OutputConfig | None = None
    cache_control: Any = None
    chat_template_kwargs: dict[str, Any] | None = None


class CountRequest(
    PromptFields, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True
):
    """Body of `POST /v1/messages/count_tokens`."""


class MessagesRequest(
    PromptFields, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True
):
    """Body of `POST /v1/messages`.

    `metadata`, `service_tier` and `cache_control` are taken, not used: the engine caches prompts by
    itself. `chat_template_kwargs` and `ignore_eos` are vLLM's.
    """

    max_tokens: Annotated[int, Meta(ge=1)]
    stream: bool | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(gt=0, le=1)] | None = None
    top_k: Annotated[int, Meta(ge=-1, le=2**31 - 1)] | None = None
    stop_sequences: Annotated[list[StopText], Meta(max_length=16)] | None = None
    metadata: dict[str, Any] | None = None
    service_tier: str | None = None
    ignore_eos: bool | None = None


class OutputTokensDetails(Struct, frozen=True, kw_only=True):
    """How many of the tokens written were thoughts."""

    thinking_tokens: int


class MessagesUsage(Struct, frozen=True, kw_only=True):
    """Tokens read and written; those that were found in the engine's cache are told apart."""

    input_tokens: int
    cache_creation_input_tokens: int = 0
    cache_read_input_tokens: int = 0
    output_tokens: int
    output_tokens_details: OutputTokensDetails | UnsetType = UNSET


class Message(Struct, frozen=True, kw_only=True):
    """Answer of `POST /v1/messages`."""

    id: str
    type: Literal["message"] = "message"
    role: Literal["assistant"] = "assistant"
    model: str
    content: list[OutputBlock]
    stop_reason: StopReason | None = None
    stop_sequence: str | None = None
    usage: MessagesUsage


class TokenCount(Struct, frozen=True, kw_only=True):
    """Answer of `POST /v1/messages/count_tokens`."""

    input_tokens: int


class MessagesErrorDetail(Struct, frozen=True, kw_only=True):
    """What an error answer says."""

    type: str
    message: str


class MessagesError(Struct, frozen=True, kw_only=True, tag_field="type", tag="error"):
    """An error answer of these routes, and the last event of a stream that failed."""

    error: MessagesErrorDetail


_TYPES: Final = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}


def error_body(error: ApiError) -> MessagesError:
    """The error in these routes' words."""
    kind = "invalid_request_error" if error.status < 500 else "api_error"
    kind = _TYPES.get(error.status, kind)
    return MessagesError(error=MessagesErrorDetail(type=kind, message=error.message))
