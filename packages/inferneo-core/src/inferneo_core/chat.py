"""Receives nothing; hands on the structs of `/v1/chat/completions`.

Source: https://platform.openai.com/docs/api-reference/chat, and vLLM's further sampling parameters.
"""

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from inferneo_core.logprobs import ChatLogprobs, PromptLogprobs
from inferneo_core.sampling import Logprobs, SamplingFields
from inferneo_core.usage import Usage

FinishReason = Literal["stop", "length", "tool_calls", "content_filter"]


class TextPart(Struct, frozen=True, kw_only=True, tag_field="type", tag="text"):
    """A piece of text in a message."""

    text: str


class ImageUrl(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where an image is, or the image itself as a `data:` URL."""

    url: str
    detail: str | None = None


class ImagePart(Struct, frozen=True, kw_only=True, tag_field="type", tag="image_url"):
    """A picture in a message."""

    image_url: ImageUrl


class InputAudio(Struct, frozen=True, kw_only=True):
    """Sound, in base64, and its format."""

    data: str
    format: str


class AudioPart(Struct, frozen=True, kw_only=True, tag_field="type", tag="input_audio"):
    """Sound in a message."""

    input_audio: InputAudio


class RefusalPart(Struct, frozen=True, kw_only=True, tag_field="type", tag="refusal"):
    """What a model said instead of an answer."""

    refusal: str


class FunctionCall(Struct, frozen=True, kw_only=True):
    """A call of a function; `arguments` is a JSON document in a string."""

    name: str
    arguments: str


class ToolCall(Struct, frozen=True, kw_only=True):
    """A call that the model asks for."""

    id: str
    type: Literal["function"] = "function"
    function: FunctionCall


Part = TextPart | ImagePart | AudioPart | RefusalPart


class Message(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One message of a conversation; `role` is whatever the model's chat template takes."""

    role: Annotated[str, Meta(min_length=1, max_length=64)]
    content: str | list[Part] | None = None
    name: str | None = None
    tool_calls: list[ToolCall] | None = None
    tool_call_id: str | None = None
    reasoning: str | None = None
    reasoning_content: str | None = None
    refusal: str | None = None


class FunctionDefinition(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A function that the model may call; `parameters` is a JSON Schema."""

    name: Annotated[str, Meta(min_length=1, max_length=128)]
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class Tool(Struct, frozen=True, kw_only=True):
    """A tool that the model may use."""

    type: Literal["function"] = "function"
    function: FunctionDefinition


class FunctionName(Struct, frozen=True, kw_only=True):
    """The name of a function."""

    name: str


class NamedTool(Struct, frozen=True, kw_only=True, tag_field="type", tag="function"):
    """A choice of one tool."""

    function: FunctionName


class ToolReference(Struct, frozen=True, kw_only=True):
    """One of the allowed tools, by its name."""

    type: Literal["function"] = "function"
    function: FunctionName | None = None
    name: str | None = None


class AllowedToolsField(Struct, frozen=True, kw_only=True):
    """The tools that may be called, and whether one must be."""

    mode: Literal["auto", "required"]
    tools: Annotated[list[ToolReference], Meta(min_length=1)]


class AllowedTools(Struct, frozen=True, kw_only=True, tag_field="type", tag="allowed_tools"):
    """A choice among some of the tools."""

    allowed_tools: AllowedToolsField


ToolChoice = Literal["none", "auto", "required"] | NamedTool | AllowedTools
ReasoningEffort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]


class ChatCompletionRequest(
    SamplingFields, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True
):
    """Body of `POST /v1/chat/completions`.

    `max_completion_tokens` wins over `max_tokens`; without either the answer may fill the model's
    context. `chat_template_kwargs` reach the model's chat template as they are. `top_logprobs`
    needs `logprobs`. With `continue_final_message` the answer goes on with the last message.
    """

    messages: Annotated[list[Message], Meta(min_length=1)]
    max_completion_tokens: Annotated[int, Meta(ge=1)] | None = None
    tools: list[Tool] | None = None
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    reasoning_effort: ReasoningEffort | None = None
    include_reasoning: bool | None = None
    logprobs: bool | None = None
    top_logprobs: Logprobs | None = None
    add_generation_prompt: bool | None = None
    continue_final_message: bool | None = None
    chat_template_kwargs: dict[str, Any] | None = None


class AnswerMessage(Struct, frozen=True, kw_only=True):
    """The model's message in a whole answer; OpenAI requires the first three, null or not.

    `reasoning` and `reasoning_content` are the same, for clients that read one or the other.
    """

    role: Literal["assistant"] = "assistant"
    content: str | None
    refusal: str | None = None
    reasoning: str | UnsetType = UNSET
    reasoning_content: str | UnsetType = UNSET
    tool_calls: list[ToolCall] | UnsetType = UNSET


class ChatChoice(Struct, frozen=True, kw_only=True):
    """One of the `n` answers. `stop_reason` is the stop text or token id that ended it."""

    index: int
    message: AnswerMessage
    logprobs: ChatLogprobs | None = None
    finish_reason: FinishReason
    stop_reason: int | str | UnsetType = UNSET
    token_ids: list[int] | UnsetType = UNSET


class ChatCompletion(Struct, frozen=True, kw_only=True):
    """Answer of `POST /v1/chat/completions`; `created` is in seconds since 1970."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[ChatChoice]
    usage: Usage
    prompt_logprobs: PromptLogprobs | UnsetType = UNSET
    prompt_token_ids: list[int] | UnsetType = UNSET


class FunctionCallDelta(Struct, frozen=True, kw_only=True):
    """What a chunk adds to a call: its name, once, or more of its arguments."""

    name: str | UnsetType = UNSET
    arguments: str | UnsetType = UNSET


class ToolCallDelta(Struct, frozen=True, kw_only=True):
    """What a chunk adds to the call at `index`; `id` and `type` come once."""

    index: int
    id: str | UnsetType = UNSET
    type: Literal["function"] | UnsetType = UNSET
    function: FunctionCallDelta | UnsetType = UNSET

    def whole(self) -> ToolCall:
        """The call that this delta, the only one of its index, tells."""
        function = self.function or FunctionCallDelta()
        call = FunctionCall(name=function.name or "", arguments=function.arguments or "")
        return ToolCall(id=self.id or "", function=call)


class ChatDelta(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a chunk adds to a message: nothing, the role, new text, reasoning, or tool calls."""

    role: Literal["assistant"] | UnsetType = UNSET
    content: str | UnsetType = UNSET
    reasoning: str | UnsetType = UNSET
    reasoning_content: str | UnsetType = UNSET
    tool_calls: list[ToolCallDelta] | UnsetType = UNSET


class ChatChunkChoice(Struct, frozen=True, kw_only=True):
    """What a chunk adds to one of the `n` answers."""

    index: int
    delta: ChatDelta
    logprobs: ChatLogprobs | UnsetType = UNSET
    finish_reason: FinishReason | None = None
    stop_reason: int | str | UnsetType = UNSET
    token_ids: list[int] | UnsetType = UNSET


class ChatCompletionChunk(Struct, frozen=True, kw_only=True):
    """One event of a streamed answer; `choices` is empty in the last one, which has the usage."""

    id: str
    object: Literal["chat.completion.chunk"] = "chat.completion.chunk"
    created: int
    model: str
    choices: list[ChatChunkChoice]
    usage: Usage | UnsetType = UNSET
    prompt_logprobs: PromptLogprobs | UnsetType = UNSET
    prompt_token_ids: list[int] | UnsetType = UNSET
