"""Receives deltas; hands on encoded chunks and whole answers, in the form that the route has."""

import time
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Literal, Protocol, cast
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

DoneObject = Literal["chat.completion.done", "text_completion.done"]

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
    """How a route words its answers.

    Attributes:
        id: the answer's id, given in every chunk of it.
        model: the name of the model that answers.
        done: what a WebSocket calls the end.
    """

    done: ClassVar[DoneObject]

    @property
    def id(self) -> str: ...
    @property
    def model(self) -> str: ...

    def opening(self, index: int) -> list[bytes]:
        """The chunks that begin a choice, before the engine has answered. Called once for each."""
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


class _Mould:
    """A chunk whose text is left open: all else in it is encoded once, not once for each token."""

    __slots__ = ("_after", "_before")

    _OPEN = "\ue000"  # of the private use area, and nowhere else in a chunk

    def __init__(self, chunk: Callable[[str], bytes]) -> None:
        self._before, self._after = chunk(self._OPEN).split(encode(self._OPEN))

    def fill(self, text: str) -> bytes:
        """The chunk with this text."""
        return self._before + encode(text) + self._after


class ChatForm:
    """`/v1/chat/completions`: the role first, then text, then the finish reason by itself."""

    done: ClassVar[DoneObject] = "chat.completion.done"

    def __init__(self, model: str) -> None:
        self.model = model
        self.id, self._envelope = _envelope("chatcmpl", model)
        self._moulds: dict[int, _Mould] = {}

    def opening(self, index: int) -> list[bytes]:
        self._moulds[index] = _Mould(lambda text: self._chunk(index, ChatDelta(content=text)))
        return [self._chunk(index, ChatDelta(role="assistant", content=""))]

    def chunks(self, delta: Delta) -> list[bytes]:
        chunks = [self._moulds[delta.index].fill(delta.text)] if delta.text else []
        if reason := finish_reason(delta):
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

    done: ClassVar[DoneObject] = "text_completion.done"

    def __init__(self, model: str) -> None:
        self.model = model
        self.id, self._envelope = _envelope("cmpl", model)
        self._moulds: dict[int, _Mould] = {}

    def opening(self, index: int) -> list[bytes]:
        self._moulds[index] = _Mould(lambda text: self._chunk(index, text))
        return []

    def chunks(self, delta: Delta) -> list[bytes]:
        if reason := finish_reason(delta):
            return [self._chunk(delta.index, delta.text, reason)]
        return [self._moulds[delta.index].fill(delta.text)] if delta.text else []

    def _chunk(self, index: int, text: str, reason: FinishReason | None = None) -> bytes:
        choice = CompletionChoice(index=index, text=text, finish_reason=reason)
        return encode(Completion(choices=[choice], **self._envelope))

    def usage_chunk(self, usage: Usage) -> bytes:
        return encode(Completion(choices=[], usage=usage, **self._envelope))

    def whole(self, choices: Sequence[Choice], usage: Usage) -> bytes:
        answers = [
            CompletionChoice(index=index, text=choice.text, finish_reason=choice.finish_reason)
            for index, choice in enumerate(choices)
        ]
        return encode(Completion(choices=answers, usage=usage, **self._envelope))


def _envelope(prefix: str, model: str) -> tuple[str, dict[str, Any]]:
    """The answer's id, and the fields that are the same in each of its chunks."""
    answer_id = f"{prefix}-{uuid4().hex}"
    return answer_id, {"id": answer_id, "created": int(time.time()), "model": model}
