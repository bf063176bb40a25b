"""The examples of the documentation run, as they stand, against a real server."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
from write_configuration import page

from inferneo_server.settings import Settings
from tests.servers import RunningServer

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
SECONDS = 120

_BLOCK = re.compile(r"^```(bash|python)\n(.*?)^```$", re.M | re.S)
_EXCUSED = re.compile(r"<!-- not executed: .+ -->$")
# The embedded model only writes: what it cannot do is asked of the simulated engine.
_SIMULATED = "<!-- executed on the simulated engine -->"
_LINK = re.compile(r"\]\((?!https?:)([^)#]+)")


class Example(NamedTuple):
    """A block of a page, and the line above it."""

    place: str
    language: str
    code: str
    simulated: bool


def examples() -> list[Example]:
    """All blocks that a reader would run, but for those that say why not."""
    found = []
    for path in PAGES:
        text = path.read_text()
        for block in _BLOCK.finditer(text):
            above = text[: block.start()].rstrip("\n").rpartition("\n")[2]
            line = text[: block.start()].count("\n") + 1
            if not _EXCUSED.match(above):
                place, simulated = f"{path.name}:{line}", above == _SIMULATED
                found.append(Example(place, block.group(1), block.group(2), simulated))
    return found


@pytest.mark.parametrize("example", examples(), ids=lambda example: example.place)
def test_an_example_runs(example: Example, request: pytest.FixtureRequest) -> None:
    name = "simulated_server" if example.simulated else "vllm_server"
    server: RunningServer = request.getfixturevalue(name)
    code = example.code.replace("http://127.0.0.1:8000", server.url)
    command = {
        "python": [sys.executable, "-c", code],
        "bash": ["bash", "-euo", "pipefail", "-c", code],
    }[example.language]
    # The programs that the packages bring stand beside the interpreter.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        command,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout or example.language == "python"
    assert "Traceback" not in done.stderr


def test_the_pages_have_examples() -> None:
    assert {example.language for example in examples()} == {"bash", "python"}


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_links_between_pages_lead_somewhere(path: Path) -> None:
    targets = _LINK.findall(path.read_text())
    assert [target for target in targets if not (path.parent / target).exists()] == []


def test_every_setting_is_in_the_table_of_the_page() -> None:
    text = (ROOT / "docs" / "configuration.md").read_text()
    assert text == page(), "run `make docs`"
    assert all(f"`--{name.replace('_', '-')}`" in text for name in Settings.model_fields)


def test_every_page_is_in_the_index() -> None:
    index = (ROOT / "docs" / "index.md").read_text()
    assert all(
        f"({path.name})" in index
        for path in PAGES
        if path.parent.name == "docs" and path.name != "index.md"
    )
