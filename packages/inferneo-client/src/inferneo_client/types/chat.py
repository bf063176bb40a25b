"""Receives nothing; hands on the answers of `/v1/chat/completions`, whole and in chunks.

Sources: https://platform.openai.com/docs/api-reference/chat, and the further fields of vLLM and
SGLang. A field that a server leaves out, or sends as null, has its default.
"""

from typing import Any

from inferneo_client.types.answer import Answer
from inferneo_client.types.response import ResponseInfo
from inferneo_client.types.usage import Usage


class FunctionCall(Answer, frozen=True, kw_only=True, gc=False):
    """A call of a function; `arguments` is a JSON document in a string."""

    name: str = ""
    arguments: str = ""


class ToolCall(Answer, frozen=True, kw_only=True, gc=False):
    """A call that the model asks for."""

    id: str = ""
    type: str = "function"
    function: FunctionCall = FunctionCall()
    index: int | None = None


class TokenLogprob(Answer, frozen=True, kw_only=True, gc=False):
    """How likely a token was, and which others were likely."""

    token: str = ""
    logprob: float = 0.0
    bytes: list[int] | None = None
    top_logprobs: list["TokenLogprob"] = []


class ChoiceLogprobs(Answer, frozen=True, kw_only=True, gc=False):
    """The log probabilities of a choice's tokens."""

    content: list[TokenLogprob] | None = None
    refusal: list[TokenLogprob] | None = None


class ChatMessage(Answer, frozen=True, kw_only=True, gc=False):
    """The model's message. Servers name its reasoning in two ways: `reasoning_text` knows both."""

    role: str = "assistant"
    content: str | None = None
    refusal: str | None = None
    reasoning: str | None = None
    reasoning_content: str | None = None
    tool_calls: list[ToolCall] | None = None
    annotations: list[Any] | None = None
    audio: Any = None
    function_call: Any = None
    parsed: Any = None

    @property
    def reasoning_text(self) -> str | None:
        """What the model wrote before it answered."""
        return self.reasoning if self.reasoning is not None else self.reasoning_content


class ChatChoice(Answer, frozen=True, kw_only=True, gc=False):
    """One of the answers that were asked for."""

    index: int = 0
    message: ChatMessage = ChatMessage()
    logprobs: ChoiceLogprobs | None = None
    finish_reason: str | None = None
    stop_reason: int | str | None = None
    token_ids: list[int] | None = None


class ChatCompletion(Answer, frozen=True, kw_only=True, gc=False):
    """A whole answer; `created` is in seconds since 1970."""

    id: str = ""
    object: str = "chat.completion"
    created: int = 0
    model: str = ""
    choices: list[ChatChoice] = []
    usage: Usage | None = None
    system_fingerprint: str | None = None
    service_tier: str | None = None
    prompt_logprobs: Any = None
    prompt_token_ids: list[int] | None = None
    kv_transfer_params: Any = None
    response: ResponseInfo | None = None


class FunctionCallDelta(Answer, frozen=True, kw_only=True, gc=False):
    """A piece of a call."""

    name: str | None = None
    arguments: str | None = None


class ToolCallDelta(Answer, frozen=True, kw_only=True, gc=False):
    """A piece of one of the calls; `index` tells of which."""

    index: int | None = None
    id: str | None = None
    type: str | None = None
    function: FunctionCallDelta | None = None


class ChatDelta(Answer, frozen=True, kw_only=True, gc=False):
    """What a chunk adds to a message."""

    role: str | None = None
    content: str | None = None
    refusal: str | None = None
    reasoning: str | None = None
    reasoning_content: str | None = None
    tool_calls: list[ToolCallDelta] | None = None
    function_call: Any = None

    @property
    def reasoning_text(self) -> str | None:
        """What is added to the model's reasoning."""
        return self.reasoning if self.reasoning is not None else self.reasoning_content


class ChatChunkChoice(Answer, frozen=True, kw_only=True, gc=False):
    """What a chunk adds to one of the answers."""

    index: int = 0
    delta: ChatDelta = ChatDelta()
    logprobs: ChoiceLogprobs | None = None
    finish_reason: str | None = None
    stop_reason: int | str | None = None
    token_ids: list[int] | None = None


class ChatCompletionChunk(Answer, frozen=True, kw_only=True, gc=False):
    """One event of a streamed answer; `choices` may be empty, as beside the usage at the end."""

    id: str = ""
    object: str = "chat.completion.chunk"
    created: int = 0
    model: str = ""
    choices: list[ChatChunkChoice] = []
    usage: Usage | None = None
    system_fingerprint: str | None = None
    service_tier: str | None = None
    prompt_token_ids: list[int] | None = None
    obfuscation: str | None = None
