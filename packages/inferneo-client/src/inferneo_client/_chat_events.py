"""Receives chat chunks; hands on typed events."""

from inferneo_client._folds import CallJoiner
from inferneo_client.types.chat import ChatChunkChoice, ChatCompletionChunk
from inferneo_client.types.events import (
    ChatEvent,
    ReasoningEvent,
    TextEvent,
    ToolCallEvent,
    UsageEvent,
)


class ChatEvents:
    """Turns chunks into events. A tool call is one event, once it is whole."""

    def __init__(self) -> None:
        self._calls: dict[int, CallJoiner] = {}
        self._told: dict[int, int] = {}

    def convert(self, chunks: list[ChatCompletionChunk]) -> list[ChatEvent]:
        """The events that some chunks tell of; often one each."""
        events: list[ChatEvent] = []
        for chunk in chunks:
            for choice in chunk.choices:
                delta = choice.delta
                if delta.content:
                    events.append(TextEvent(delta.content, choice.index))
                if reasoning := delta.reasoning_text:
                    events.append(ReasoningEvent(reasoning, choice.index))
                if delta.tool_calls or (choice.finish_reason and self._calls):
                    self._take_calls(choice, events)
            if chunk.usage is not None:
                events.append(UsageEvent(chunk.usage))
        return events

    def _take_calls(self, choice: ChatChunkChoice, events: list[ChatEvent]) -> None:
        index = choice.index
        joiner = self._calls.setdefault(index, CallJoiner())
        for piece in choice.delta.tool_calls or ():
            call = joiner.add(piece)
            self._tell(index, call.index, events)
        if choice.finish_reason:
            self._tell(index, max(joiner.calls, default=-1) + 1, events)

    def _tell(self, index: int, until: int, events: list[ChatEvent]) -> None:
        """Tell of the calls of a choice below a number that were not told yet."""
        joiner = self._calls[index]
        for number in sorted(joiner.calls):
            if self._told.get(index, -1) < number < until:
                self._told[index] = number
                events.append(ToolCallEvent(joiner.calls[number].whole(), index))

    def rest(self) -> list[ChatEvent]:
        """The calls of choices that never told why they ended."""
        events: list[ChatEvent] = []
        for index, joiner in self._calls.items():
            self._tell(index, max(joiner.calls, default=-1) + 1, events)
        return events
