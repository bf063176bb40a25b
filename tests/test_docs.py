"""The examples of the documentation run, as they stand, against a real server, and print what the
pages show below them."""

import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest
from write_configuration import page

from inferneo_server.settings import Settings
from tests.servers import RunningServer

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
ADDRESS = "://127.0.0.1:8000"  # of http and https
# An example may have a second engine started.
SECONDS = 300

# A block, and what it prints: the block of text right below it, if there is one.
_BLOCK = re.compile(r"^```(bash|python)\n(.*?)^```$(?:\n\n```text\n(.*?)^```$)?", re.M | re.S)
_EXCUSED = re.compile(r"<!-- not executed: .+ -->$")
# The embedded model only writes: what it cannot do is asked of the simulated engine.
_SIMULATED = "<!-- executed on the simulated engine -->"
# The server that the example starts is ended with it.
_OWN = "<!-- executed with a server of its own -->"
_ENDS = "trap 'kill $(jobs -p) 2>/dev/null || true; wait' EXIT"
_GOES_ON = "<!-- goes on from the example above -->"
_LINK = re.compile(r"\]\((?!https?:)([^)#]+)")
_HEADING_LINK = re.compile(r"\]\((?!https?:)([^)#]*)#([^)]+)\)")


class Example(NamedTuple):
    """A block of a page with those that go on from it, and the line above it.

    `prints` is a pattern of what it prints.
    """

    place: str
    language: str
    code: str
    mark: str
    prints: str


def examples() -> list[Example]:
    """All blocks that a reader would run, but for those that say why not."""
    found: list[Example] = []
    for path in PAGES:
        text = path.read_text()
        for block in _BLOCK.finditer(text):
            mark = text[: block.start()].rstrip("\n").rpartition("\n")[2]
            if _EXCUSED.match(mark):
                continue
            language, code, printed = block.groups()
            prints = pattern_of("...\n" if printed is None else printed)
            if mark == _GOES_ON:
                before = found.pop()
                found.append(
                    before._replace(code=before.code + code, prints=before.prints + prints)
                )
                continue
            line = text[: block.start()].count("\n") + 1
            found.append(Example(f"{path.name}:{line}", language, code, mark, prints))
    return found


def pattern_of(printed: str) -> str:
    """What a page shows, as a pattern: `...` is whatever stands there, a line of it any lines."""
    lines = [
        "(?:.*\n)*?" if line == "..." else re.escape(line).replace(r"\.\.\.", ".*?") + "\n"
        for line in printed.splitlines()
    ]
    return "".join(lines)


@pytest.mark.timeout(2 * SECONDS)
@pytest.mark.parametrize("example", examples(), ids=lambda example: example.place)
def test_an_example_runs(example: Example, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    if example.mark == _OWN:
        port = free_port()
        own = {"INFERNEO_PORT": str(port), "INFERNEO_STATE_DIR": str(tmp_path)}
        code = f"{_ENDS}\ncd {tmp_path}\n{example.code}"
        done = run(example.language, code, f"http://127.0.0.1:{port}", **own)
    else:
        name = "simulated_server" if example.mark == _SIMULATED else "vllm_server"
        server: RunningServer = request.getfixturevalue(name)
        with left_as_it_was(server):
            done = run(example.language, example.code, server.url)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout or example.language == "python"
    # Not all that curl prints ends a line.
    printed = done.stdout.rstrip("\n") + "\n"
    assert re.fullmatch(example.prints, printed), done.stdout
    assert "Traceback" not in done.stderr


def run(language: str, code: str, url: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Run an example with the server at that address, and bound it with all that it starts."""
    command = {"python": [sys.executable, "-c"], "bash": ["bash", "-euo", "pipefail", "-c"]}
    # The programs that the packages bring stand beside the interpreter.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        [
            "timeout",
            str(SECONDS),
            *command[language],
            code.replace(ADDRESS, url.removeprefix("http")),
        ],
        env={**os.environ, "PATH": path, **more},
        capture_output=True,
        text=True,
        timeout=SECONDS + 30,
    )


def free_port() -> int:
    """A port of loopback that nothing listens on."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        port: int = found.getsockname()[1]
    return port


@contextmanager
def left_as_it_was(server: RunningServer) -> Iterator[None]:
    """Unload what an example that failed has left loaded."""
    with httpx.Client(base_url=f"{server.url}/v1/models", timeout=60) as client:
        before = {model["id"] for model in client.get("").json()["data"]}
        try:
            yield
        finally:
            for model in client.get("").json()["data"]:
                if model["id"] not in before:
                    client.post(f"/{model['id']}/unload", json={"force": True})


def test_what_a_page_shows_is_what_must_be_printed() -> None:
    shown = pattern_of("one ... three\n...\nend.\n")
    assert re.fullmatch(shown, "one 2 three\nmore\nend.\n")
    assert re.fullmatch(shown, "one 2 three\nend.\n")
    for printed in ("one 2\n three\nend.\n", "one 2 three\nend!\n", "one 2 three\n", ""):
        assert not re.fullmatch(shown, printed)


def test_the_pages_have_examples() -> None:
    assert {example.language for example in examples()} == {"bash", "python"}


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_links_between_pages_lead_somewhere(path: Path) -> None:
    targets = _LINK.findall(path.read_text())
    assert [target for target in targets if not (path.parent / target).exists()] == []


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_links_to_headings_lead_to_one(path: Path) -> None:
    for target, heading in _HEADING_LINK.findall(path.read_text()):
        text = (path.parent / target if target else path).read_text()
        anchors = [anchor_of(title) for title in re.findall(r"^#+ (.+)$", text, re.M)]
        assert heading in anchors, f"{target}#{heading}"


def anchor_of(title: str) -> str:
    """What a link calls a heading, as GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


def test_the_files_that_the_architecture_names_are_there() -> None:
    named = re.findall(r"`([\w/]+\.py)`", (ROOT / "docs" / "architecture.md").read_text())
    # `core/` is short for the package of that name.
    there = [
        path.as_posix().replace("/inferneo_core/", "/core/")
        for path in (ROOT / "packages").rglob("*.py")
    ]
    assert len(named) > 50
    assert [name for name in named if not any(path.endswith(f"/{name}") for path in there)] == []


def test_every_setting_is_in_the_table_of_the_page() -> None:
    text = (ROOT / "docs" / "configuration.md").read_text()
    assert text == page(), "run `make docs`"
    assert all(f"`--{name.replace('_', '-')}`" in text for name in Settings.model_fields)


@pytest.mark.parametrize("page_name", ["configuration.md", "operations.md"])
def test_every_file_of_settings_that_a_page_shows_is_well(page_name: str, tmp_path: Path) -> None:
    shown = re.findall(
        r"^```yaml\n(.*?)^```$", (ROOT / "docs" / page_name).read_text(), re.M | re.S
    )
    assert shown
    for number, text in enumerate(shown):
        file = tmp_path / f"{number}.yaml"
        file.write_text(text)
        done = run("bash", f"inferneo-server config check --config {file}", f"http{ADDRESS}")
        assert done.returncode == 0, done.stdout + done.stderr


def test_every_page_is_in_the_index() -> None:
    index = (ROOT / "docs" / "index.md").read_text()
    assert all(
        f"({path.name})" in index
        for path in PAGES
        if path.parent.name == "docs" and path.name != "index.md"
    )
