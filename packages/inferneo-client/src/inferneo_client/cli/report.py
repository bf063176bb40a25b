"""Receives the record of a load test; hands on an HTML page or an SVG that loads nothing else."""

from collections.abc import Sequence
from html import escape
from math import ceil, floor, log10
from typing import Final, NamedTuple

import msgspec

from inferneo_client.cli.figures import Level, Record

# Drawn here and not by a plotting library: the smallest of them is larger than the whole SDK.
_WIDTH: Final = 460
_HEIGHT: Final = 250
_LEFT: Final = 62
_RIGHT: Final = 14
_TOP: Final = 46
_BOTTOM: Final = 36
_COLOURS: Final = ("#2f81f7", "#d97b29", "#c2410c")

_STYLE: Final = """
svg{font:11px system-ui,sans-serif;max-width:100%;height:auto}
text{fill:#3b434b}.title{font-size:13px;font-weight:600}
.grid{stroke:#8b949e;stroke-opacity:.25}.axis{stroke:#8b949e}
@media (prefers-color-scheme:dark){text{fill:#d1d7e0}}"""
_PAGE_STYLE: Final = """
:root{color-scheme:light dark}
body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
th,td{padding:.3rem .5rem;text-align:right;border-bottom:1px solid #8b949e55}
div{overflow-x:auto}"""


class _Curve(NamedTuple):
    name: str
    values: list[float]


class _Chart(NamedTuple):
    title: str
    curves: list[_Curve]


def _charts(levels: Sequence[Level]) -> list[_Chart]:
    def spread(title: str, name: str) -> _Chart:
        parts = ("p50", "p90", "p99")
        values = [[getattr(getattr(level, name), part) for level in levels] for part in parts]
        return _Chart(title, [_Curve(*both) for both in zip(parts, values, strict=True)])

    tokens = [level.tokens_per_second for level in levels]
    requests = [level.requests_per_second for level in levels]
    return [
        spread("TTFT, ms (less is better)", "ttft_ms"),
        spread("ITL, ms (less is better)", "itl_ms"),
        _Chart("Throughput, tokens/s (more is better)", [_Curve("tokens/s", tokens)]),
        _Chart("Throughput, requests/s (more is better)", [_Curve("requests/s", requests)]),
    ]


def svg(record: Record) -> str:
    """Four charts over the number of requests at once."""
    names = [str(level.concurrency) for level in record.levels]
    drawn = [
        f'<g transform="translate({place % 2 * _WIDTH} {place // 2 * _HEIGHT})">'
        f"{_drawn(chart, names)}</g>"
        for place, chart in enumerate(_charts(record.levels))
    ]
    title = escape(f"Load test of {record.model or 'a model'} at {record.base_url}, {record.began}")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {2 * _WIDTH} {2 * _HEIGHT}" '
        f'role="img"><title>{title}</title><style>{_STYLE}</style>{"".join(drawn)}</svg>\n'
    )


def _drawn(chart: _Chart, names: Sequence[str]) -> str:
    top = _ceiling(max((value for curve in chart.curves for value in curve.values), default=0.0))
    parts = [f'<text class="title" x="{_LEFT}" y="16">{escape(chart.title)}</text>']
    for step in range(5):
        y = _y(step / 4)
        parts.append(f'<path class="grid" d="M{_LEFT} {y:.1f}H{_WIDTH - _RIGHT}"/>')
        label = f"{top * step / 4:,.4g}"
        parts.append(f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{label}</text>')
    for place, name in enumerate(names):
        x = _x(place, len(names))
        parts.append(f'<text x="{x:.1f}" y="{_HEIGHT - 20}" text-anchor="middle">{name}</text>')
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    parts.append(f'<text x="{middle}" y="{_HEIGHT - 5}" text-anchor="middle">at once</text>')
    for number, curve in enumerate(chart.curves):
        parts.append(_line(curve, names, top, number))
    return "".join(parts)


def _line(curve: _Curve, names: Sequence[str], top: float, number: int) -> str:
    colour = _COLOURS[number]
    points = [
        (_x(place, len(names)), _y(value / top), names[place], value)
        for place, value in enumerate(curve.values)
    ]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y, _, _ in points)
    dots = "".join(
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{colour}">'
        f"<title>{name} at once, {escape(curve.name)}: {value:,.1f}</title></circle>"
        for x, y, name, value in points
    )
    left = _LEFT + 96 * number
    return (
        f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>{dots}'
        f'<circle cx="{left + 4}" cy="30" r="4" fill="{colour}"/>'
        f'<text x="{left + 13}" y="34">{escape(curve.name)}</text>'
    )


def _x(place: int, places: int) -> float:
    # Even steps: levels usually double, and the low ones matter as much as the high ones.
    return _LEFT + (_WIDTH - _LEFT - _RIGHT) * (place + 0.5) / places


def _y(part: float) -> float:
    return _HEIGHT - _BOTTOM - (_HEIGHT - _TOP - _BOTTOM) * part


def _ceiling(value: float) -> float:
    """The next of 1, 2, 4, 5, 6, 8 and 10 times a power of ten."""
    if value <= 0:
        return 1.0
    unit = 10.0 ** floor(log10(value))
    return (
        next(step for step in (1, 2, 4, 5, 6, 8, 10) if ceil(value / unit * 1e6) <= step * 1e6)
        * unit
    )


_COLUMNS: Final = [
    "at once",
    "requests",
    "failed",
    "cut",
    "req/s",
    "tokens/s",
    "TTFT p50",
    "p90",
    "p99 ms",
    "ITL p50",
    "p90",
    "p99 ms",
    "total p50",
    "p90",
    "p99 ms",
]


def html(record: Record) -> str:
    """A page with the charts, the table, and the record itself as JSON."""
    head = "".join(f"<th>{name}</th>" for name in _COLUMNS)
    rows = "".join(f"<tr>{_cells(level)}</tr>" for level in record.levels)
    errors = "".join(
        f"<li>{level.concurrency} at once: {count} x {escape(reason)}</li>"
        for level in record.levels
        for reason, count in level.errors.items()
    )
    model, url = escape(record.model or "a model"), escape(record.base_url)
    data = msgspec.json.encode(record).decode().replace("<", "\\u003c")
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Load test of {model}</title>
<meta name="viewport" content="width=device-width">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<style>{_PAGE_STYLE}</style></head><body>
<h1>Load test of {model}</h1>
<p>{url}, {record.began}; up to {record.requests} requests and {record.seconds:g} s a level, up to
{record.max_tokens} tokens an answer. TTFT: from sending a request to its first text. ITL: between
two chunks of text. Cut: still under way when the level's time was over.</p>
{svg(record)}<div><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>
{f"<h2>Errors</h2><ul>{errors}</ul>" if errors else "<p>No request failed.</p>"}
<script type="application/json" id="record">{data}</script>
</body></html>
"""


def _cells(level: Level) -> str:
    counts = [level.concurrency, level.requests, sum(level.errors.values()), level.cut]
    figures = [level.requests_per_second, level.tokens_per_second]
    for spread in (level.ttft_ms, level.itl_ms, level.total_ms):
        figures += [spread.p50, spread.p90, spread.p99]
    texts = [*map(str, counts), *(f"{figure:,.1f}" for figure in figures)]
    return "".join(f"<td>{text}</td>" for text in texts)
