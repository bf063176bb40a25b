"""Receives the tokens of one choice as they are drawn; hands on what each adds, and when to end."""

from collections.abc import Callable, Sequence
from typing import Any

from inferneo_core.logprobs import PromptLogprobs, TokenLogprob, TopLogprob
from inferneo_server.engines.base import DetailedDelta
from inferneo_server.engines.torch_messages import Plan
from inferneo_server.engines.torch_prompts import UNLIKELY
from inferneo_server.engines.torch_sampling import Likeliest, Row
from inferneo_server.engines.torch_text import Decode, Writer


class Choice:
    """One choice of a request, from its prompt to its end.

    Args:
        key: the request's number.
        index: the choice's number in it.
        prompt: the token ids of the prompt.
        plan: how to write it.
        row: draws its tokens.
        decode: gives the text of token ids.
        ends: token ids by which the model ends a text.
        token_text: gives the text of one token.

    Attributes:
        token_ids: the prompt, and what has been written.
        finished: whether it has ended.
        alone: whether its prompt is read in a step of its own.
        prompt_logprobs: of the prompt as far as it has been read, where they are asked for.
    """

    def __init__(
        self,
        key: int,
        index: int,
        prompt: Sequence[int],
        plan: Plan,
        row: Row,
        *,
        decode: Decode,
        ends: frozenset[int],
        token_text: Callable[[int], str],
    ) -> None:
        self.key = key
        self.plan = plan
        self.row = row
        self.token_ids = list(prompt)
        self.finished = False
        self.alone = plan.prompt_logprobs is not None
        self.prompt_logprobs: PromptLogprobs = [None]
        self.token_text = token_text
        self._index = index
        self._written = 0
        self._ends = ends
        self._told: list[DetailedDelta] = []
        self._writer = Writer(
            decode,
            prompt,
            plan.stops,
            include_stop=plan.include_stop,
            min_tokens=plan.min_tokens,
        )

    @property
    def wants_prompt_logprobs(self) -> bool:
        """Whether the logits of the prompt are needed, and were not told yet."""
        return self.plan.prompt_logprobs is not None and not self._written

    def joins(self, other: "Choice") -> bool:
        """Whether both begin with the same prompt, so that one reading does for both."""
        return self.key == other.key and not self._written and not other._written

    def add(self, token_id: int, detail: Likeliest | None, max_model_len: int) -> DetailedDelta:
        """Write a token, and end where it is the last one."""
        first = self._written == 0
        self.token_ids.append(token_id)
        self._written += 1
        text, reason, stop_reason = self._read(token_id, max_model_len)
        self.finished = reason is not None
        delta = DetailedDelta(
            index=self._index,
            text=text,
            token_ids=[token_id],
            finish_reason=reason,
            stop_reason=stop_reason,
            logprobs=None if detail is None else [self._logprob(token_id, detail)],
            prompt_logprobs=self.prompt_logprobs
            if first and self.plan.prompt_logprobs is not None
            else None,
        )
        if not self.plan.streamed:
            self._told.append(delta)
        return delta

    def _read(self, token_id: int, max_model_len: int) -> tuple[str, str | None, int | str | None]:
        """The text that a token adds, and whether it ends the choice, and by what."""
        plan = self.plan
        ended = token_id in self._ends and not plan.ignore_eos
        stopped = token_id in plan.stop_token_ids
        if (ended or stopped) and self._written > plan.min_tokens:
            # What ends a text is no part of it.
            text = self._writer.feed(token_id) if plan.include_stop else ""
            return text + self._writer.flush(), "stop", token_id if stopped else None
        text = self._writer.feed(token_id)
        if self._writer.stop is None and (
            self._written >= plan.max_tokens or len(self.token_ids) >= max_model_len
        ):
            text += self._writer.flush()
            if self._writer.stop is None:
                return text, "length", None
        if self._writer.stop is not None:
            return text, "stop", self._writer.stop
        return text, None, None

    def _logprob(self, token_id: int, detail: Likeliest) -> TokenLogprob:
        ranked = zip(detail.token_ids, detail.logprobs, strict=True)
        top = [TopLogprob(**self._named(each, logprob)) for each, logprob in ranked]
        return TokenLogprob(**self._named(token_id, detail.logprob), top_logprobs=top)

    def _named(self, token_id: int, logprob: float) -> dict[str, Any]:
        text = self.token_text(token_id)
        return {
            "token": text,
            "logprob": max(logprob, UNLIKELY),
            "bytes": list(text.encode(errors="replace")),
        }

    def told_whole(self, last: DetailedDelta) -> DetailedDelta:
        """All that was written, as one delta."""
        told, self._told = self._told, []
        return DetailedDelta(
            index=self._index,
            text="".join(delta.text for delta in told),
            token_ids=[token_id for delta in told for token_id in delta.token_ids],
            finish_reason=last.finish_reason,
            stop_reason=last.stop_reason,
            logprobs=None
            if last.logprobs is None
            else [each for delta in told for each in delta.logprobs or ()],
            prompt_logprobs=told[0].prompt_logprobs,
        )
