"""Receives deltas; hands on the events and whole answers of `/api/v1/generate`."""

import time
from collections.abc import Callable, Sequence
from typing import ClassVar
from uuid import uuid4

from inferneo_core.codec import encode
from inferneo_core.errors import ApiError
from inferneo_core.native import Generated, TokenEvent, error_body
from inferneo_core.usage import Usage
from inferneo_server.answers.base import Choice, DoneObject
from inferneo_server.answers.chat import ChatDetails
from inferneo_server.answers.turn import Turn
from inferneo_server.engines.base import Delta


class NativeForm:
    """Text, and nothing beside it: what a model thinks first is not told. The last event has
    `finished`, with the last of the text.

    Args:
        model: the name of the model that answers.
        details: what is to be read beside text.
        began: when the request came, by `time.perf_counter`.
    """

    named: ClassVar[bool] = False
    # No socket carries it.
    done: ClassVar[DoneObject] = "text_completion.done"

    def __init__(self, model: str, details: ChatDetails, began: float) -> None:
        self.id = f"gen-{uuid4().hex}"
        self.model = model
        self.usage: Callable[[], Usage] | None = None
        self._turn = Turn(details)
        self._began = began
        self._latency: float | None = None

    @property
    def reasoning_tokens(self) -> int | None:
        return self._turn.reasoning_tokens

    def opening(self, index: int) -> list[bytes]:
        return []

    def chunks(self, delta: Delta) -> list[bytes]:
        text = self._turn.feed(delta).content or ""
        if self._turn.finish_reason:
            return [encode(TokenEvent(token=text, finished=True))]
        return [encode(TokenEvent(token=text, finished=False))] if text else []

    def usage_chunk(self, usage: Usage) -> bytes:
        raise NotImplementedError("an event of this API has no place for it")

    def end(self, error: ApiError | None) -> bytes:
        return b"" if error is None else encode(error_body(error))

    def whole(self, choices: Sequence[Choice], usage: Callable[[], Usage]) -> bytes:
        text = self._turn.whole(choices[0]).content or ""
        if self._latency is None:
            # A repeat, which is told the same answer, is told the same time.
            self._latency = round(time.perf_counter() - self._began, 4)
        return encode(Generated(text=text, usage=usage(), latency=self._latency))
