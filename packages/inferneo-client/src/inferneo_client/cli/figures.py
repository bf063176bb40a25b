"""Receives the samples of a load test; hands on the figures of each level."""

from collections import Counter
from collections.abc import Sequence

from msgspec import Struct, field


class Sample(Struct):
    """One request. Times are seconds of one clock.

    Attributes:
        texts: when each chunk with new text came.
        tokens: that the server says it has written; else the chunks are counted.
        ended: when the stream was whole; None where it never was.
        error: why it failed; empty where it did not.
    """

    began: float
    texts: list[float] = field(default_factory=list)
    tokens: int = 0
    ended: float | None = None
    error: str = ""

    @property
    def written(self) -> int:
        """Tokens, or else chunks."""
        return self.tokens or len(self.texts)


class Spread(Struct, frozen=True):
    """How some times are spread, in milliseconds; 0 where there are none."""

    mean: float = 0.0
    p50: float = 0.0
    p90: float = 0.0
    p99: float = 0.0


class Level(Struct, frozen=True, kw_only=True):
    """What was measured with so many requests at once.

    Attributes:
        seconds: from the first request to the end of the level.
        requests: that were answered whole.
        cut: that were still under way when the level's time was over.
        errors: how often, by what went wrong.
        ttft_ms: from sending a request to its first text.
        itl_ms: between two chunks of text.
        total_ms: from sending a request to the end of its stream.
    """

    concurrency: int
    seconds: float
    requests: int
    cut: int
    errors: dict[str, int]
    requests_per_second: float
    tokens_per_second: float
    ttft_ms: Spread
    itl_ms: Spread
    total_ms: Spread


class Record(Struct, frozen=True, kw_only=True):
    """A whole load test."""

    base_url: str
    model: str
    began: str
    max_tokens: int
    requests: int
    seconds: float
    levels: list[Level]


def spread_of(seconds: Sequence[float]) -> Spread:
    """The spread of some times, which are in seconds."""
    if not seconds:
        return Spread()
    ordered = sorted(seconds)
    p50, p90, p99 = (_quantile(ordered, part) * 1000 for part in (0.5, 0.9, 0.99))
    return Spread(sum(ordered) / len(ordered) * 1000, p50, p90, p99)


def _quantile(ordered: Sequence[float], part: float) -> float:
    """Between the two nearest values, in proportion."""
    place = part * (len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def level_of(concurrency: int, samples: Sequence[Sample], began: float, ended: float) -> Level:
    """The figures of a level; of what was cut, the tokens that came count, and their times."""
    whole = [sample for sample in samples if sample.ended is not None]
    sound = [sample for sample in samples if not sample.error]
    seconds = max(ended - began, 1e-9)
    gaps = [
        after - before
        for sample in sound
        for before, after in zip(sample.texts, sample.texts[1:], strict=False)
    ]
    errors = Counter(sample.error for sample in samples if sample.error)
    return Level(
        concurrency=concurrency,
        seconds=seconds,
        requests=len(whole),
        cut=len(samples) - len(whole) - errors.total(),
        errors=dict(errors.most_common()),
        requests_per_second=len(whole) / seconds,
        tokens_per_second=sum(sample.written for sample in samples) / seconds,
        ttft_ms=spread_of([sample.texts[0] - sample.began for sample in sound if sample.texts]),
        itl_ms=spread_of(gaps),
        total_ms=spread_of([sample.ended - sample.began for sample in whole if sample.ended]),
    )
