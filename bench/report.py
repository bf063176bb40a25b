"""Receives a record; hands on the tables for the terminal and the page `docs/benchmarks.md`."""

from collections.abc import Iterator, Sequence
from statistics import median
from typing import Final, Literal

from bench.figures import FLOOR, OURS, PEER, TARGETS, Figure, Target, medians, ratios
from bench.loads import Load
from bench.record import Record

Row = tuple[str, ...]

NAMES: Final = {OURS: "Inferneo", PEER: "vLLM's server", FLOOR: "bare loop"}

_STREAM_HEAD: Final = (
    *("streams", "server", "CPU us/token", "all CPU us/token", "TTFT p50 ms", "TTFT p99 ms"),
    *("ITL p50 ms", "ITL p99 ms", "tokens/s"),
)
_UNARY_HEAD: Final = (
    *("at once", "server", "CPU us/request", "all CPU us/request"),
    *("latency p50 ms", "latency p99 ms", "requests/s"),
)
_TARGET_HEAD: Final = ("figure", "load", "target", "measured", "lowest", "highest", "")

_RATIO_COLUMNS: Final[tuple[tuple[str, Figure], ...]] = (
    ("CPU", "cpu_us"),
    ("all CPU", "all_cpu_us"),
    ("TTFT p50", "ttft_p50_ms"),
    ("TTFT p99", "ttft_p99_ms"),
    ("ITL p50", "itl_p50_ms"),
    ("ITL p99", "itl_p99_ms"),
    ("tokens/s", "tokens_per_s"),
)


def loads_of(record: Record, kind: Literal["stream", "unary"]) -> list[Load]:
    """Gives the loads of a kind that were run, in their order."""
    return list(dict.fromkeys(cell.load for cell in record.cells if cell.load.kind == kind))


def contenders_of(record: Record) -> list[str]:
    """Gives the contenders that ran, ours first and the floor last."""
    ran = {cell.contender for cell in record.cells}
    return [name for name in NAMES if name in ran]


def page(record: Record) -> str:
    """Writes the whole page, without a date in any place but one."""
    return "\n".join([*_introduction(record), *_results(record), *_method(record)]) + "\n"


def terminal(record: Record) -> str:
    """Writes the tables alone, in columns."""
    return "\n".join(
        line for title, table in _tables(record) for line in ("", title, "", *_columns(table))
    )


def _introduction(record: Record) -> list[str]:
    versions = ", ".join(f"{name} {version}" for name, version in record.versions.items())
    return [
        "# Benchmarks",
        "",
        "Written by `make bench`: change `bench/`, not this page.",
        "",
        "Inferneo's server, vLLM's own server, and as the floor an engine loop with no HTTP at all"
        " (`AsyncLLM` in one asyncio loop, prompts tokenised beforehand), with the same model and"
        " the same engine arguments, measured in turn by the same client on one machine.",
        "",
        f"- Date: {record.date}",
        f"- Machine: {record.machine}; server, engine and client share it",
        f"- Load average before the start: {record.busy:.2f}",
        f"- Versions: {versions}",
        f"- Model: `{record.model}`, temperature 0",
        f"- Engine: {', '.join(f'`{k}={v}`' for k, v in record.engine_args.items())}",
        f"- Rounds: {record.rounds}; every figure is the median over them",
        "",
        "![CPU, time to first token and tokens per second](benchmarks.svg)",
        "",
    ]


def _results(record: Record) -> Iterator[str]:
    for title, table in _tables(record):
        yield f"## {title}"
        yield ""
        yield from _markdown(table)
        yield ""


def _method(record: Record) -> list[str]:
    tokens = max((load.tokens for load in loads_of(record, "stream")), default=0)
    return [
        "## How it is measured",
        "",
        "- **CPU** is the CPU time of the API process alone, all its threads, read from the"
        " kernel's clock of that process before and after. **All CPU** adds the engine's processes:"
        " vLLM's server and the bare loop have an engine and a worker, which wait for each other at"
        " full speed; Inferneo has its engine compute by itself.",
        f"- A **stream** answers a chat request with {tokens} tokens (`ignore_eos`) over"
        " server-sent events, on a kept-alive connection. All streams of a level start at the same"
        " moment, and again when all have ended. A **unary** request answers with one token; each"
        " connection sends its next when it has its answer.",
        "- **TTFT** runs from before the request is sent to the first event with content."
        " **ITL** is the time between two reads that brought content to one stream: events that"
        " come in one read count as one arrival, so packing them gains nothing.",
        "- All contenders run at once and idle while another is measured; who comes first changes"
        " from load to load and from round to round. **Ratios** divide figures of the same round,"
        " and the median of those is shown: a noisy machine slows both sides of a pair.",
        "- The client is one process with plain sockets and one epoll; it reads the clock and"
        " keeps the bytes, and every byte is checked after the clock has stopped. It runs at"
        " real-time priority where it may, so that it does not measure its own waiting.",
        "- **A wrong answer fails the whole run**: another status than 200, an event that is no"
        " chunk, another number of tokens than asked for, another `finish_reason` than `length`,"
        " no usage, no `[DONE]`. Without load all contenders must write the same text for the same"
        " prompt, from the same number of prompt tokens. Under load the batch changes how bf16"
        " rounds and may flip a near tie between two tokens, so there at least half of the"
        " answers must begin as they do without load (what share did is in the raw figures).",
        "- Access logs are off on both sides, statistics of the engine on, as is vLLM's default.",
        "",
        "## Do it again",
        "",
        "```sh",
        "make bench                                # all of it",
        'make bench ARGS="--quick"                 # one round, fewer levels, writes nothing',
        'make bench ARGS="--rounds 9 --output docs"',
        "```",
        "",
        "The raw figures of every run are in [benchmarks.json](benchmarks.json).",
    ]


def _tables(record: Record) -> Iterator[tuple[str, list[Row]]]:
    if {OURS, PEER} <= set(contenders_of(record)):
        yield "Targets", [_TARGET_HEAD, *_target_rows(record)]
    yield "Streams", [_STREAM_HEAD, *_stream_rows(record)]
    yield "Unary requests", [_UNARY_HEAD, *_unary_rows(record)]
    if {OURS, PEER} <= set(contenders_of(record)):
        head = ("load", *(title for title, _ in _RATIO_COLUMNS))
        yield f"{NAMES[OURS]} divided by {NAMES[PEER]}", [head, *_ratio_rows(record)]


def _stream_rows(record: Record) -> Iterator[Row]:
    for load in loads_of(record, "stream"):
        for name in contenders_of(record):
            figure = medians(record.cells, load, name)
            yield (
                *(str(load.concurrency), NAMES[name]),
                *(f"{figure(key):.1f}" for key in ("cpu_us", "all_cpu_us")),
                *(f"{figure(key):.1f}" for key in ("ttft_p50_ms", "ttft_p99_ms")),
                *(f"{figure(key):.2f}" for key in ("itl_p50_ms", "itl_p99_ms")),
                f"{figure('tokens_per_s'):,.0f}",
            )


def _unary_rows(record: Record) -> Iterator[Row]:
    for load in loads_of(record, "unary"):
        for name in contenders_of(record):
            figure = medians(record.cells, load, name)
            yield (
                *(str(load.concurrency), NAMES[name]),
                *(f"{figure(key):.0f}" for key in ("cpu_us", "all_cpu_us")),
                *(f"{figure(key):.1f}" for key in ("ttft_p50_ms", "ttft_p99_ms")),
                f"{figure('tokens_per_s'):,.0f}",
            )


def _ratio_rows(record: Record) -> Iterator[Row]:
    for load in [*loads_of(record, "stream"), *loads_of(record, "unary")]:
        pairs = [ratios(record.cells, load, figure) for _, figure in _RATIO_COLUMNS]
        yield (load.name, *(f"{median(pair):.2f}" if pair else "" for pair in pairs))


def _target_rows(record: Record) -> Iterator[Row]:
    for target in TARGETS:
        for load in loads_of(record, target.kind):
            pair = ratios(record.cells, load, target.figure)
            if load.concurrency == target.concurrency and pair:
                yield _target_row(target, load, pair)


def _target_row(target: Target, load: Load, pair: Sequence[float]) -> Row:
    found = median(pair)
    return (
        target.label,
        load.name,
        f"{'at least' if target.at_least else 'at most'} {target.limit:.2f}x",
        f"{found:.2f}x",
        f"{min(pair):.2f}x",
        f"{max(pair):.2f}x",
        "reached" if target.met(found) else "missed",
    )


def _markdown(table: Sequence[Row]) -> Iterator[str]:
    head, *rows = table
    yield f"| {' | '.join(head)} |"
    yield f"| {' | '.join('---:' if _numeric(rows, at) else '---' for at in range(len(head)))} |"
    for row in rows:
        yield f"| {' | '.join(row)} |"


def _columns(table: Sequence[Row]) -> Iterator[str]:
    _, *rows = table
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for row in table:
        cells = [
            cell.rjust(width) if _numeric(rows, at) else cell.ljust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield "  ".join(cells).rstrip()


def _numeric(rows: Sequence[Row], at: int) -> bool:
    return all(row[at][:1].isdigit() or not row[at] for row in rows) and any(r[at] for r in rows)
