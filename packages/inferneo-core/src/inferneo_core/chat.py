"""Receives nothing; hands on the structs of `/v1/chat/completions`.

Source: https://platform.openai.com/docs/api-reference/chat, and vLLM's further sampling parameters.
"""

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from inferneo_core.sampling import SamplingFields
from inferneo_core.usage import Usage

FinishReason = Literal["stop", "length", "tool_calls", "content_filter"]


class TextPart(Struct, frozen=True, kw_only=True):
    """A piece of text in a message."""

    type: Literal["text"]
    text: str


class FunctionCall(Struct, frozen=True, kw_only=True):
    """A call of a function; `arguments` is a JSON document in a string."""

    name: str
    arguments: str


class ToolCall(Struct, frozen=True, kw_only=True):
    """A call that the model asks for."""

    id: str
    type: Literal["function"] = "function"
    function: FunctionCall


class Message(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One message of a conversation; `role` is whatever the model's chat template takes."""

    role: Annotated[str, Meta(min_length=1, max_length=64)]
    content: str | list[TextPart] | None = None
    name: str | None = None
    tool_calls: list[ToolCall] | None = None
    tool_call_id: str | None = None
    reasoning_content: str | None = None


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


class ChatCompletionRequest(SamplingFields, frozen=True, kw_only=True, omit_defaults=True):
    """Body of `POST /v1/chat/completions`.

    `max_completion_tokens` wins over `max_tokens`; without either the answer may fill the model's
    context. `chat_template_kwargs` reach the model's chat template as they are.
    """

    messages: Annotated[list[Message], Meta(min_length=1)]
    max_completion_tokens: Annotated[int, Meta(ge=1)] | None = None
    tools: list[Tool] | None = None
    chat_template_kwargs: dict[str, Any] | None = None


class AnswerMessage(Struct, frozen=True, kw_only=True):
    """The model's message in a whole answer; OpenAI requires all three fields, null or not."""

    role: Literal["assistant"] = "assistant"
    content: str | None
    refusal: str | None = None


class ChatChoice(Struct, frozen=True, kw_only=True):
    """One of the `n` answers."""

    index: int
    message: AnswerMessage
    logprobs: None = None
    finish_reason: FinishReason


class ChatCompletion(Struct, frozen=True, kw_only=True):
    """Answer of `POST /v1/chat/completions`; `created` is in seconds since 1970."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[ChatChoice]
    usage: Usage


class ChatDelta(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a chunk adds to a message: nothing, the role, or new text."""

    role: Literal["assistant"] | UnsetType = UNSET
    content: str | UnsetType = UNSET


class ChatChunkChoice(Struct, frozen=True, kw_only=True):
    """What a chunk adds to one of the `n` answers."""

    index: int
    delta: ChatDelta
    finish_reason: FinishReason | None = None


class ChatCompletionChunk(Struct, frozen=True, kw_only=True):
    """One event of a streamed answer; `choices` is empty in the last one, which has the usage."""

    id: str
    object: Literal["chat.completion.chunk"] = "chat.completion.chunk"
    created: int
    model: str
    choices: list[ChatChunkChoice]
    usage: Usage | UnsetType = UNSET
