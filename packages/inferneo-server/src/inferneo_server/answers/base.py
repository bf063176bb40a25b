"""Receives nothing; hands on what all forms of an answer share."""

import time
from collections.abc import Callable, Sequence
from secrets import token_hex
from typing import Any, ClassVar, Literal, Protocol, cast

from inferneo_core.chat import FinishReason
from inferneo_core.codec import encode
from inferneo_core.errors import ApiError, ServerError
from inferneo_core.sse import DONE
from inferneo_core.usage import Usage
from inferneo_server.engines.base import Delta, DetailedDelta

DoneObject = Literal[
    "chat.completion.done", "text_completion.done", "response.done", "message.done"
]

_FINISH_REASONS = {"stop", "length"}


class Choice:
    """One whole answer, joined from its deltas."""

    __slots__ = ("details", "finish_reason", "parts", "stop_reason", "token_ids")

    def __init__(self) -> None:
        self.parts: list[str] = []
        self.token_ids: list[int] = []
        self.details: list[DetailedDelta] = []
        self.finish_reason: FinishReason = "stop"
        self.stop_reason: int | str | None = None

    @property
    def text(self) -> str:
        return "".join(self.parts)

    def add(self, delta: Delta) -> None:
        """Join the next delta."""
        self.parts.append(delta.text)
        self.token_ids += delta.token_ids
        if isinstance(delta, DetailedDelta):
            self.details.append(delta)
        if reason := finish_reason(delta):
            self.finish_reason = reason
            self.stop_reason = delta.stop_reason


class AnswerForm(Protocol):
    """How a route words its answers.

    Attributes:
        named: whether each event of a stream is named by the `type` that its JSON begins with.
        id: the answer's id, given in every chunk of it.
        model: the name of the model that answers.
        done: what a WebSocket calls the end.
        usage: tells the usage so far; set by the generation.
    """

    named: ClassVar[bool]
    done: ClassVar[DoneObject]
    usage: Callable[[], Usage] | None

    @property
    def id(self) -> str: ...
    @property
    def model(self) -> str: ...
    @property
    def reasoning_tokens(self) -> int | None:
        """How many of the tokens written were reasoning; None where nobody can tell."""
        ...

    def opening(self, index: int) -> list[bytes]:
        """The chunks that begin a choice, before the engine has answered. Called once for each."""
        ...

    def chunks(self, delta: Delta) -> list[bytes]:
        """The chunks that tell of a delta; none where it adds nothing that can be seen."""
        ...

    def usage_chunk(self, usage: Usage) -> bytes:
        """The last chunk of a stream that was asked for its usage."""
        ...

    def end(self, error: ApiError | None) -> bytes:
        """What a stream ends with, behind its events; nothing where those tell all."""
        ...

    def whole(self, choices: Sequence[Choice], usage: Callable[[], Usage]) -> bytes:
        """The answer in one piece; its usage can be told once its choices have been read."""
        ...


class UnnamedEvents:
    """The events of chat and text: without names, and `[DONE]` or an error at the end."""

    named: ClassVar[bool] = False

    def end(self, error: ApiError | None) -> bytes:
        return DONE if error is None else encode(error.body())


def finish_reason(delta: Delta) -> FinishReason | None:
    """Why the choice ends with this delta, in the contract's words.

    Raises:
        ServerError: the engine gave the request up.
    """
    reason = delta.finish_reason
    if reason is None or reason in _FINISH_REASONS:
        return cast("FinishReason | None", reason)
    raise ServerError(f"The engine ended the request: {reason}")


class Mould:
    """A chunk whose text is left open: all else in it is encoded once, not once for each token."""

    __slots__ = ("_after", "_before")

    _OPEN = "\ue000"  # of the private use area, and nowhere else in a chunk

    def __init__(self, chunk: Callable[[str], bytes]) -> None:
        self._before, self._after = chunk(self._OPEN).split(encode(self._OPEN))

    def fill(self, text: str) -> bytes:
        """The chunk with this text."""
        return self._before + encode(text) + self._after


def envelope(prefix: str, model: str) -> tuple[str, dict[str, Any]]:
    """The answer's id, and the fields that are the same in each of its chunks."""
    answer_id = f"{prefix}-{token_hex(16)}"
    return answer_id, {"id": answer_id, "created": int(time.time()), "model": model}
