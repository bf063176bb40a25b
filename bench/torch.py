"""Receives the command line; hands on how many tokens the torch engine writes for how many streams.

Without HTTP: what batching gives, which `docs/benchmarks-torch.md` tells.
"""

import argparse
import asyncio
import statistics
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from bench.record import machine
from inferneo_core.sampling import SamplingFields
from inferneo_server.devices import find_device
from inferneo_server.engines.base import Engine
from inferneo_server.engines.making import make_engine
from inferneo_server.settings import load_settings

_ROOT: Final = Path(__file__).parent.parent
_LEVELS: Final = (1, 2, 4, 8, 16, 32)
_TOKENS: Final = 64
_SAMPLING: Final = SamplingFields(temperature=0, ignore_eos=True)


def main() -> int:
    """Measures, prints and writes; 1 where 8 streams give no more than twice what one gives."""
    parser = argparse.ArgumentParser(prog="python -m bench.torch", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="times that everything runs")
    parser.add_argument("--device", default="auto", help="as the engine's argument")
    parser.add_argument("--output", type=Path, default=_ROOT / "docs", metavar="DIR")
    options = parser.parse_args()
    figures = asyncio.run(_measure(options.rounds, options.device))
    page = _page(figures, options.rounds, options.device)
    print(page)
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / "benchmarks-torch.md").write_text(page)
    rates = {level: rate for level, rate, _ in figures}
    return 0 if rates[8] > 2 * rates[1] else 1


async def _measure(rounds: int, device: str) -> list[tuple[int, float, float]]:
    """For each level the tokens per second, and the milliseconds of a step: medians of rounds."""
    arguments = {"device": device, "max_model_len": 2048}
    settings = load_settings(engine="torch", engine_args=arguments)
    engine = make_engine(settings.model_specs[0], find_device("cpu"))
    await engine.start()
    try:
        await _round(engine, 2)
        # Level after level in each round: a noisy machine slows all of them alike.
        seconds = [[await _round(engine, level) for level in _LEVELS] for _ in range(rounds)]
    finally:
        await engine.aclose()
    typical = [statistics.median(column) for column in zip(*seconds, strict=True)]
    return [
        (level, level * _TOKENS / each, each / _TOKENS * 1000)
        for level, each in zip(_LEVELS, typical, strict=True)
    ]


async def _round(engine: Engine, streams: int) -> float:
    """The seconds that so many streams take, all of which begin at once."""
    started = time.perf_counter()
    written = await asyncio.gather(*(_stream(engine, number) for number in range(streams)))
    assert set(written) == {_TOKENS}
    return time.perf_counter() - started


async def _stream(engine: Engine, number: int) -> int:
    prompt = await engine.render_text(f"Number {number}: Inferneo is")
    stream = await engine.submit("b", prompt, _SAMPLING, max_tokens=_TOKENS, streamed=True)
    return sum([len(delta.token_ids) async for deltas in stream for delta in deltas])


def _page(figures: Sequence[tuple[int, float, float]], rounds: int, device: str) -> str:
    _, one, _ = figures[0]
    rows = [
        f"| {level} | {rate:,.0f} | {rate / one:.1f}x | {step:.2f} |"
        for level, rate, step in figures
    ]
    return "\n".join(
        [
            "# Benchmarks of the torch engine",
            "",
            "Written by `make bench`: change `bench/torch.py`, not this page.",
            "",
            f"- Date: {datetime.now(UTC):%Y-%m-%d}",
            f"- Machine: {machine()}; device `{device}`",
            f"- Model: `inferneo-tiny`, temperature 0, {_TOKENS} tokens for each stream, all"
            " streams at once, without HTTP",
            f"- Rounds: {rounds}; every figure is the median over them",
            "",
            "| streams | tokens/s | of one stream | ms for a step |",
            "| ---: | ---: | ---: | ---: |",
            *rows,
            "",
        ]
    )


if __name__ == "__main__":
    raise SystemExit(main())
