"""Receives a record; hands on an SVG of its medians that reads well on light and dark pages."""

import io
from typing import Any, Final

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from bench.figures import FLOOR, OURS, PEER, medians
from bench.loads import Load
from bench.record import Record
from bench.report import NAMES, contenders_of, loads_of

_COLOURS: Final = {OURS: "#2f81f7", PEER: "#d97b29", FLOOR: "#8b949e"}
_LINE: Final = "#8b949e"
_INK: Final = "#3b434b"

# A page that shows the file as an image passes on which of the two the reader prefers.
_STYLE: Final = (
    f"<style>text{{fill:{_INK} !important}}"
    "@media (prefers-color-scheme:dark){text{fill:#d1d7e0 !important}}</style>"
)

# Any: matplotlib types the keys one by one, and may be missing where only types are checked.
_SETTINGS: Final[Any] = {
    # Text stays text, and nothing in the file depends on when or where it was made.
    "svg.fonttype": "none",
    "svg.hashsalt": "inferneo",
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.edgecolor": _LINE,
    "axes.labelcolor": _INK,
    "xtick.color": _LINE,
    "ytick.color": _LINE,
    "xtick.labelcolor": _INK,
    "ytick.labelcolor": _INK,
}


def svg(record: Record) -> str:
    """Draws four panels of bars, a group for each load and a bar for each contender."""
    streams, unary = loads_of(record, "stream"), loads_of(record, "unary")
    panels: tuple[tuple[str, str, list[Load]], ...] = (
        ("CPU us per streamed token (less is better)", "cpu_us", streams),
        ("TTFT p50, ms (less is better)", "ttft_p50_ms", streams),
        ("tokens/s (more is better)", "tokens_per_s", streams),
        ("CPU us per unary request (less is better)", "cpu_us", unary),
    )
    with matplotlib.rc_context(_SETTINGS):
        canvas = Canvas(figsize=(9.6, 5.6), layout="constrained")
        for place, (title, figure, loads) in enumerate(panels):
            axes = canvas.add_subplot(2, 2, place + 1)
            _bars(axes, record, loads, figure)
            axes.set_title(title, fontsize=10)
        handles, labels = canvas.axes[0].get_legend_handles_labels()
        canvas.legend(handles, labels, loc="outside upper center", ncols=len(labels), frameon=False)
        written = io.StringIO()
        canvas.savefig(
            written, format="svg", transparent=True, metadata={"Date": None, "Creator": None}
        )
    return _styled(written.getvalue())


def _bars(axes: Axes, record: Record, loads: list[Load], figure: str) -> None:
    contenders = contenders_of(record)
    width = 0.8 / len(contenders)
    for place, name in enumerate(contenders):
        heights = [medians(record.cells, load, name)(figure) for load in loads]
        lefts = [at + (place - (len(contenders) - 1) / 2) * width for at in range(len(loads))]
        bars = axes.bar(
            lefts, heights, width * 0.92, label=NAMES[name], color=_COLOURS[name], zorder=2
        )
        axes.bar_label(bars, labels=[_short(height) for height in heights], fontsize=7, padding=1)
    axes.set_xticks(range(len(loads)), [load.name for load in loads])
    axes.tick_params(length=0)
    axes.margins(y=0.12)
    axes.grid(axis="y", color=_LINE, alpha=0.25, zorder=0)
    axes.spines[["top", "right", "left"]].set_visible(False)


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def _styled(drawn: str) -> str:
    head, opened, rest = drawn.partition("<defs>")
    lines = (head + _STYLE + opened + rest).splitlines()
    return "\n".join(line.rstrip() for line in lines) + "\n"
