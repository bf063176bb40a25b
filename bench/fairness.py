"""Receives nothing; hands on how long one key waits while another sends far too much, in a page."""

import argparse
import asyncio
import re
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any, Final

import msgspec

from bench.contenders import ENGINE_ARGS, Server, Setup, inferneo
from bench.processes import end_by_signal

_ROOT: Final = Path(__file__).parent.parent
_MODEL: Final = _ROOT / "packages/inferneo-server/src/inferneo_server/embedded/inferneo-tiny"
_GREEDY, _MODEST = "sk-greedy", "sk-modest"
_GREEDY_REQUESTS: Final = 500
_GREEDY_TOKENS: Final = 96
_MODEST_REQUESTS: Final = 15
_MODEST_TOKENS: Final = 4
_PLACES: Final = 64
_TIMEOUT_S: Final = 120.0

# The first event tells the role, with an empty text.
_CONTENT: Final = re.compile(rb'"content": ?"[^"]')

# Milliseconds to the first token of the modest key, alone and beside the greedy one.
Waits = tuple[list[float], list[float]]


def main() -> None:
    """Measures, prints and writes."""
    parser = argparse.ArgumentParser(prog="python -m bench.fairness", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path, default=_ROOT / "docs")
    options = parser.parse_args()
    end_by_signal()
    with tempfile.TemporaryDirectory(prefix="inferneo-bench-") as logs:
        engine_args = {**ENGINE_ARGS, "max_num_seqs": _PLACES}
        setup = Setup(model=_MODEL, engine_args=engine_args, logs=Path(logs))
        found = measure(setup, options.rounds, say=lambda line: print(line, flush=True))
    lines = list(page(found, options.rounds))
    print("\n".join(lines))
    (options.output / "benchmarks-fairness.md").write_text("\n".join(lines) + "\n")


def measure(setup: Setup, rounds: int, *, say: Callable[[str], None]) -> Waits:
    """Starts the server and asks it.

    Raises:
        ContenderFailed: it did not start.
        ValueError: an answer was refused, or broke off.
    """
    server = inferneo(setup, *(f"--api-keys={key}" for key in (_GREEDY, _MODEST)))
    found: Waits = ([], [])
    try:
        server.start()
        for _ in range(rounds):
            alone, beside = asyncio.run(_waits(server, setup.model.name))
            say(f"{median(alone):.0f} ms alone, {median(beside):.0f} ms beside")
            found[0].extend(alone)
            found[1].extend(beside)
    finally:
        server.stop()
    return found


async def _waits(server: Server, model: str) -> Waits:
    async with asyncio.timeout(_TIMEOUT_S):
        alone = await _modest(server, model)
        greedy = [
            asyncio.create_task(_stream(server, _GREEDY, model, _GREEDY_TOKENS))
            for _ in range(_GREEDY_REQUESTS)
        ]
        try:
            # They have all been sent once some of them are answered.
            await asyncio.wait(greedy, return_when=asyncio.FIRST_COMPLETED)
            beside = await _modest(server, model, while_running=greedy)
        finally:
            await asyncio.gather(*greedy)
    return alone, beside


async def _modest(
    server: Server, model: str, while_running: "list[asyncio.Task[float]] | None" = None
) -> list[float]:
    waits = []
    for _ in range(_MODEST_REQUESTS):
        waits.append(await _stream(server, _MODEST, model, _MODEST_TOKENS))
        if while_running is not None and all(task.done() for task in while_running):
            break
    return waits


async def _stream(server: Server, key: str, model: str, tokens: int) -> float:
    """One stream to its end; gives the ms to its first event with content."""
    body = msgspec.json.encode(_request(model, tokens))
    head = (
        "POST /v1/chat/completions HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\n"
        f"authorization: Bearer {key}\r\nconnection: close\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    reader, writer = await asyncio.open_connection(*server.address)
    try:
        began = time.perf_counter()
        writer.write(head.encode() + body)
        first: float | None = None
        last = b""
        async for line in reader:
            if first is None and _CONTENT.search(line):
                first = (time.perf_counter() - began) * 1000
            last = line if line.startswith(b"data:") else last
    finally:
        writer.close()
    if first is None or last.strip() != b"data: [DONE]":
        raise ValueError(f"{server.name} did not answer whole: {last!r}")
    return first


def _request(model: str, tokens: int) -> dict[str, Any]:
    return {
        "model": model,
        "messages": [{"role": "user", "content": "Tell me a story."}],
        "max_tokens": tokens,
        "ignore_eos": True,
        "stream": True,
    }


def page(found: Waits, rounds: int) -> Iterator[str]:
    """Writes the page's lines."""
    alone, beside = map(median, found)
    yield "# Benchmarks: a greedy neighbour"
    yield ""
    yield "Written by `make bench`: change `bench/fairness.py`, not this page."
    yield ""
    yield (
        f"One key sends {_GREEDY_REQUESTS} streams of {_GREEDY_TOKENS} tokens at once; the engine"
        f" runs {_PLACES} side by side. Another key sends one request after another: this is its"
        f" time to the first token, on {datetime.now(UTC):%Y-%m-%d}, median of {rounds} rounds of"
        f" up to {_MODEST_REQUESTS} requests."
    )
    yield ""
    yield "| TTFT p50 alone | beside the greedy key | factor |"
    yield "| ---: | ---: | ---: |"
    yield f"| {alone:.0f} ms | {beside:.0f} ms | {beside / alone:.1f}x |"


if __name__ == "__main__":
    main()
