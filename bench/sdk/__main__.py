"""Receives the command line; hands on a table on the terminal, and `docs/benchmarks-client.md`."""

import argparse
import os
import platform
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Final, NamedTuple

from bench.sdk import measures
from bench.sdk.contenders import FAST, OPENAI, OURS
from bench.sdk.environments import (
    OPENAI_PACKAGES,
    OUR_PACKAGES,
    Environment,
    environment,
    resolved,
)
from bench.sdk.floors import BARE
from bench.sdk.measures import Figures
from bench.sdk.server import answering

_ROOT: Final = Path(__file__).parents[2]
_PACKAGES: Final = (
    "openai",
    "httpx",
    "httpcore",
    "pyreqwest",
    "aiohttp",
    "msgspec",
    "pydantic",
)
# The first that anyio needs no further distribution on.
_LATER_PYTHON: Final = "3.15"


class Row(NamedTuple):
    """One figure: of each client, and what ours is to reach.

    `better` is 1 where more is better, -1 where less is.
    """

    name: str
    unit: str
    figures: Figures
    goal: str
    reached: Callable[[Figures], bool]


def _share(of: str, share: float) -> Callable[[Figures], bool]:
    return lambda figures: figures[of] <= figures[OPENAI] * share


class Found(NamedTuple):
    """All that was measured: the rows of the table, and what bare readers cost an event."""

    rows: list[Row]
    floors: Figures
    paced: Figures


def measured(rounds: int) -> Found:
    """All figures, measured now."""
    with environment(*OPENAI_PACKAGES) as theirs, environment(*OUR_PACKAGES) as ours:
        environments = {OPENAI: theirs, OURS: ours}
        found = _import_rows(rounds, environments) + _memory_chunk_rows(rounds)
        installed = _installed_rows(environments)
    with answering() as url:
        floors = measures.floors_us(rounds, url)
        paced = measures.paced_us(rounds, url)
        found += _socket_rows(rounds, url, paced)
    return Found(found + _kept_rows() + installed, floors, paced)


def _import_rows(rounds: int, environments: dict[str, Environment]) -> list[Row]:
    pythons = {name: found.python for name, found in environments.items()}
    imports, ready = measures.import_ms(rounds * 2, pythons)
    return [
        Row("import, over bare Python", "ms CPU", imports, "10", lambda f: f[OURS] <= 10),
        Row("client that is ready to send", "ms CPU", ready, "100", lambda f: f[OURS] <= 100),
    ]


def _memory_chunk_rows(rounds: int) -> list[Row]:
    return [
        Row(
            "chunk, in memory, sync", "us", measures.chunk_us(rounds), "1/30", _share(OURS, 1 / 30)
        ),
        Row(
            "chunk, in memory, async",
            "us",
            measures.chunk_async_us(rounds),
            "1/30",
            _share(OURS, 1 / 30),
        ),
        Row("typed event", "us", measures.event_us(rounds), "1/25", _share(OURS, 1 / 25)),
    ]


def _kept_rows() -> list[Row]:
    return [
        Row("memory of a kept chunk", "B", measures.chunk_bytes(), "1/3", _share(OURS, 1 / 3)),
        Row(
            "memory held after 100,000 calls",
            "B",
            measures.drift_bytes(),
            "1,000,000",
            lambda f: f[OURS] <= 1e6,
        ),
    ]


def _socket_rows(rounds: int, url: str, paced: Figures) -> list[Row]:
    costs, rates = measures.request_async_us(rounds, url)
    request = measures.request_us(rounds, url)
    return [
        Row("event, paced, async", "us", paced, "1/10 [fast]", _share(FAST, 1 / 10)),
        Row("request, sync", "us", request, "1/3", _share(OURS, 1 / 3)),
        Row("request, sync", "us", request, "1/10 [fast]", _share(FAST, 1 / 10)),
        Row("request, async", "us", costs, "1/3", _share(OURS, 1 / 3)),
        Row("request, async", "us", costs, "1/10 [fast]", _share(FAST, 1 / 10)),
        Row(
            "requests/s, 50 at once",
            "1/s",
            rates,
            "10 x [fast]",
            lambda f: f[FAST] >= f[OPENAI] * 10,
        ),
    ]


def _installed_rows(environments: dict[str, Environment]) -> list[Row]:
    """How much an installation is: distributions, and MB of their files."""
    here = ".".join(platform.python_version_tuple()[:2])
    counts = {
        here: {name: float(found.distributions) for name, found in environments.items()},
        _LATER_PYTHON: {
            OPENAI: float(resolved(_LATER_PYTHON, *OPENAI_PACKAGES)),
            OURS: float(resolved(_LATER_PYTHON, *OUR_PACKAGES)),
        },
    }
    sizes = {name: found.megabytes for name, found in environments.items()}
    return [
        *(
            Row(f"distributions, Python {python}", "", count, "10", lambda f: f[OURS] <= 10)
            for python, count in counts.items()
        ),
        Row(f"installed files, Python {here}", "MB", sizes, "6", lambda f: f[OURS] <= 6),
    ]


def table(found: list[Row]) -> list[str]:
    """The figures as a table of Markdown."""
    lines = [
        f"| | {OPENAI} | {OURS} | {FAST} | to reach | |",
        "| --- | ---: | ---: | ---: | ---: | --- |",
    ]
    for row in found:
        cells = [_cell(row, name) for name in (OPENAI, OURS, FAST)]
        verdict = "reached" if row.reached(row.figures) else "missed"
        lines.append(f"| {row.name} ({row.unit}) | {' | '.join(cells)} | {row.goal} | {verdict} |")
    return [line.replace(" ()", "") for line in lines]


def _cell(row: Row, name: str) -> str:
    value = row.figures.get(name)
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:,.1f}"


def _floor(found: Found) -> list[str]:
    """How far down a paced event can be brought at all."""
    bare, theirs = found.floors[BARE], found.paced[OPENAI]
    costs = ", ".join(f"{name} {cost:.1f} us" for name, cost in found.floors.items())
    verdict = "above" if bare > theirs / 10 else "below"
    return [
        "## The floor of a paced event",
        "",
        "The same streams, read in the same run by libraries alone, which hand each piece to a task"
        f" and decode nothing: {costs}. A loop over asyncio's own sockets is 1/{theirs / bare:.1f}"
        f" of the OpenAI SDK, {verdict} the tenth that is to be reached: that is what it costs to"
        " wake a process, and a task in it, for each event.",
        "",
    ]


def page(found: Found, busy: float, rounds: int) -> str:
    """The page of the documentation."""
    versions = ", ".join(f"{name} {version(name)}" for name in _PACKAGES)
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    lines = [
        "# Benchmarks of the client",
        "",
        "Written by `make bench`: change `bench/sdk/`, not this page.",
        "",
        "The Python client beside the OpenAI SDK, in turn and in one process. CPU is that of the"
        " client's process, user and system, all threads; the server is another process. In memory,"
        " both are given the same `httpx2.MockTransport`, an event in each piece. Paced: 20 streams"
        " side by side, an event each 10 ms. `[fast]` is the client with pyreqwest installed."
        " The imports, and what is installed, are those of a virtual environment with nothing else"
        f" in it; the distributions on Python {_LATER_PYTHON} are resolved, and not installed.",
        "",
        f"- Date: {datetime.now(UTC):%Y-%m-%d}",
        f"- Machine: {machine}",
        f"- Load average before the start: {busy:.2f}",
        f"- Versions: {versions}",
        f"- Rounds: {rounds}; every figure is the median over them",
        "",
        *table(found.rows),
        "",
        *_floor(found),
        "## Why pyreqwest",
        "",
        "Measured beside httpx2 and aiohttp over the same server (CPU per request, requests/s at 50"
        " at once): httpx2 was about where httpx is (0.35 ms, 2,000/s); aiohttp cost the least per"
        " request (0.08 to 0.12 ms, 12,000/s) and costs less per event (above), but has no sync"
        " side; pyreqwest (0.09 to 0.13 ms, 16,000/s) has both, and is imported in 11 ms.",
    ]
    return "\n".join(lines) + "\n"


def main() -> int:
    """Measure, print, and write."""
    parser = argparse.ArgumentParser(prog="python -m bench.sdk", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--output", type=Path, default=_ROOT / "docs")
    options = parser.parse_args()
    busy, _, _ = os.getloadavg()
    found = measured(options.rounds)
    print("\n".join([*table(found.rows), "", *_floor(found)]))
    (options.output / "benchmarks-client.md").write_text(page(found, busy, options.rounds))
    return 0


if __name__ == "__main__":
    sys.exit(main())
