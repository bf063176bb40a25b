"""`inferneo bench`: what it counts, its bounds, and a report that loads nothing."""

import json
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from inferneo_client.cli.figures import Level, Record, Sample, Spread, level_of, spread_of
from inferneo_client.cli.report import html, svg
from tests.client.program import end_of, on_terminal, run
from tests.client.scripted import ScriptedServer, whole
from tests.servers import RunningServer, running_server


@pytest.fixture(scope="module")
def endless_server() -> Iterator[RunningServer]:
    """Writes slowly, and for longer than any test waits."""
    flags = ["token_seconds=0.05", "words=10000"]
    with running_server(
        "--engine=simulated", *(f"--engine-args={flag}" for flag in flags)
    ) as server:
        yield server


def measured(*arguments: str) -> dict[str, Any]:
    done = run("bench", *arguments, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def test_each_level_has_its_requests_and_their_tokens(simulated_server: RunningServer) -> None:
    before = simulated_server.metric("inferneo_completion_tokens_total")
    arguments = ["--concurrency", "1,3", "--requests", "5", "--max-tokens", "8"]
    record = measured(simulated_server.url, *arguments)
    written = simulated_server.metric("inferneo_completion_tokens_total") - before

    assert [(level["concurrency"], level["requests"]) for level in record["levels"]] == [
        (1, 5),
        (3, 5),
    ]
    assert record["model"] == "inferneo-tiny"
    for level in record["levels"]:
        assert (level["cut"], level["errors"]) == (0, {})
        assert level["tokens_per_second"] * level["seconds"] == pytest.approx(5 * 8)
        assert level["requests_per_second"] * level["seconds"] == pytest.approx(5)
        assert 0 < level["ttft_ms"]["p50"] <= level["ttft_ms"]["p99"] <= level["total_ms"]["p99"]
        assert 0 < level["itl_ms"]["mean"] < level["total_ms"]["mean"]
    # Ten that were measured, and one before them.
    assert written == 11 * 8


def test_answers_can_be_made_as_long_as_they_may_be(simulated_server: RunningServer) -> None:
    arguments = ["--concurrency", "2", "--requests", "2", "--max-tokens", "50", "--ignore-eos"]
    (level,) = measured(simulated_server.url, *arguments)["levels"]

    assert level["tokens_per_second"] * level["seconds"] == pytest.approx(100)


def test_a_level_ends_when_its_time_is_over(endless_server: RunningServer) -> None:
    arguments = ["--concurrency", "4", "--max-tokens", "4", "--ignore-eos", "--seconds", "3"]
    (level,) = measured(endless_server.url, *arguments, "--requests", "1000000")["levels"]

    assert 0 < level["requests"] < 1000
    assert level["cut"] <= 4
    assert level["errors"] == {}


def test_a_server_too_slow_to_answer_once_is_told_of(endless_server: RunningServer) -> None:
    arguments = ["--concurrency", "2", "--max-tokens", "9000", "--seconds", "0.5"]
    done = run("bench", endless_server.url, *arguments)

    assert done.returncode == 3
    assert done.stderr == "inferneo: The server was silent for 0.5 s\n"


def test_errors_are_counted_by_kind_and_sent_once(other: ScriptedServer) -> None:
    first = run(
        "bench", other.url, "--model", "m", "--concurrency", "2", "--requests", "4", "--json"
    )
    assert first.returncode == 0
    other.reset()
    other.answer = whole(429, b'{"error": {"message": "later", "code": "too_many_requests"}}')
    try:
        refused = run("bench", other.url, "--model", "m", "--requests", "4")
    finally:
        other.answer = None

    # The first request of all tells that nothing can be measured.
    assert refused.returncode == 1
    assert refused.stderr == "inferneo: later\n"
    assert other.generations == 1


def test_the_table_has_a_line_for_each_level(simulated_server: RunningServer) -> None:
    done = run("bench", simulated_server.url, "--concurrency", "2,1", "--requests", "4")
    head, *rows = done.stdout.splitlines()

    assert (done.returncode, done.stderr) == (0, "")
    assert "TTFT" in head and "ITL" in head and "tok/s" in head
    assert [row.split()[:4] for row in rows] == [["1", "4", "0", "0"], ["2", "4", "0", "0"]]


def test_a_terminal_shows_how_far_it_is_and_ctrl_c_shows_what_there_is(
    endless_server: RunningServer,
) -> None:
    # Three seconds a request: time enough for Ctrl-C to come in the middle of one.
    flags = ["--concurrency", "1,2", "--requests", "2", "--max-tokens", "60", "--ignore-eos"]
    terminal = on_terminal("bench", endless_server.url, *flags)
    terminal.expect_exact("1 at once [##############################] 2/2")
    terminal.expect_exact("2 at once [")
    terminal.sendintr()

    assert end_of(terminal) == 130
    assert re.search(r"\n +1 +2 +0 +0 ", terminal.before)


class Page(HTMLParser):
    """The tags of a page, and what they refer to."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.references: list[str] = []
        self.policy = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, text in attrs:
            if name in ("src", "href", "xlink:href", "action", "data", "srcset"):
                self.references.append(f"{tag} {text}")
            if name == "content" and text and "default-src" in text:
                self.policy = text


def test_the_report_is_one_page_with_charts_and_the_record(
    simulated_server: RunningServer, tmp_path: Path
) -> None:
    file = tmp_path / "report.html"
    flags = ["--concurrency", "1,2", "--requests", "4", "--output", str(file)]
    done = run("bench", simulated_server.url, *flags, "--json")
    text = file.read_text()
    page = Page()
    page.feed(text)

    assert done.stderr == f"inferneo: wrote {file}\n"
    assert page.references == []
    assert page.policy == "default-src 'none'; style-src 'unsafe-inline'"
    assert "@import" not in text and "url(" not in text
    assert page.tags.count("polyline") == 8
    (kept,) = re.findall(r'<script type="application/json" id="record">(.*)</script>', text)
    assert json.loads(kept) == json.loads(done.stdout)


def test_an_svg_is_one_image(simulated_server: RunningServer, tmp_path: Path) -> None:
    file = tmp_path / "report.svg"
    flags = ["--concurrency", "1", "--requests", "2", "--output", str(file)]
    assert run("bench", simulated_server.url, *flags).returncode == 0
    root = ElementTree.parse(file).getroot()

    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert len(root.findall(".//{http://www.w3.org/2000/svg}polyline")) == 8


def test_a_report_that_cannot_be_written_is_told_before_anything_is_measured(
    ours: ScriptedServer, tmp_path: Path
) -> None:
    done = run("bench", ours.url, "--output", str(tmp_path / "none" / "report.html"))

    assert done.returncode == 2
    assert "none" in done.stderr
    assert ours.requests == []


def record_of(*levels: Level, model: str = "m") -> Record:
    return Record(
        base_url="http://h/v1",
        model=model,
        began="2026-01-01T00:00:00+00:00",
        max_tokens=1,
        requests=1,
        seconds=1,
        levels=list(levels),
    )


def test_names_from_a_server_are_text_in_a_report() -> None:
    nasty = '</script><img src=x onerror=alert(1)>&"'
    level = level_of(1, [Sample(0.0, error=nasty)], 0.0, 1.0)
    page = Page()
    page.feed(html(record_of(level, model=nasty)))

    assert "img" not in page.tags
    assert page.tags.count("script") == 1
    ElementTree.fromstring(svg(record_of(level, model=nasty)))


@pytest.mark.parametrize("levels", [[], [level_of(1, [], 0.0, 1.0)]])
def test_a_report_of_nothing_can_be_drawn(levels: list[Level]) -> None:
    ElementTree.fromstring(svg(record_of(*levels)))


def test_the_figures_of_a_level() -> None:
    samples = [
        Sample(0.0, [0.1, 0.2, 0.4], tokens=6, ended=0.5),
        Sample(0.0, [0.3], ended=0.3),
        Sample(1.0, [1.5, 1.6]),
        Sample(1.0, [1.1], error="500 server_error"),
        Sample(1.0, error="500 server_error"),
    ]
    level = level_of(2, samples, 0.0, 2.0)

    assert (level.requests, level.cut, level.errors) == (2, 1, {"500 server_error": 2})
    assert level.requests_per_second == 1.0
    assert level.tokens_per_second == (6 + 1 + 2 + 1) / 2
    assert level.ttft_ms.mean == pytest.approx(300)
    assert level.itl_ms.p50 == pytest.approx(100)
    total = level.total_ms
    assert (total.mean, total.p50, total.p90, total.p99) == pytest.approx((400, 400, 480, 498))


def test_a_spread_lies_between_its_neighbours() -> None:
    spread = spread_of([number / 1000 for number in range(100, -1, -1)])

    assert (spread.mean, spread.p50, spread.p90, spread.p99) == pytest.approx((50, 50, 90, 99))
    assert spread_of([]) == Spread()
    assert spread_of([0.002]).p99 == pytest.approx(2)
