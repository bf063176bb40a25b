"""Receives the deltas of one choice; hands on what they turn out to be, in steady time per token.

It knows what is written as `<think>` and `<tool_call>`, as by DeepSeek R1, Qwen and Hermes.
"""

from collections.abc import Sequence, Set

from msgspec import Struct

from inferneo_server.engines.base import Delta
from inferneo_server.engines.hermes import Calls
from inferneo_server.engines.parsing import Parsed
from inferneo_server.engines.thinking import Thoughts


class Thinking(Struct, frozen=True, kw_only=True):
    """How a model reasons.

    Attributes:
        begun: whether the answer begins with reasoning even where it does not say so.
        told: whether reasoning is told.
        until_call: whether a call of a tool ends it too.
        first: the token that begins it.
        last: the tokens that end it.
    """

    begun: bool
    told: bool
    until_call: bool
    first: int | None
    last: Set[int]


class TextParser:
    """Reads one choice.

    Args:
        thinking: how the model reasons, if it does.
        calls: whether tools may be called.
        one_call: whether calls behind the first are left out.
    """

    def __init__(self, *, thinking: Thinking | None, calls: bool, one_call: bool) -> None:
        self.reasoning_tokens = 0
        self._thinking = thinking
        self._thoughts = None
        if thinking is not None:
            self._thoughts = Thoughts(begun=thinking.begun, until_call=thinking.until_call)
        self._counts = thinking is not None
        self._begun = thinking is not None and thinking.begun
        self._calls = Calls(one=one_call) if calls else None

    def feed(self, delta: Delta) -> Parsed:
        return self._read(delta.text, delta.token_ids, ended=delta.finish_reason is not None)

    def whole(self, text: str, token_ids: Sequence[int]) -> Parsed:
        return self._read(text, token_ids, ended=True)

    def _read(self, text: str, token_ids: Sequence[int], *, ended: bool) -> Parsed:
        parsed = Parsed()
        thinking, thoughts, calls = self._thinking, self._thoughts, self._calls
        if thinking is not None and thoughts is not None:
            reasoning, text = thoughts.feed(text)
            if ended:
                further, held = thoughts.end()
                reasoning, text = reasoning + further, text + held
            if thinking.told:
                parsed.reasoning = reasoning
            if self._counts:
                self._count(thinking, token_ids, over=thoughts.over)
        if calls is None:
            parsed.content = text
            return parsed
        if text:
            parsed.content, parsed.tool_calls = calls.feed(text)
        if ended:
            parsed.content += calls.end()
        return parsed

    def _count(self, thinking: Thinking, token_ids: Sequence[int], *, over: bool) -> None:
        for token_id in token_ids:
            if token_id == thinking.first:
                self._begun = True
            elif token_id in thinking.last:
                self._counts = False
                return
            elif self._begun:
                self.reasoning_tokens += 1
        # Some models write the end with other tokens than its own.
        self._counts = not over
