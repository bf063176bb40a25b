"""Receives contenders and loads; hands on the figures of every round, interleaved."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

from bench.answers import References, WrongAnswer, agreement, check, compare
from bench.contenders import Contender
from bench.figures import Cell, figures
from bench.loads import PROBE, Load

Say = Callable[[str], None]


def measure(
    contenders: Sequence[Contender], loads: Sequence[Load], *, rounds: int, say: Say
) -> list[Cell]:
    """Starts all contenders, runs all rounds, and ends all contenders whatever happens.

    Raises:
        ContenderFailed: a contender did not start, or ended.
        WrongAnswer: an answer was wrong, or two contenders disagree without load.
    """
    with ExitStack() as started:
        for contender in contenders:
            # First, so that what half started is stopped too.
            started.callback(contender.stop)
            begun = time.monotonic()
            contender.start()
            say(f"{contender.name}: ready after {time.monotonic() - begun:.0f} s")
        expected = _probe(contenders)
        say(f"all answer alike to {len(expected)} prompts, one at a time")
        cells: list[Cell] = []
        for number in range(rounds):
            for place, load in enumerate(loads):
                # Whoever comes first meets colder caches: so everybody does in turn.
                for contender in _rotated(contenders, number + place):
                    cells.append(_cell(contender, load, number, expected))
                    say(_progress(cells[-1], rounds))
        return cells


def _probe(contenders: Sequence[Contender]) -> References:
    expected: References = {}
    for contender in contenders:
        with _named(contender):
            run = contender.run(PROBE)
            check(run.answers, PROBE)
            expected = expected or {answer.prompt: answer for answer in run.answers}
            compare(expected, run.answers)
    return expected


def _cell(contender: Contender, load: Load, number: int, expected: References) -> Cell:
    with _named(contender):
        run = contender.run(load)
        check(run.answers, load)
        share = agreement(expected, run.answers)
    return Cell(
        round=number,
        load=load,
        contender=contender.name,
        figures=figures(run, load, agreement=share),
    )


@contextmanager
def _named(contender: Contender) -> Iterator[None]:
    """Puts the contender's name in front of what was wrong with its answer."""
    try:
        yield
    except WrongAnswer as error:
        raise WrongAnswer(f"{contender.name}: {error}") from error


def _rotated(contenders: Sequence[Contender], by: int) -> list[Contender]:
    by %= len(contenders)
    return [*contenders[by:], *contenders[:by]]


def _progress(cell: Cell, rounds: int) -> str:
    found = cell.figures
    return (
        f"round {cell.round + 1}/{rounds}  {cell.load.name:<11} {cell.contender:<9}"
        f"{found.cpu_us:8.1f} us CPU (client {found.client_cpu_us:.1f})"
        f"  TTFT {found.ttft_p50_ms:6.1f} ms  {found.tokens_per_s:8.0f} tokens/s"
        f"  {found.events}/{found.tokens} events  {found.agreement:.0%} alike"
    )
