"""What type checkers say of the public surface: mypy checks `typing/shapes.py` in `make check`."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.test_docs import examples

ROOT = Path(__file__).parents[2]
SOURCES = [ROOT / "packages" / name / "src" for name in ("inferneo-core", "inferneo-client")]
SHAPES = ROOT / "tests" / "client" / "typing" / "shapes.py"
SECONDS = 110


def pyright(folder: Path, *arguments: str) -> dict[str, Any]:
    """What pyright found; the test is skipped where its program cannot be fetched."""
    # For `--verifytypes` pyright looks for packages with the first interpreter on the path.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pyright",
            "--pythonpath",
            sys.executable,
            "--outputjson",
            *arguments,
        ],
        cwd=folder,
        env={**os.environ, "PATH": path, "PYTHONPATH": os.pathsep.join(map(str, SOURCES))},
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    if not done.stdout.startswith("{"):
        pytest.skip(f"pyright does not run here: {done.stderr[-200:]}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_every_overload_has_its_type_for_pyright_as_well(tmp_path: Path) -> None:
    found = pyright(tmp_path, str(SHAPES))

    assert found["generalDiagnostics"] == []
    assert found["summary"]["filesAnalyzed"] == 1


@pytest.fixture(scope="module")
def documented(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The examples of the page, each in a file that is named by its line."""
    folder = tmp_path_factory.mktemp("documented")
    for example in examples():
        page, _, line = example.place.partition(":")
        if page == "client.md" and example.language == "python":
            (folder / f"line_{line}.py").write_text(f"# pyright: strict\n{example.code}")
    return folder


def test_the_documented_examples_are_strict_for_pyright(documented: Path) -> None:
    found = pyright(documented, str(documented))

    told = [(item["file"], item["message"]) for item in found["generalDiagnostics"]]
    assert told == []
    assert found["summary"]["filesAnalyzed"] == len(list(documented.iterdir())) > 10


def test_the_documented_examples_are_strict_for_mypy(documented: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mypy", f"--config-file={ROOT / 'pyproject.toml'}", str(documented)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("package", ["inferneo_core", "inferneo_client"])
def test_every_public_type_is_known(tmp_path: Path, package: str) -> None:
    found = pyright(tmp_path, "--ignoreexternal", "--verifytypes", package)

    incomplete = [s for s in found["typeCompleteness"]["symbols"] if not s["isTypeKnown"]]
    assert incomplete == []
    assert found["typeCompleteness"]["completenessScore"] == 1
