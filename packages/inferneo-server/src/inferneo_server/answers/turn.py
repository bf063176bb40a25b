"""Receives the deltas of one choice; hands on what they turn out to be, with their logprobs."""

from collections.abc import Sequence

from inferneo_core.chat import FinishReason, ToolCall, ToolCallDelta
from inferneo_core.logprobs import TokenLogprob
from inferneo_server.answers.base import Choice, finish_reason
from inferneo_server.answers.chat import ChatDetails
from inferneo_server.engines.base import Delta, DetailedDelta
from inferneo_server.engines.parsing import Parsed, Parser


class Turn:
    """Reads a conversation's one answer, as it comes or at its end.

    Args:
        details: what is to be read beside text.

    Attributes:
        finish_reason: why it ended, once it has.
        stop_reason: the stop text or token id that ended it, if one did.
        called: whether it calls a tool.
    """

    def __init__(self, details: ChatDetails) -> None:
        self.finish_reason: FinishReason | None = None
        self.stop_reason: int | str | None = None
        self.called = False
        self._details = details
        self._parser: Parser | None = details.parsing.parser() if details.parsing else None
        self._unsaid: list[TokenLogprob] = []

    @property
    def reasoning_tokens(self) -> int | None:
        """How many of its tokens were reasoning; None where nobody can tell."""
        if self._parser is None or self._details.parsing is None:
            return None
        return self._parser.reasoning_tokens if self._details.parsing.reasons else None

    def feed(self, delta: Delta) -> Parsed:
        """Read the next delta.

        Raises:
            ServerError: the engine gave the request up.
        """
        if self._details.logprobs and isinstance(delta, DetailedDelta):
            self._unsaid += delta.logprobs or ()
        parsed = self._parser.feed(delta) if self._parser else Parsed(content=delta.text)
        self._note(parsed, finish_reason(delta), delta.stop_reason)
        return parsed

    def whole(self, choice: Choice) -> Parsed:
        """Read all of it at once."""
        if self._details.logprobs:
            self._unsaid = [entry for each in choice.details for entry in each.logprobs or ()]
        parsed = Parsed(content=choice.text)
        if self._details.parsing is not None:
            # Of its own: one that has been fed begins in the middle.
            self._parser = self._details.parsing.parser()
            parsed = self._parser.whole(choice.text, choice.token_ids)
        self._note(parsed, choice.finish_reason, choice.stop_reason)
        return parsed

    def _note(
        self, parsed: Parsed, reason: FinishReason | None, stop_reason: int | str | None
    ) -> None:
        self.called = self.called or bool(parsed.tool_calls)
        if reason is not None:
            self.finish_reason, self.stop_reason = reason, stop_reason

    def logprobs(self) -> list[TokenLogprob]:
        """Those of the tokens since it was last asked."""
        said, self._unsaid = self._unsaid, []
        return said


def of_calls(parsed: Parsed) -> tuple[Sequence[ToolCallDelta], Sequence[ToolCallDelta]]:
    """What a piece adds to the call that it goes on with, and to those that begin in it."""
    calls = parsed.tool_calls
    if not calls:
        return (), ()
    first = next((place for place, call in enumerate(calls) if call.id), len(calls))
    return calls[:first], calls[first:]


def whole_calls(parsed: Parsed) -> Sequence[ToolCall]:
    """The calls of an answer that was read at once."""
    return [delta.whole() for delta in parsed.tool_calls]
