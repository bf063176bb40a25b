"""Receives the command line; hands on a table on the terminal, and `docs/benchmarks-client.md`."""

import argparse
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Final, NamedTuple

from bench.sdk import measures
from bench.sdk.contenders import FAST, OPENAI, OURS
from bench.sdk.measures import Figures
from bench.sdk.server import answering

_ROOT: Final = Path(__file__).parents[2]
_PACKAGES: Final = ("openai", "httpx", "pyreqwest", "msgspec", "pydantic")


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


def rows(rounds: int) -> list[Row]:
    """All figures, measured now."""
    imports, ready = measures.import_ms(rounds * 2)
    found = [
        Row("import, over bare Python", "ms CPU", imports, "10", lambda f: f[OURS] <= 10),
        Row("client that is ready to send", "ms CPU", ready, "100", lambda f: f[OURS] <= 100),
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
    with answering() as url:
        found += _socket_rows(rounds, url)
    found += [
        Row("memory of a kept chunk", "B", measures.chunk_bytes(), "1/3", _share(OURS, 1 / 3)),
        Row(
            "memory held after 100,000 calls",
            "B",
            measures.drift_bytes(),
            "1,000,000",
            lambda f: f[OURS] <= 1e6,
        ),
    ]
    return found


def _socket_rows(rounds: int, url: str) -> list[Row]:
    costs, rates = measures.request_async_us(rounds, url)
    paced = measures.paced_us(rounds, url)
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


def installed() -> list[Row]:
    """How much an installation is: distributions, and MB of their files."""
    ours = [str(_ROOT / "packages" / name) for name in ("inferneo-core", "inferneo-client")]
    sizes = {OPENAI: _install("openai"), OURS: _install(*ours)}
    return [
        Row(
            "installed distributions",
            "",
            {name: float(count) for name, (count, _) in sizes.items()},
            "10",
            lambda f: f[OURS] <= 10,
        ),
        Row(
            "installed files",
            "MB",
            {name: size for name, (_, size) in sizes.items()},
            "6",
            lambda f: f[OURS] <= 6,
        ),
    ]


def _install(*what: str) -> tuple[int, float]:
    uv = Path(sys.executable).with_name("uv")
    with tempfile.TemporaryDirectory() as folder:
        python = Path(folder, "bin", "python")
        for command in (
            ["venv", "--quiet", "--python", sys.executable, folder],
            ["pip", "install", "--quiet", "--python", str(python), *what],
        ):
            subprocess.run([uv, *command], check=True)
        packages = next(Path(folder, "lib").iterdir()) / "site-packages"
        count = len(list(packages.glob("*.dist-info")))
        size = sum(path.stat().st_size for path in packages.rglob("*") if path.is_file())
        return count, size / 1e6


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


def page(found: list[Row], busy: float, rounds: int) -> str:
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
        " side by side, an event each 10 ms. `[fast]` is the client with pyreqwest installed.",
        "",
        f"- Date: {datetime.now(UTC):%Y-%m-%d}",
        f"- Machine: {machine}",
        f"- Load average before the start: {busy:.2f}",
        f"- Versions: {versions}",
        f"- Rounds: {rounds}; every figure is the median over them",
        "",
        *table(found),
        "",
        "## Why pyreqwest",
        "",
        "Measured beside httpx2 and aiohttp over the same server (CPU per request, requests/s at 50"
        " at once): httpx2 was about where httpx is (0.35 ms, 2,000/s); aiohttp cost the least per"
        " request (0.08 to 0.12 ms, 12,000/s), but has no sync side, and twice the CPU per event;"
        " pyreqwest (0.09 to 0.13 ms, 16,000/s) has both sides, and is imported in 11 ms.",
    ]
    return "\n".join(lines) + "\n"


def main() -> int:
    """Measure, print, and write."""
    parser = argparse.ArgumentParser(prog="python -m bench.sdk", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--output", type=Path, default=_ROOT / "docs")
    options = parser.parse_args()
    busy, _, _ = os.getloadavg()
    found = rows(options.rounds) + installed()
    print("\n".join(table(found)))
    (options.output / "benchmarks-client.md").write_text(page(found, busy, options.rounds))
    return 0


if __name__ == "__main__":
    sys.exit(main())
