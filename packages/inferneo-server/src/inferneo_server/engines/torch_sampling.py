"""Receives the logits of a step; hands on a token for each row, drawn on the logits' own device.

The order of the steps, and what a logprob is of, are those of vLLM.
"""

import random
from collections.abc import Collection, Sequence
from typing import Any

import torch
from msgspec import Struct

from inferneo_server.engines.torch_messages import Plan

# Where all that may be drawn is among so few, the vocabulary is not sorted.
FEW = 256
# Below it the likeliest token is taken.
GREEDY_BELOW = 1e-5


class Likeliest(Struct, frozen=True):
    """The logprob and the rank of a token that was written, and the likeliest in its place."""

    logprob: float
    rank: int
    token_ids: list[int]
    logprobs: list[float]


class Row:
    """How the tokens of one choice are drawn.

    Args:
        plan: the request's.
        index: the choice's number.
        prompt: the token ids of the prompt.
        ends: token ids that end a choice.
        vocabulary: how many token ids there are.
        device: where the logits are.
        matcher: says which tokens fit the grammar, if there is one.
    """

    def __init__(
        self,
        plan: Plan,
        index: int,
        prompt: Sequence[int],
        ends: Collection[int],
        vocabulary: int,
        device: Any,
        matcher: Any = None,
    ) -> None:
        self.plan = plan
        self.matcher = matcher
        self.greedy = plan.temperature < GREEDY_BELOW
        # Numbers of its own, from the CPU: the same for whatever is drawn beside it, and where.
        self._random = (
            random.Random() if plan.seed is None else random.Random(f"{plan.seed}/{index}")
        )
        self._written: list[int] = []
        self._vocabulary = vocabulary
        self._device = device
        self._ends = self._tensor(sorted({*ends, *plan.stop_token_ids}))
        self._bias = (self._tensor(list(plan.bias)), self._tensor(list(plan.bias.values())))
        self._forbidden = self._mask(plan.allowed) if plan.allowed else None
        if self._forbidden is not None:
            self._forbidden = ~self._forbidden
        self._seen = self._mask(prompt) if plan.repetition_penalty != 1.0 else None
        self._counts = torch.zeros(vocabulary, device=device) if plan.penalised else None
        self.plain = matcher is None and not (
            plan.bias or plan.allowed or plan.bad_words or plan.min_tokens or plan.penalised
        )

    def _tensor(self, values: Sequence[float]) -> Any:
        return torch.tensor(values, device=self._device)

    def _mask(self, token_ids: Sequence[int]) -> Any:
        mask = torch.zeros(self._vocabulary, dtype=torch.bool, device=self._device)
        mask[torch.tensor(list(token_ids), dtype=torch.long, device=self._device)] = True
        return mask

    def uniform(self) -> float:
        """The next number of this choice's own: 0 to 1."""
        return self._random.random()

    def written(self, token_id: int) -> None:
        """A token has been drawn."""
        if self.matcher is not None:
            self.matcher.accept(token_id)
        if self._counts is not None:
            self._counts[token_id] += 1
        if self.plan.bad_words or self.plan.min_tokens:
            self._written.append(token_id)

    def adjust(self, logits: Any) -> None:
        """Change this row's logits, in place, as the plan says."""
        plan = self.plan
        if self._forbidden is not None:
            logits.masked_fill_(self._forbidden, -torch.inf)
        for word in plan.bad_words:
            *before, last = word
            if not before or self._written[-len(before) :] == before:
                logits[last] = -torch.inf
        if len(self._written) < plan.min_tokens and len(self._ends):
            logits[self._ends] = -torch.inf
        if plan.bias:
            logits[self._bias[0]] += self._bias[1]
        if self._counts is not None:
            self._penalise(logits, self._counts)

    def _penalise(self, logits: Any, counts: Any) -> None:
        plan = self.plan
        if self._seen is not None:
            seen = self._seen | (counts > 0)
            factor = plan.repetition_penalty
            damped = torch.where(logits > 0, logits / factor, logits * factor)
            logits.copy_(torch.where(seen, damped, logits))
        logits -= plan.frequency_penalty * counts
        logits -= plan.presence_penalty * (counts > 0)


def sample(logits: Any, rows: Sequence[Row]) -> tuple[list[int], list[Likeliest | None]]:
    """Draw a token for each row of the logits, which are changed."""
    for number, row in enumerate(rows):
        if row.matcher is not None:
            row.matcher.mask(logits[number : number + 1])
    told = [number for number, row in enumerate(rows) if row.plan.logprobs is not None]
    raw = torch.log_softmax(logits[told], -1) if told else None
    for number, row in enumerate(rows):
        if not row.plain:
            row.adjust(logits[number])
    token_ids: list[int] = _draw(logits, rows).tolist()
    for row, token_id in zip(rows, token_ids, strict=True):
        if not row.plain:
            row.written(token_id)
    details: list[Likeliest | None] = [None] * len(rows)
    if raw is not None:
        tops = [rows[number].plan.logprobs or 0 for number in told]
        found = likeliest(raw, [token_ids[number] for number in told], tops)
        for number, detail in zip(told, found, strict=True):
            details[number] = detail
    return token_ids, details


def _draw(logits: Any, rows: Sequence[Row]) -> Any:
    drawn = [number for number, row in enumerate(rows) if not row.greedy]
    picked = logits.argmax(-1)
    if not drawn:
        return picked
    groups = _Groups(rows, drawn)
    for numbers, draw in ((groups.whole, _whole), (groups.few, _few), (groups.sorted, _sorted)):
        if numbers:
            given = _Given([rows[number] for number in numbers], logits.device)
            picked[numbers] = draw(logits[numbers] / given.temperature, given)
    return picked


class _Groups:
    """Rows by the way in which they are drawn: it must hang on the row alone, or a seed would not
    give the same answer again."""

    def __init__(self, rows: Sequence[Row], drawn: Sequence[int]) -> None:
        self.whole: list[int] = []
        self.few: list[int] = []
        self.sorted: list[int] = []
        for number in drawn:
            plan = rows[number].plan
            if 0 < plan.top_k <= FEW:
                self.few.append(number)
            elif plan.top_k or plan.top_p < 1.0:
                self.sorted.append(number)
            else:
                self.whole.append(number)


class _Given:
    """The parameters of rows that are drawn in the same way, each a column."""

    def __init__(self, rows: Sequence[Row], device: Any) -> None:
        def column(values: Sequence[float]) -> Any:
            return torch.tensor(values, device=device)[:, None]

        plans = [row.plan for row in rows]
        self.temperature = column([plan.temperature for plan in plans])
        self.top_k = column([plan.top_k or 2**31 - 1 for plan in plans])
        self.top_p = column([plan.top_p for plan in plans])
        self.filters_p = any(plan.top_p < 1.0 for plan in plans)
        self.max_k = max(plan.top_k for plan in plans)
        self.min_p = (
            column([plan.min_p for plan in plans]) if any(plan.min_p for plan in plans) else None
        )
        self.uniform = column([row.uniform() for row in rows])


def _whole(logits: Any, given: _Given) -> Any:
    return _pick(_unlikely_left_out(logits, given, logits.amax(-1, keepdim=True)), given)


def _few(logits: Any, given: _Given) -> Any:
    count = min(given.max_k, logits.shape[-1])
    best = torch.topk(logits, count)
    return _of_sorted(best.values, best.indices, given)


def _sorted(logits: Any, given: _Given) -> Any:
    best = torch.sort(logits, descending=True)
    return _of_sorted(best.values, best.indices, given)


def _of_sorted(logits: Any, token_ids: Any, given: _Given) -> Any:
    logits = _unlikely_left_out(logits, given, logits[:, :1])
    places = torch.arange(logits.shape[-1], device=logits.device)
    logits = logits.masked_fill(places >= given.top_k, -torch.inf)
    if given.filters_p:
        likely = torch.softmax(logits, -1)
        # The first is left whatever it is: nothing comes before it.
        before = likely.cumsum(-1) - likely
        logits = logits.masked_fill((before >= given.top_p) & (given.top_p < 1.0), -torch.inf)
    return token_ids.gather(1, _pick(logits, given)[:, None])[:, 0]


def _unlikely_left_out(logits: Any, given: _Given, best: Any) -> Any:
    if given.min_p is None:
        return logits
    return logits.masked_fill(logits < best + given.min_p.log(), -torch.inf)


def _pick(logits: Any, given: _Given) -> Any:
    """The place at which each row's own number falls, where each token has its share."""
    shares = torch.softmax(logits, -1).double().cumsum(-1)
    # A little below the end: what is rounded up would fall behind all.
    number = given.uniform.double() * shares[:, -1:] * (1 - 1e-9)
    return torch.searchsorted(shares, number, right=True)[:, 0].clamp_(max=logits.shape[-1] - 1)


def likeliest(logprobs: Any, token_ids: Sequence[int], tops: Sequence[int]) -> list[Likeliest]:
    """The logprob of a token in each row, its rank, and so many of the likeliest."""
    own = logprobs.gather(1, torch.tensor(token_ids, device=logprobs.device)[:, None])
    ranks = ((logprobs > own).sum(-1) + 1).tolist()
    best = torch.topk(logprobs, max(max(tops), 1))
    values, places = best.values.tolist(), best.indices.tolist()
    return [
        Likeliest(logprob, rank, ids[:top], numbers[:top])
        for logprob, rank, ids, numbers, top in zip(
            own[:, 0].tolist(), ranks, places, values, tops, strict=True
        )
    ]
