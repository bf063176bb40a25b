"""Receives the chunks of a stream; hands on the whole answer that they make."""

from collections.abc import Iterable
from typing import Protocol, TypeVar

from msgspec.structs import replace

from inferneo_client.types.chat import (
    ChatChoice,
    ChatChunkChoice,
    ChatCompletion,
    ChatCompletionChunk,
    ChatMessage,
    ChoiceLogprobs,
    FunctionCall,
    TokenLogprob,
    ToolCall,
    ToolCallDelta,
)
from inferneo_client.types.completions import Completion, CompletionChoice
from inferneo_client.types.usage import Usage

C = TypeVar("C", contravariant=True)
W = TypeVar("W", covariant=True)


class Fold(Protocol[C, W]):
    """Joins chunks of one kind to a whole answer of another."""

    def add(self, chunks: Iterable[C]) -> None:
        """Take the next chunks."""
        ...

    def whole(self) -> W:
        """The answer as far as it came."""
        ...

    def finished(self, choices: int) -> bool:
        """Whether so many choices have all told why they ended."""
        ...


class CallParts:
    """A tool call as it grows."""

    __slots__ = ("arguments", "id", "index", "name")

    def __init__(self, index: int) -> None:
        self.index = index
        self.id = ""
        self.name = ""
        self.arguments: list[str] = []

    def whole(self) -> ToolCall:
        """The call as far as it came."""
        function = FunctionCall(name=self.name, arguments="".join(self.arguments))
        return ToolCall(id=self.id, function=function)


class CallJoiner:
    """Joins the pieces of a choice's tool calls.

    A piece belongs to the call of its `index`. Servers that leave it out begin a call with its id
    or its name, and go on with the last one.
    """

    def __init__(self) -> None:
        self.calls: dict[int, CallParts] = {}

    def add(self, piece: ToolCallDelta) -> CallParts:
        """Take a piece, and give the call that it belongs to."""
        call = self._of(piece)
        call.id = call.id or piece.id or ""
        if piece.function is not None:
            # Ollama and others repeat the name in each piece: it is whole from the start.
            call.name = call.name or piece.function.name or ""
            if piece.function.arguments:
                call.arguments.append(piece.function.arguments)
        return call

    def _of(self, piece: ToolCallDelta) -> CallParts:
        index = piece.index
        if index is None:
            index = max(self.calls, default=-1)
            last = self.calls.get(index)
            if last is None or (piece.id and last.id and piece.id != last.id):
                index += 1
        if index not in self.calls:
            self.calls[index] = CallParts(index)
        return self.calls[index]

    def whole(self) -> list[ToolCall] | None:
        """All calls, in the order of their index; None where there are none."""
        return [self.calls[index].whole() for index in sorted(self.calls)] or None


class _ChatParts:
    """One choice as it grows."""

    __slots__ = ("calls", "content", "finish_reason", "logprobs", "reasoning", "refusal", "role")

    def __init__(self) -> None:
        self.role = "assistant"
        self.content: list[str] = []
        self.reasoning: list[str] = []
        self.refusal: list[str] = []
        self.calls = CallJoiner()
        self.logprobs: list[TokenLogprob] | None = None
        self.finish_reason: str | None = None

    def add(self, choice: ChatChunkChoice) -> None:
        delta = choice.delta
        if delta.content:
            self.content.append(delta.content)
        if choice.finish_reason:
            self.finish_reason = choice.finish_reason
        # Nearly no piece has any, and a property costs as much as all of this.
        if delta.reasoning is not None or delta.reasoning_content is not None:
            self.reasoning.append(delta.reasoning_text or "")
        if delta.refusal:
            self.refusal.append(delta.refusal)
        if delta.role:
            self.role = delta.role
        if delta.tool_calls:
            for piece in delta.tool_calls:
                self.calls.add(piece)
        if choice.logprobs is not None and choice.logprobs.content:
            self.logprobs = [*(self.logprobs or ()), *choice.logprobs.content]

    def whole(self, index: int) -> ChatChoice:
        calls = self.calls.whole()
        reasoning = "".join(self.reasoning) or None
        message = ChatMessage(
            role=self.role,
            content="".join(self.content) if self.content or not calls else None,
            refusal="".join(self.refusal) or None,
            reasoning=reasoning,
            reasoning_content=reasoning,
            tool_calls=calls,
        )
        return ChatChoice(
            index=index,
            message=message,
            logprobs=ChoiceLogprobs(content=self.logprobs) if self.logprobs else None,
            finish_reason=self.finish_reason,
        )


class ChatFold:
    """Joins chat chunks to a `ChatCompletion`."""

    def __init__(self) -> None:
        self._choices: dict[int, _ChatParts] = {}
        self._first: ChatCompletionChunk | None = None
        self._usage: Usage | None = None

    def add(self, chunks: Iterable[ChatCompletionChunk]) -> None:
        for chunk in chunks:
            if self._first is None:
                self._first = chunk
            if chunk.usage is not None:
                self._usage = chunk.usage
            for choice in chunk.choices:
                parts = self._choices.get(choice.index)
                if parts is None:
                    parts = self._choices[choice.index] = _ChatParts()
                parts.add(choice)

    def whole(self) -> ChatCompletion:
        first = self._first or ChatCompletionChunk()
        return ChatCompletion(
            id=first.id,
            created=first.created,
            model=first.model,
            system_fingerprint=first.system_fingerprint,
            service_tier=first.service_tier,
            choices=[self._choices[index].whole(index) for index in sorted(self._choices)],
            usage=self._usage,
        )

    def finished(self, choices: int) -> bool:
        return _finished([parts.finish_reason for parts in self._choices.values()], choices)


class TextFold:
    """Joins chunks of `/v1/completions` to a `Completion`."""

    def __init__(self) -> None:
        self._texts: dict[int, list[str]] = {}
        self._last: dict[int, CompletionChoice] = {}
        self._first: Completion | None = None
        self._usage: Usage | None = None

    def add(self, chunks: Iterable[Completion]) -> None:
        for chunk in chunks:
            self._first = self._first or chunk
            self._usage = chunk.usage or self._usage
            for choice in chunk.choices:
                self._texts.setdefault(choice.index, []).append(choice.text)
                last = self._last.get(choice.index)
                if last is None or choice.finish_reason:
                    self._last[choice.index] = choice

    def whole(self) -> Completion:
        choices = [
            replace(self._last[index], text="".join(self._texts[index]))
            for index in sorted(self._texts)
        ]
        return replace(self._first or Completion(), choices=choices, usage=self._usage)

    def finished(self, choices: int) -> bool:
        return _finished([choice.finish_reason for choice in self._last.values()], choices)


def _finished(reasons: list[str | None], choices: int) -> bool:
    return len(reasons) >= choices and all(reasons)
