"""Receives the command line; hands on a table on the terminal and three files in `docs/`."""

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from bench.answers import WrongAnswer
from bench.contenders import CONTENDERS, ENGINE_ARGS, ContenderFailed, Setup
from bench.loads import LOADS, QUICK_LOADS
from bench.plot import svg
from bench.processes import end_by_signal
from bench.record import Record, encode, record
from bench.report import page, terminal
from bench.rounds import measure

_ROOT: Final = Path(__file__).parent.parent
_MODEL: Final = _ROOT / "packages/inferneo-server/src/inferneo_server/embedded/inferneo-tiny"


def main() -> int:
    """Measures, prints and writes; 1 where an answer was wrong or a contender did not start."""
    options = _options(sys.argv[1:])
    end_by_signal()
    try:
        made = _measure(options)
    except (WrongAnswer, ContenderFailed) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    print(terminal(made))
    if options.output is not None:
        _write(made, options.output)
    return 0


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--rounds", type=int, help="times that everything runs (default: 5)")
    parser.add_argument(
        "--quick", action="store_true", help="one round, fewer levels; writes only with --output"
    )
    parser.add_argument("--output", type=Path, metavar="DIR", help="where to write (default: docs)")
    parser.add_argument(
        "--model", type=Path, default=_MODEL, metavar="DIR", help="the model's folder"
    )
    parser.add_argument(
        "--only",
        action="append",
        choices=list(CONTENDERS),
        help="run only this contender (repeat it); default: all",
    )
    options = parser.parse_args(arguments)
    options.rounds = options.rounds or (1 if options.quick else 5)
    if options.output is None and not options.quick and not options.only:
        options.output = _ROOT / "docs"
    if not options.model.is_dir():
        parser.error(f"no model in {options.model}")
    return options


def _measure(options: argparse.Namespace) -> Record:
    busy, _, _ = os.getloadavg()
    with tempfile.TemporaryDirectory(prefix="inferneo-bench-") as logs:
        setup = Setup(model=options.model.resolve(), engine_args=ENGINE_ARGS, logs=Path(logs))
        cells = measure(
            [CONTENDERS[name](setup) for name in options.only or CONTENDERS],
            QUICK_LOADS if options.quick else LOADS,
            rounds=options.rounds,
            say=lambda line: print(line, flush=True),
        )
    return record(
        cells, model=setup.model, engine_args=ENGINE_ARGS, rounds=options.rounds, busy=busy
    )


def _write(made: Record, output: Path) -> None:
    output.mkdir(parents=True, exist_ok=True)
    (output / "benchmarks.json").write_bytes(encode(made))
    (output / "benchmarks.md").write_text(page(made))
    (output / "benchmarks.svg").write_text(svg(made))
    print(f"\nwrote benchmarks.md, benchmarks.svg and benchmarks.json to {output.name}/")


if __name__ == "__main__":
    raise SystemExit(main())
