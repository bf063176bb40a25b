"""Receives nothing; hands on the typed events of a streamed response.

Source: https://platform.openai.com/docs/api-reference/responses-streaming
"""

from typing import Any, Literal

from inferneo_client.types.answer import Answer
from inferneo_client.types.responses import ContentPart, Response, ResponseItem


class _Event(Answer, frozen=True, kw_only=True, gc=False):
    sequence_number: int = 0


class ResponseStateEvent(_Event, frozen=True, kw_only=True, gc=False):
    """The response as it stands: begun, going on, or ended in one of three ways."""

    type: Literal[
        "response.queued",
        "response.created",
        "response.in_progress",
        "response.completed",
        "response.incomplete",
        "response.failed",
    ]
    response: Response = Response()


class OutputItemEvent(_Event, frozen=True, kw_only=True, gc=False):
    """An item begins, still empty, or is whole."""

    type: Literal["response.output_item.added", "response.output_item.done"]
    output_index: int = 0
    item: ResponseItem = ResponseItem()


class ContentPartEvent(_Event, frozen=True, kw_only=True, gc=False):
    """A part of an item begins, still empty, or is whole."""

    type: Literal["response.content_part.added", "response.content_part.done"]
    item_id: str = ""
    output_index: int = 0
    content_index: int = 0
    part: ContentPart = ContentPart()


class _TextEvent(_Event, frozen=True, kw_only=True, gc=False):
    item_id: str = ""
    output_index: int = 0
    content_index: int = 0


class TextDeltaEvent(_TextEvent, frozen=True, kw_only=True, gc=False):
    """New text of a message."""

    type: Literal["response.output_text.delta"]
    delta: str = ""
    logprobs: list[Any] | None = None
    obfuscation: str | None = None


class TextDoneEvent(_TextEvent, frozen=True, kw_only=True, gc=False):
    """The whole text of a message's part."""

    type: Literal["response.output_text.done"]
    text: str = ""
    logprobs: list[Any] | None = None


class ReasoningDeltaEvent(_TextEvent, frozen=True, kw_only=True, gc=False):
    """New reasoning."""

    type: Literal["response.reasoning_text.delta"]
    delta: str = ""


class ReasoningDoneEvent(_TextEvent, frozen=True, kw_only=True, gc=False):
    """Reasoning, whole."""

    type: Literal["response.reasoning_text.done"]
    text: str = ""


class RefusalDeltaEvent(_TextEvent, frozen=True, kw_only=True, gc=False):
    """New text of a refusal."""

    type: Literal["response.refusal.delta"]
    delta: str = ""


class RefusalDoneEvent(_TextEvent, frozen=True, kw_only=True, gc=False):
    """A refusal, whole."""

    type: Literal["response.refusal.done"]
    refusal: str = ""


class ArgumentsDeltaEvent(_Event, frozen=True, kw_only=True, gc=False):
    """New text of a call's arguments."""

    type: Literal["response.function_call_arguments.delta"]
    item_id: str = ""
    output_index: int = 0
    delta: str = ""
    obfuscation: str | None = None


class ArgumentsDoneEvent(_Event, frozen=True, kw_only=True, gc=False):
    """A call's arguments, whole: a JSON document in a string."""

    type: Literal["response.function_call_arguments.done"]
    item_id: str = ""
    output_index: int = 0
    name: str = ""
    arguments: str = ""


class OtherEvent(_Event, frozen=True, kw_only=True, gc=False):
    """An event of another server's; `name` is its type, its fields are in `extra`."""

    type: Literal["other"] = "other"
    name: str = ""


ResponseEvent = (
    ResponseStateEvent
    | OutputItemEvent
    | ContentPartEvent
    | TextDeltaEvent
    | TextDoneEvent
    | ReasoningDeltaEvent
    | ReasoningDoneEvent
    | RefusalDeltaEvent
    | RefusalDoneEvent
    | ArgumentsDeltaEvent
    | ArgumentsDoneEvent
    | OtherEvent
)
