"""Receives requests; hands on what each step wrote for them: all choices side by side.

New choices are read in a batch of their own, a few tokens in each step, and then join those that
are being written; what has ended leaves its place to the last one.
"""

import logging
from collections import deque
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any

from inferneo_core.logprobs import PromptLogprobs
from inferneo_server.engines.base import DetailedDelta
from inferneo_server.engines.torch_choice import Choice
from inferneo_server.engines.torch_messages import Failed, Step, Write
from inferneo_server.engines.torch_model import Model
from inferneo_server.engines.torch_prompts import prompt_logprobs
from inferneo_server.engines.torch_sampling import sample

FAILED = "The engine failed on this request"
# Prompts that are read together, at most.
_GROUP = 16

logger = logging.getLogger(__name__)


class Request:
    """A request that is worked on.

    Args:
        write: what is to be written.
        choices: made for it.
    """

    def __init__(self, write: Write, choices: Sequence[Choice]) -> None:
        self.key = write.key
        self.plan = write.plan
        self.left = len(choices)
        self.whole: list[DetailedDelta] = []


class Scheduler:
    """Decides which choices a step works on.

    Args:
        model: writes.
        make: makes the choices of a request.
        max_rows: choices that are written at once, at most.
    """

    def __init__(
        self, model: Model, make: Callable[[Write, Any], Sequence[Choice]], max_rows: int
    ) -> None:
        self._model = model
        self._make = make
        self._max_rows = max_rows
        self._requests: dict[int, Request] = {}
        self._waiting: deque[Choice] = deque()
        self._reading: list[list[Choice]] = []
        self._reading_batch = model.new_batch()
        self._rows: list[Choice] = []
        self._batch = model.new_batch()

    @property
    def busy(self) -> bool:
        """Whether there is anything to do."""
        return bool(self._waiting or self._reading or self._rows)

    def add(self, write: Write, grammar: Any = None) -> None:
        """Begin a request."""
        choices = self._make(write, grammar)
        self._requests[write.key] = Request(write, choices)
        self._waiting.extend(choices)

    def abort(self, key: int) -> None:
        """Forget a request."""
        if self._requests.pop(key, None) is None:
            return
        self._waiting = deque(choice for choice in self._waiting if choice.key != key)
        self._leave(lambda choice: choice.key == key)
        for number in reversed(range(len(self._reading))):
            kept = [choice for choice in self._reading[number] if choice.key != key]
            self._reading[number] = kept
            if not kept:
                self._drop_reading(number)

    def step(self) -> list[Step | Failed]:
        """Read some more of what is new, and write one token of each of the others."""
        reports: list[Step | Failed] = []
        if not self._reading:
            self._reading = self._next_group()
        if self._reading:
            reports += self._guarded(self._read, self._reading_failed)
        if self._rows:
            self._make_room()
            reports += self._guarded(self._write, self._writing_failed)
        return reports

    def _guarded(
        self,
        work: Callable[[], list[Step | Failed]],
        failed: Callable[[], list[Step | Failed]],
    ) -> list[Step | Failed]:
        try:
            return work()
        except Exception as error:
            if broken(error):
                raise
            logger.exception("A step of the torch engine failed")
            return failed()

    # What is new.

    def _next_group(self) -> list[list[Choice]]:
        """The next prompts to read together, each with the choices that begin with it."""
        group: list[list[Choice]] = []
        room = self._max_rows - len(self._rows)
        longest = 0
        for choice in islice(self._waiting, room):
            length = len(choice.token_ids)
            if group and choice.joins(group[-1][0]):
                group[-1].append(choice)
                continue
            longest = max(longest, length)
            alone = choice.alone or (group and group[0][0].alone)
            if group and (
                alone
                or len(group) == _GROUP
                or longest * (len(group) + 1) > self._model.step_tokens
            ):
                break
            if not self._fits(length, sum(map(len, group)) + 1) and (group or self._rows):
                break
            group.append([choice])
        for _ in range(sum(map(len, group))):
            self._waiting.popleft()
        self._reading_batch.lengths = [0] * len(group)
        return group

    def _fits(self, length: int, more: int) -> bool:
        """Whether the cache holds so many more rows, one of which has so many tokens."""
        longest = max([length, *self._batch.lengths]) + 1
        size = max(self._batch.token_bytes, self._reading_batch.token_bytes)
        return (len(self._rows) + more) * longest * size <= self._model.cache_bytes

    def _read(self) -> list[Step | Failed]:
        batch, limit = self._reading_batch, self._model.step_tokens
        firsts = [choices[0] for choices in self._reading]
        parts = [
            choice.token_ids[start : start + limit]
            for choice, start in zip(firsts, batch.lengths, strict=True)
        ]
        told = firsts[0].wants_prompt_logprobs
        logits = self._model.forward(batch, parts, every=told)
        if told:
            told_part = self._prompt_part(firsts[0], logits, len(parts[0]))
            for choice in self._reading[0]:
                choice.prompt_logprobs += told_part
            logits = logits[-1:]
        if batch.lengths[0] < len(firsts[0].token_ids):
            return []  # a long one, alone
        rows = [row for row, choices in enumerate(self._reading) for _ in choices]
        choices = [choice for each in self._reading for choice in each]
        reports = self._draw(logits[rows], choices)
        self._reading = []
        for row, choice in zip(rows, choices, strict=True):
            if not choice.finished and choice.key in self._requests:
                self._batch.take(batch, row)
                self._rows.append(choice)
        self._reading_batch = self._model.new_batch()
        return reports

    def _prompt_part(self, choice: Choice, logits: Any, count: int) -> PromptLogprobs:
        """The logprobs of the prompt's tokens that follow those that were just read."""
        end = self._reading_batch.lengths[0]
        following = choice.token_ids[end - count + 1 : end + 1]
        return prompt_logprobs(
            logits[: len(following)],
            following,
            choice.plan.prompt_logprobs or 0,
            choice.token_text,
        )

    def _drop_reading(self, number: int) -> None:
        if number != len(self._reading) - 1:
            self._reading[number] = self._reading[-1]
        self._reading.pop()
        self._reading_batch.drop(number)

    def _reading_failed(self) -> list[Step | Failed]:
        """One of a group may be at fault: each is tried again alone, and fails alone."""
        group, self._reading = self._reading, []
        self._reading_batch = self._model.new_batch()
        choices = [choice for each in group for choice in each if choice.key in self._requests]
        if len(group) > 1:
            for choice in choices:
                choice.alone = True
            self._waiting.extendleft(reversed(choices))
            return []
        return self._failed(choices)

    # What is being written.

    def _write(self) -> list[Step | Failed]:
        logits = self._model.forward(self._batch, [[row.token_ids[-1]] for row in self._rows])
        reports = self._draw(logits, self._rows)
        self._leave(lambda choice: choice.finished or choice.key not in self._requests)
        return reports

    def _make_room(self) -> None:
        """Where the cache would be too large, send those that came last back to wait."""
        while len(self._rows) > 1 and not self._fits(0, 0):
            self._waiting.appendleft(self._rows.pop())
            self._batch.drop(len(self._rows))

    def _writing_failed(self) -> list[Step | Failed]:
        choices, self._rows = self._rows, []
        self._batch = self._model.new_batch()
        return self._failed(choices)

    def _leave(self, ended: Callable[[Choice], bool]) -> None:
        for number in reversed(range(len(self._rows))):
            if ended(self._rows[number]):
                self._rows[number] = self._rows[-1]
                self._rows.pop()
                self._batch.drop(number)

    # What is told.

    def _draw(self, logits: Any, choices: Sequence[Choice]) -> list[Step | Failed]:
        """Draw a token for each choice and tell what they make of it."""
        token_ids, details = sample(logits, [choice.row for choice in choices])
        steps: dict[int, list[DetailedDelta]] = {}
        for choice, token_id, detail in zip(choices, token_ids, details, strict=True):
            delta = choice.add(token_id, detail, self._model.max_model_len)
            request = self._requests[choice.key]
            request.left -= choice.finished
            if request.plan.streamed:
                steps.setdefault(choice.key, []).append(delta)
            elif choice.finished:
                request.whole.append(choice.told_whole(delta))
                if not request.left:
                    steps[choice.key] = sorted(request.whole, key=lambda one: one.index)
            if not request.left:
                del self._requests[choice.key]
        return [Step(key=key, deltas=deltas) for key, deltas in steps.items()]

    def _failed(self, choices: Sequence[Choice]) -> list[Step | Failed]:
        keys = {choice.key for choice in choices if choice.key in self._requests}
        for key in keys:
            self.abort(key)
        return [Failed(key=key, message=FAILED) for key in sorted(keys)]


def broken(error: Exception) -> bool:
    """Whether a device is of no use any more; it is then started again with a new process."""
    return "CUDA error" in str(error) or "device-side assert" in str(error)
