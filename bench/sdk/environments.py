"""Receives what to install; hands on a virtual environment with that alone, or how much it is."""

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

_UV: Final = Path(sys.executable).with_name("uv")
_PACKAGES: Final = Path(__file__).parents[2] / "packages"

OPENAI_PACKAGES: Final = ("openai",)
OUR_PACKAGES: Final = tuple(str(_PACKAGES / name) for name in ("inferneo-core", "inferneo-client"))


class Environment(NamedTuple):
    """A virtual environment: its interpreter, and what is installed in it."""

    python: Path
    distributions: int
    megabytes: float


@contextmanager
def environment(*what: str) -> Iterator[Environment]:
    """An environment of this Python, for as long as the block lasts.

    Libraries import others where those are there: only an environment with nothing else in it tells
    what an installation loads.
    """
    with tempfile.TemporaryDirectory() as folder:
        python = Path(folder, "bin", "python")
        for command in (
            ["venv", "--quiet", "--python", sys.executable, folder],
            # A member of a workspace would be linked to, and its files not be there.
            ["pip", "install", "--quiet", "--no-sources", "--python", str(python), *what],
        ):
            subprocess.run([_UV, *command], check=True)
        packages = next(Path(folder, "lib").iterdir()) / "site-packages"
        count = len(list(packages.glob("*.dist-info")))
        size = sum(path.stat().st_size for path in packages.rglob("*") if path.is_file())
        yield Environment(python, count, size / 1e6)


def resolved(version: str, *what: str) -> int:
    """How many distributions an installation is on another version of Python."""
    flags = ["--quiet", "--no-header", "--no-annotate", "--no-sources", "--no-emit-index-url"]
    done = subprocess.run(
        [_UV, "pip", "compile", *flags, "--python-version", version, "-"],
        input="\n".join(what),
        capture_output=True,
        text=True,
        check=True,
    )
    return len([line for line in done.stdout.splitlines() if line and line[0] != "#"])
