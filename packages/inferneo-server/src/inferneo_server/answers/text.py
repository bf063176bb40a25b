"""Receives deltas; hands on the chunks and whole answers of `/v1/completions`."""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from msgspec import UNSET, Struct, UnsetType

from inferneo_core.chat import FinishReason
from inferneo_core.codec import encode
from inferneo_core.completions import Completion, CompletionChoice
from inferneo_core.logprobs import PromptLogprob, PromptLogprobs, TextLogprobs, TokenLogprob
from inferneo_core.usage import Usage
from inferneo_server.answers.base import (
    Choice,
    DoneObject,
    Mould,
    UnnamedEvents,
    envelope,
    finish_reason,
)
from inferneo_server.engines.base import Delta, DetailedDelta


class TextForm(UnnamedEvents):
    """Text, the last of it with the finish reason."""

    done: ClassVar[DoneObject] = "text_completion.done"
    reasoning_tokens: int | None = None

    def __init__(self, model: str) -> None:
        self.model = model
        self.usage: Callable[[], Usage] | None = None
        self.id, self._envelope = envelope("cmpl", model)
        self._moulds: dict[int, Mould] = {}

    def opening(self, index: int) -> list[bytes]:
        self._moulds[index] = Mould(lambda text: self._chunk(index, text))
        return []

    def chunks(self, delta: Delta) -> list[bytes]:
        if reason := finish_reason(delta):
            stop_reason = _set(delta.stop_reason)
            return [self._chunk(delta.index, delta.text, reason, stop_reason=stop_reason)]
        return [self._moulds[delta.index].fill(delta.text)] if delta.text else []

    def _chunk(
        self, index: int, text: str, reason: FinishReason | None = None, **fields: Any
    ) -> bytes:
        choice = CompletionChoice(index=index, text=text, finish_reason=reason, **fields)
        return encode(Completion(choices=[choice], **self._envelope))

    def usage_chunk(self, usage: Usage) -> bytes:
        return encode(Completion(choices=[], usage=usage, **self._envelope))

    def whole(self, choices: Sequence[Choice], usage: Callable[[], Usage]) -> bytes:
        answers = [
            CompletionChoice(
                index=index,
                text=choice.text,
                finish_reason=choice.finish_reason,
                stop_reason=_set(choice.stop_reason),
            )
            for index, choice in enumerate(choices)
        ]
        return encode(Completion(choices=answers, usage=usage(), **self._envelope))


class TextDetails(Struct, frozen=True, kw_only=True):
    """What a text's answer tells beside its text.

    Attributes:
        prompts: the texts of the prompts, where they are echoed.
        prompt_tokens: the text of each token of the prompts, where they are echoed with logprobs.
        prompt_token_ids: the token ids of the prompts.
        logprobs: how many of the likeliest tokens to tell at each place, or None.
        prompt_logprobs: whether to tell the logprobs of the prompt.
        token_ids: whether to tell the token ids, of the prompt too.
        continuous_usage: whether each chunk tells the usage so far.
        choices: how many choices each prompt gets.
        best_of: of how many each prompt's choices are the best.
    """

    prompts: Sequence[str] = ()
    prompt_tokens: Sequence[Sequence[str]] = ()
    prompt_token_ids: Sequence[Sequence[int]] = ()
    logprobs: int | None = None
    prompt_logprobs: bool = False
    token_ids: bool = False
    continuous_usage: bool = False
    choices: int = 1
    best_of: int = 1

    @property
    def any(self) -> bool:
        """Whether there is anything to tell."""
        return bool(
            self.prompts
            or self.logprobs is not None
            or self.prompt_logprobs
            or self.token_ids
            or self.continuous_usage
            or self.best_of > self.choices
        )


class _Piece(Struct, frozen=True, kw_only=True):
    """A part of a choice: what a delta adds, or all of it."""

    text: str
    token_ids: Sequence[int]
    details: Sequence[DetailedDelta]
    reason: FinishReason | None
    stop_reason: int | str | None


class DetailedTextForm(TextForm):
    """A text's answer with the prompt, logprobs or token ids, or the best of several."""

    def __init__(self, model: str, details: TextDetails) -> None:
        super().__init__(model)
        self._details = details
        self._offsets: dict[int, int] = {}

    def opening(self, index: int) -> list[bytes]:
        return []

    def chunks(self, delta: Delta) -> list[bytes]:
        reason = finish_reason(delta)
        piece = _Piece(
            text=delta.text,
            token_ids=delta.token_ids,
            details=[delta] if isinstance(delta, DetailedDelta) else [],
            reason=reason,
            stop_reason=delta.stop_reason,
        )
        choice = self._answer(delta.index, delta.index, piece)
        told = choice.text, reason, choice.logprobs, choice.token_ids, choice.prompt_logprobs
        if not any(told):
            return []
        further: dict[str, Any] = {}
        if self._details.continuous_usage and self.usage is not None:
            further["usage"] = self.usage()
        return [encode(Completion(choices=[choice], **self._envelope, **further))]

    def whole(self, choices: Sequence[Choice], usage: Callable[[], Usage]) -> bytes:
        details = self._details
        self._offsets.clear()
        answers: list[CompletionChoice] = []
        for first in range(0, len(choices), details.best_of):
            numbers = list(range(first, first + details.best_of))
            if details.best_of > details.choices:
                numbers.sort(key=lambda number: -_mean_logprob(choices[number]))
            for number in numbers[: details.choices]:
                choice = choices[number]
                piece = _Piece(
                    text=choice.text,
                    token_ids=choice.token_ids,
                    details=choice.details,
                    reason=choice.finish_reason,
                    stop_reason=choice.stop_reason,
                )
                answers.append(self._answer(len(answers), number, piece))
        return encode(Completion(choices=answers, usage=usage(), **self._envelope))

    def _answer(self, index: int, number: int, piece: _Piece) -> CompletionChoice:
        details, prompt = self._details, number // self._details.best_of
        first = number not in self._offsets
        self._offsets.setdefault(number, 0)
        of_prompt = piece.details[0].prompt_logprobs if piece.details and first else None
        fields: dict[str, Any] = {}
        if details.token_ids:
            fields["token_ids"] = list(piece.token_ids)
            if first:
                fields["prompt_token_ids"] = list(details.prompt_token_ids[prompt])
        if details.prompt_logprobs and first:
            fields["prompt_logprobs"] = list(of_prompt or ())
        if details.logprobs is not None:
            fields["logprobs"] = self._logprobs(number, piece.details, of_prompt)
        echoed = details.prompts[prompt] if details.prompts and first else ""
        return CompletionChoice(
            index=index,
            text=echoed + piece.text,
            finish_reason=piece.reason,
            stop_reason=_set(piece.stop_reason),
            **fields,
        )

    def _logprobs(
        self, number: int, deltas: Sequence[DetailedDelta], of_prompt: PromptLogprobs | None
    ) -> TextLogprobs:
        details, prompt = self._details, number // self._details.best_of
        table = TextLogprobs(text_offset=[], token_logprobs=[], tokens=[], top_logprobs=[])
        if details.prompts and of_prompt:
            ids, tokens = details.prompt_token_ids[prompt], details.prompt_tokens[prompt]
            for token_id, token, candidates in zip(ids, tokens, of_prompt, strict=False):
                self._add_prompt_token(table, number, token_id, token, candidates)
        for delta in deltas:
            for entry in delta.logprobs or ():
                self._add(table, number, entry)
        return table

    def _add(self, table: TextLogprobs, number: int, entry: TokenLogprob) -> None:
        best = {one.token: one.logprob for one in entry.top_logprobs[: self._details.logprobs]}
        # OpenAI tells of the token that was written even where it is none of the likeliest.
        self._row(table, number, entry.token, entry.logprob, {**best, entry.token: entry.logprob})

    def _add_prompt_token(
        self,
        table: TextLogprobs,
        number: int,
        token_id: int,
        token: str,
        candidates: dict[int, PromptLogprob] | None,
    ) -> None:
        if candidates is None:
            # Nothing comes before the first token that could foretell it.
            self._row(table, number, token, None, None)
            return
        best = sorted(candidates.values(), key=lambda one: -one.logprob)[: self._details.logprobs]
        own = candidates[token_id]
        top = {one.decoded_token or "": one.logprob for one in [*best, own]}
        self._row(table, number, token, own.logprob, top)

    def _row(
        self,
        table: TextLogprobs,
        number: int,
        token: str,
        logprob: float | None,
        top: dict[str, float] | None,
    ) -> None:
        offset = self._offsets[number]
        table.text_offset.append(offset)
        table.tokens.append(token)
        table.token_logprobs.append(logprob)
        table.top_logprobs.append(top)
        self._offsets[number] = offset + len(token)


def _mean_logprob(choice: Choice) -> float:
    values = [entry.logprob for delta in choice.details for entry in delta.logprobs or ()]
    return sum(values) / len(values) if values else 0.0


def _set(value: int | str | None) -> int | str | UnsetType:
    return UNSET if value is None else value
