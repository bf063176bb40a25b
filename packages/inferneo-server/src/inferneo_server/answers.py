"""Receives deltas; hands on encoded chunks and whole answers, in the form that the route has."""

import time
from collections.abc import Sequence
from typing import Any, Protocol, cast
from uuid import uuid4

from inferneo_core.chat import (
    AnswerMessage,
    ChatChoice,
    ChatChunkChoice,
    ChatCompletion,
    ChatCompletionChunk,
    ChatDelta,
    FinishReason,
)
from inferneo_core.codec import encode
from inferneo_core.completions import Completion, CompletionChoice
from inferneo_core.errors import ServerError
from inferneo_core.usage import Usage
from inferneo_server.engines.base import Delta

_FINISH_REASONS = {"stop", "length"}


class Choice:
    """One whole answer, joined from its deltas."""

    __slots__ = ("finish_reason", "parts")

    def __init__(self) -> None:
        self.parts: list[str] = []
        self.finish_reason: FinishReason = "stop"

    @property
    def text(self) -> str:
        return "".join(self.parts)


class AnswerForm(Protocol):
    """How a route words its answers. `id` is the answer's id, given in every chunk of it."""

    @property
    def id(self) -> str: ...

    def opening(self, index: int) -> list[bytes]:
        """The chunks that begin a choice, before the engine has answered."""
        ...

    def chunks(self, delta: Delta) -> list[bytes]:
        """The chunks that tell of a delta; none where it adds nothing that can be seen."""
        ...

    def usage_chunk(self, usage: Usage) -> bytes:
        """The last chunk of a stream that was asked for its usage."""
        ...

    def whole(self, choices: Sequence[Choice], usage: Usage) -> bytes:
        """The answer in one piece."""
        ...


def finish_reason(delta: Delta) -> FinishReason | None:
    """Why the choice ends with this delta, in the contract's words.

    Raises:
        ServerError: the engine gave the request up.
    """
    reason = delta.finish_reason
    if reason is None or reason in _FINISH_REASONS:
        return cast("FinishReason | None", reason)
    raise ServerError(f"The engine ended the request: {reason}")


class ChatForm:
    """`/v1/chat/completions`: the role first, then text, then the finish reason by itself."""

    def __init__(self, model: str) -> None:
        self.id = f"chatcmpl-{uuid4().hex}"
        self._envelope: dict[str, Any] = {
            "id": self.id,
            "created": int(time.time()),
            "model": model,
        }

    def opening(self, index: int) -> list[bytes]:
        return [self._chunk(index, ChatDelta(role="assistant", content=""))]

    def chunks(self, delta: Delta) -> list[bytes]:
        reason = finish_reason(delta)
        chunks = []
        if delta.text:
            chunks.append(self._chunk(delta.index, ChatDelta(content=delta.text)))
        if reason:
            chunks.append(self._chunk(delta.index, ChatDelta(), reason))
        return chunks

    def _chunk(self, index: int, delta: ChatDelta, reason: FinishReason | None = None) -> bytes:
        choice = ChatChunkChoice(index=index, delta=delta, finish_reason=reason)
        return encode(ChatCompletionChunk(choices=[choice], **self._envelope))

    def usage_chunk(self, usage: Usage) -> bytes:
        return encode(ChatCompletionChunk(choices=[], usage=usage, **self._envelope))

    def whole(self, choices: Sequence[Choice], usage: Usage) -> bytes:
        answers = [
            ChatChoice(
                index=index,
                message=AnswerMessage(content=choice.text),
                finish_reason=choice.finish_reason,
            )
            for index, choice in enumerate(choices)
        ]
        return encode(ChatCompletion(choices=answers, usage=usage, **self._envelope))


class TextForm:
    """`/v1/completions`: text, the last of it with the finish reason."""

    def __init__(self, model: str) -> None:
        self.id = f"cmpl-{uuid4().hex}"
        self._envelope: dict[str, Any] = {
            "id": self.id,
            "created": int(time.time()),
            "model": model,
        }

    def opening(self, index: int) -> list[bytes]:
        return []

    def chunks(self, delta: Delta) -> list[bytes]:
        reason = finish_reason(delta)
        if not delta.text and reason is None:
            return []
        choice = CompletionChoice(index=delta.index, text=delta.text, finish_reason=reason)
        return [encode(Completion(choices=[choice], **self._envelope))]

    def usage_chunk(self, usage: Usage) -> bytes:
        return encode(Completion(choices=[], usage=usage, **self._envelope))

    def whole(self, choices: Sequence[Choice], usage: Usage) -> bytes:
        answers = [
            CompletionChoice(index=index, text=choice.text, finish_reason=choice.finish_reason)
            for index, choice in enumerate(choices)
        ]
        return encode(Completion(choices=answers, usage=usage, **self._envelope))
