"""Receives runs; hands on their figures, medians over rounds, and ratios of pairs of one round."""

import math
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from statistics import median
from typing import Final, Literal

from msgspec import Struct

from bench.answers import Run
from bench.loads import Load

OURS: Final = "inferneo"
PEER: Final = "vllm"
FLOOR: Final = "bare"

Figure = Literal[
    "cpu_us", "all_cpu_us", "ttft_p50_ms", "ttft_p99_ms", "itl_p50_ms", "itl_p99_ms", "tokens_per_s"
]


class Figures(Struct, frozen=True, kw_only=True):
    """What one run cost and how fast it was.

    Attributes:
        cpu_us: CPU us of the API process: per streamed token, or per unary request.
        all_cpu_us: the same of all processes of the server, the engine's too.
        client_cpu_us: the same of the load client; 0 where there is none.
        ttft_p50_ms, ttft_p99_ms: from the request to its first content; the whole latency where
            the answer is unary.
        itl_p50_ms, itl_p99_ms: between two arrivals of content in a stream; 0 for unary answers.
        tokens_per_s: of all streams together; for unary answers that is requests per second.
        requests, tokens: answered.
        events: that carried content; fewer than tokens where tokens shared an event.
        arrivals: reads that brought content; fewer than events where events shared a read.
        agreement: share of the answers that begin as the same prompt's answer without load.
        wall_s: time that the requests took, waves added up.
        client_waited_s: how much of it the client was ready to run and had no CPU.
    """

    cpu_us: float
    all_cpu_us: float
    client_cpu_us: float
    ttft_p50_ms: float
    ttft_p99_ms: float
    itl_p50_ms: float
    itl_p99_ms: float
    tokens_per_s: float
    requests: int
    tokens: int
    events: int
    arrivals: int
    agreement: float
    wall_s: float
    client_waited_s: float


class Cell(Struct, frozen=True, kw_only=True):
    """One contender's run of one load in one round."""

    round: int
    load: Load
    contender: str
    figures: Figures


class Target(Struct, frozen=True, kw_only=True):
    """A ratio to vLLM's server that ours means to reach: at most the limit, or at least it."""

    label: str
    figure: Figure
    kind: Literal["stream", "unary"]
    concurrency: int
    limit: float
    at_least: bool = False

    def met(self, ratio: float) -> bool:
        """Tells whether a ratio reaches the target."""
        return ratio >= self.limit if self.at_least else ratio <= self.limit


TARGETS: Final = (
    Target(
        label="CPU per streamed token", figure="cpu_us", kind="stream", concurrency=64, limit=0.40
    ),
    Target(label="CPU per unary request", figure="cpu_us", kind="unary", concurrency=1, limit=0.35),
    Target(
        label="CPU per unary request", figure="cpu_us", kind="unary", concurrency=16, limit=0.35
    ),
    Target(label="TTFT p50", figure="ttft_p50_ms", kind="stream", concurrency=64, limit=0.6),
    Target(
        label="tokens/s",
        figure="tokens_per_s",
        kind="stream",
        concurrency=64,
        limit=1.3,
        at_least=True,
    ),
)


def figures(run: Run, load: Load, *, agreement: float) -> Figures:
    """Works out the figures of a run."""
    answers = run.answers
    tokens = sum(answer.tokens for answer in answers)
    units = tokens if load.kind == "stream" else len(answers)
    firsts = [answer.arrivals[0] - answer.started for answer in answers]
    gaps = [later - sooner for answer in answers for sooner, later in pairwise(answer.arrivals)]
    return Figures(
        cpu_us=_rounded(run.api_cpu / 1e3 / units),
        all_cpu_us=_rounded(run.all_cpu / 1e3 / units),
        client_cpu_us=_rounded(run.client_cpu / 1e3 / units),
        ttft_p50_ms=_percentile(firsts, 50),
        ttft_p99_ms=_percentile(firsts, 99),
        itl_p50_ms=_percentile(gaps, 50),
        itl_p99_ms=_percentile(gaps, 99),
        tokens_per_s=_rounded(tokens / (run.wall / 1e9)),
        requests=len(answers),
        tokens=tokens,
        events=sum(answer.events for answer in answers),
        arrivals=sum(len(answer.arrivals) for answer in answers),
        agreement=_rounded(agreement),
        wall_s=_rounded(run.wall / 1e9),
        client_waited_s=_rounded(run.client_waited / 1e9),
    )


def medians(cells: Iterable[Cell], load: Load, contender: str) -> Callable[[str], float]:
    """Gives the median over the rounds for each figure, by the figure's name."""
    found = [cell.figures for cell in cells if cell.load == load and cell.contender == contender]
    return lambda figure: median(float(getattr(one, figure)) for one in found)


def ratios(cells: Sequence[Cell], load: Load, figure: Figure) -> list[float]:
    """Divides our figure by the peer's, round by round: both saw the same state of the machine."""
    ours, peer = (
        {cell.round: cell.figures for cell in cells if (cell.load, cell.contender) == (load, name)}
        for name in (OURS, PEER)
    )
    return [
        getattr(ours[number], figure) / getattr(peer[number], figure)
        for number in sorted(ours.keys() & peer.keys())
        if getattr(peer[number], figure)
    ]


def _percentile(values_ns: list[int], percent: int) -> float:
    """Gives a percentile by nearest rank, in ms."""
    if not values_ns:
        return 0.0
    rank = math.ceil(len(values_ns) * percent / 100)
    return _rounded(sorted(values_ns)[rank - 1] / 1e6)


def _rounded(value: float) -> float:
    return round(value, 4)
