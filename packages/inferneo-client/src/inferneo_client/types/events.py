"""Receives nothing; hands on the typed events of `chat.completions.stream()`."""

from typing import Literal

from msgspec import Struct

from inferneo_client.types.chat import ChatCompletion, ToolCall
from inferneo_client.types.usage import Usage


class TextEvent(Struct, frozen=True, gc=False):
    """New text of a choice."""

    text: str
    index: int = 0
    type: Literal["text"] = "text"


class ReasoningEvent(Struct, frozen=True, gc=False):
    """New reasoning of a choice."""

    text: str
    index: int = 0
    type: Literal["reasoning"] = "reasoning"


class ToolCallEvent(Struct, frozen=True, gc=False):
    """A call that a choice asks for, whole."""

    call: ToolCall
    index: int = 0
    type: Literal["tool_call"] = "tool_call"


class UsageEvent(Struct, frozen=True, gc=False):
    """The tokens that were used."""

    usage: Usage
    type: Literal["usage"] = "usage"


class DoneEvent(Struct, frozen=True, gc=False):
    """The end, with the whole answer."""

    completion: ChatCompletion
    type: Literal["done"] = "done"


ChatEvent = TextEvent | ReasoningEvent | ToolCallEvent | UsageEvent | DoneEvent
