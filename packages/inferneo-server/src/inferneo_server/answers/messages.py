"""Receives deltas; hands on the events and whole answers of `/v1/messages`."""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar
from uuid import uuid4

import msgspec
from msgspec import UNSET

from inferneo_core.chat import ToolCallDelta
from inferneo_core.codec import encode
from inferneo_core.errors import ApiError
from inferneo_core.messages import (
    Message,
    MessagesUsage,
    OutputBlock,
    OutputTokensDetails,
    StopReason,
    TextBlock,
    ThinkingBlock,
    ToolUseBlock,
    error_body,
)
from inferneo_core.usage import Usage
from inferneo_server.answers.base import Choice, DoneObject
from inferneo_server.answers.chat import ChatDetails
from inferneo_server.answers.turn import Turn, of_calls, whole_calls
from inferneo_server.engines.base import Delta

_DELTAS = {"text": ("text_delta", "text"), "thinking": ("thinking_delta", "thinking")}
_CALL_DELTA = ("input_json_delta", "partial_json")


class MessagesForm:
    """Blocks of text, thoughts and calls, each started and stopped, between the message's events.

    Args:
        model: the name of the model that answers.
        details: what is to be read beside text.
    """

    named: ClassVar[bool] = True
    done: ClassVar[DoneObject] = "message.done"

    def __init__(self, model: str, details: ChatDetails) -> None:
        self.id = f"msg_{uuid4().hex}"
        self.model = model
        self.usage: Callable[[], Usage] | None = None
        self._turn = Turn(details)
        self._open: str | None = None
        self._blocks = 0
        self._heads: tuple[bytes, bytes] = (b"", b"")

    @property
    def reasoning_tokens(self) -> int | None:
        return self._turn.reasoning_tokens

    def opening(self, index: int) -> list[bytes]:
        assert self.usage is not None
        message = self._message([], self.usage())
        return [_event("message_start", message=message)]

    def chunks(self, delta: Delta) -> list[bytes]:
        parsed = self._turn.feed(delta)
        events: list[bytes] = []
        if parsed.reasoning:
            events += self._started("thinking", ThinkingBlock(thinking=""))
            events.append(self._say(parsed.reasoning))
        # Of a call that goes on, first: nothing can be added to a block that is closed.
        ongoing, begun = of_calls(parsed)
        events += self._call_events(ongoing)
        if parsed.content:
            events += self._started("text", TextBlock(text=""))
            events.append(self._say(parsed.content))
        events += self._call_events(begun)
        if self._turn.finish_reason:
            events += self._ended()
        return events

    def _call_events(self, calls: Sequence[ToolCallDelta]) -> list[bytes]:
        events: list[bytes] = []
        for call in calls:
            function = call.function or None
            if call.id or (function and function.name):
                name = (function and function.name) or ""
                block = ToolUseBlock(id=call.id or f"toolu_{uuid4().hex}", name=name, input={})
                events += self._started(f"call {call.index}", block)
            if function and function.arguments and self._open == f"call {call.index}":
                events.append(self._say(function.arguments))
        return events

    def _started(self, kind: str, block: OutputBlock) -> list[bytes]:
        """Make sure that a block of that kind is open."""
        if self._open == kind:
            return []
        events = self._stopped()
        self._open = kind
        name, field = _DELTAS.get(kind, _CALL_DELTA)
        # All but the text is encoded once for each block.
        self._heads = (
            b'{"type":"content_block_delta","index":%d,"delta":{"type":"%b","%b":'
            % (self._blocks, name.encode(), field.encode()),
            b"}}",
        )
        events.append(_event("content_block_start", index=self._blocks, content_block=block))
        return events

    def _say(self, text: str) -> bytes:
        before, after = self._heads
        return before + encode(text) + after

    def _stopped(self) -> list[bytes]:
        """The events that end the open block, if one is."""
        if self._open is None:
            return []
        events = [_event("content_block_stop", index=self._blocks)]
        self._open = None
        self._blocks += 1
        return events

    def _ended(self) -> list[bytes]:
        assert self.usage is not None
        delta = {"stop_reason": self._stop_reason(), "stop_sequence": self._stop_sequence()}
        return [
            *self._stopped(),
            _event("message_delta", delta=delta, usage=_usage(self.usage())),
        ]

    def usage_chunk(self, usage: Usage) -> bytes:
        # The usage stands in the event before.
        return _event("message_stop")

    def end(self, error: ApiError | None) -> bytes:
        return b"" if error is None else encode(error_body(error))

    def whole(self, choices: Sequence[Choice], usage: Callable[[], Usage]) -> bytes:
        parsed = self._turn.whole(choices[0])
        blocks: list[OutputBlock] = []
        if parsed.reasoning:
            blocks.append(ThinkingBlock(thinking=parsed.reasoning))
        if parsed.content:
            blocks.append(TextBlock(text=parsed.content))
        blocks += [
            ToolUseBlock(
                id=call.id or f"toolu_{uuid4().hex}",
                name=call.function.name,
                input=_input(call.function.arguments),
            )
            for call in whole_calls(parsed)
        ]
        message = self._message(blocks, usage())
        return encode(
            msgspec.structs.replace(
                message, stop_reason=self._stop_reason(), stop_sequence=self._stop_sequence()
            )
        )

    def _message(self, blocks: list[OutputBlock], usage: Usage) -> Message:
        return Message(id=self.id, model=self.model, content=blocks, usage=_usage(usage))

    def _stop_reason(self) -> StopReason:
        if self._turn.finish_reason == "length":
            return "max_tokens"
        if self._turn.called:
            return "tool_use"
        return "end_turn" if self._stop_sequence() is None else "stop_sequence"

    def _stop_sequence(self) -> str | None:
        stop = self._turn.stop_reason
        return stop if isinstance(stop, str) else None


def _event(kind: str, **fields: Any) -> bytes:
    return encode({"type": kind, **fields})


def _input(arguments: str) -> dict[str, Any]:
    """The arguments of a call; none where what the model wrote is no object, or was cut."""
    try:
        return msgspec.json.decode(arguments, type=dict[str, Any])
    except (msgspec.DecodeError, RecursionError):
        return {}


def _usage(usage: Usage) -> MessagesUsage:
    cached = usage.prompt_tokens_details.cached_tokens if usage.prompt_tokens_details else 0
    details = usage.completion_tokens_details
    return MessagesUsage(
        input_tokens=usage.prompt_tokens - cached,
        cache_read_input_tokens=cached,
        output_tokens=usage.completion_tokens,
        output_tokens_details=OutputTokensDetails(thinking_tokens=details.reasoning_tokens)
        if details
        else UNSET,
    )
