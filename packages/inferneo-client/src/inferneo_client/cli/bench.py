"""Receives the flags of `inferneo bench`; hands on a table, a JSON document, or a report."""

import argparse
import asyncio
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from inferneo_client._async import AsyncInferneo
from inferneo_client._options import Retry
from inferneo_client._progress import ProgressLine
from inferneo_client.cli.connection import connected, model_of
from inferneo_client.cli.console import FAILED, INTERRUPTED, complain, message_of, status_of, table
from inferneo_client.cli.figures import Level, Record
from inferneo_client.cli.load import Question, run_level, warm_up
from inferneo_client.cli.report import html, svg
from inferneo_core.errors import ApiError

# Each request is sent once: what fails is counted, and no time has a second attempt in it.
_ONCE = Retry(attempts=1, resume_for=0)


def bench(given: argparse.Namespace) -> int:
    """Load a server, level by level; what was measured is shown even where it is interrupted."""
    given.base_url = given.url or given.base_url
    with connected(given) as client:
        model = model_of(client, given)
        base_url, api_key = client.base_url, client._options.api_key
    question = Question(
        model=model, prompt=given.prompt, max_tokens=given.max_tokens, ignore_eos=given.ignore_eos
    )
    levels: list[Level] = []
    status = 0
    options = {"base_url": base_url, "api_key": api_key, "timeout": given.timeout, "retry": _ONCE}
    try:
        asyncio.run(_measure(options, question, given, levels))
    except ApiError as error:
        complain(message_of(error, base_url))
        return status_of(error)
    except KeyboardInterrupt:
        status = INTERRUPTED
    _show(_record(base_url, question, given, levels), given)
    failed = any(not level.requests for level in levels)
    return status or (FAILED if failed else 0)


async def _measure(
    options: dict[str, Any], question: Question, given: argparse.Namespace, levels: list[Level]
) -> None:
    async with AsyncInferneo(**options) as client:
        await warm_up(client, question, given.seconds)
        for concurrency in given.concurrency:
            requests = max(given.requests, concurrency)
            progress = ProgressLine(requests, label=f"{concurrency} at once ")
            try:
                level = await run_level(
                    client,
                    question,
                    concurrency=concurrency,
                    requests=requests,
                    seconds=given.seconds,
                    progress=progress,
                )
            finally:
                progress.close()
            levels.append(level)
            if not level.requests:
                complain(f"no request of {concurrency} at once was answered; the sweep ends here")
                return


def _record(
    base_url: str, question: Question, given: argparse.Namespace, levels: list[Level]
) -> Record:
    return Record(
        base_url=base_url,
        model=question.model or "",
        began=datetime.now(UTC).isoformat(timespec="seconds"),
        max_tokens=given.max_tokens,
        requests=given.requests,
        seconds=given.seconds,
        levels=levels,
    )


_HEAD = [
    " at once",
    " requests",
    " failed",
    " cut",
    " req/s",
    " tok/s",
    " TTFT p50",
    " p99 ms",
    " ITL p50",
    " p99 ms",
    " total p50",
    " p99 ms",
]


def _show(record: Record, given: argparse.Namespace) -> None:
    if given.json:
        print(msgspec.json.encode(record).decode())
    else:
        print(table(_HEAD, [_row(level) for level in record.levels]))
        for level in record.levels:
            for reason, count in level.errors.items():
                print(f"{level.concurrency} at once: {count} x {reason}")
    if given.output:
        written = svg(record) if given.output.endswith(".svg") else html(record)
        Path(given.output).write_text(written, encoding="utf-8")
        print(f"inferneo: wrote {given.output}", file=sys.stderr)


def _row(level: Level) -> list[str]:
    times = [
        f"{time:.1f}"
        for spread in (level.ttft_ms, level.itl_ms, level.total_ms)
        for time in (spread.p50, spread.p99)
    ]
    counts = [level.concurrency, level.requests, sum(level.errors.values()), level.cut]
    rates = [f"{level.requests_per_second:.1f}", f"{level.tokens_per_second:.1f}"]
    return [*map(str, counts), *rates, *times]
