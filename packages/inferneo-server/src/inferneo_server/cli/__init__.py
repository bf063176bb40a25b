"""Receives the command line; hands on to the module of its command. Imports little.

A command is a line of `COMMANDS` and a module with `add_arguments(parser)` and `run(values)`, which
gives the exit status. It is imported only when it is asked for.
"""

import argparse
import difflib
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import version
from typing import Any, NamedTuple

from inferneo_server.cli.unknown_flags import advice
from inferneo_server.engines.lifeline import die_with_parent

# Engine processes import this module first of all, and bind their lives to the server's here.
die_with_parent()

DEFAULT = "serve"
WRONG_USAGE = 2  # argparse's own
INTERRUPTED = 130  # 128 and the signal's number, as shells say it

_EPILOG = f"""\
`{DEFAULT}` may be left out. `inferneo-server <command> --help` tells more of a command.

exit status: 0 well, 1 failed, 2 wrong usage, 130 interrupted"""


class Command(NamedTuple):
    """What `--help` says of a command, and the module of this package that it is."""

    told: str
    module: str


COMMANDS = {
    "serve": Command("serve models (the default)", "serve"),
    "keys": Command("make, list, change and end the keys that requests carry", "keys"),
    "models": Command("list, load and unload the models of a server", "models"),
    "devices": Command("list what this machine can run models on", "devices"),
    "config": Command("explain the settings, and check them", "config"),
}


class Failure(Exception):
    """What ends a command; the message is for the operator."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the program; ends by `SystemExit`."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if not given or given[0] not in (*COMMANDS, "-h", "--help", "--version"):
        if given and not given[0].startswith("-"):
            sys.exit(_refuse(given[0]))
        given = [DEFAULT, *given]
    sys.exit(_run(given))


def _refuse(name: str) -> int:
    near = difflib.get_close_matches(name, COMMANDS, n=1)
    told = f"did you mean {near[0]}?" if near else f"there are {', '.join(COMMANDS)}"
    if "/" in name:
        told = f"to serve that model: inferneo-server {DEFAULT} {name}"
    print(f"inferneo-server: there is no command {name}; {told}", file=sys.stderr)
    return WRONG_USAGE


def _run(given: list[str]) -> int:
    module = _module(given[0])
    values = _parser(given[0], module).parse_args(given)
    try:
        status: int = module.run(values)
        sys.stdout.flush()
    except Failure as failure:
        lines = str(failure).splitlines()
        print(*(f"inferneo-server: {line}" for line in lines), sep="\n", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # Who read the output has gone, as `head` does; Python would complain when it closes it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return status


def _module(name: str) -> Any:
    """The module of a command; None where only the program itself is asked about."""
    command = COMMANDS.get(name)
    return command and import_module(f"inferneo_server.cli.{command.module}")


class _Parser(argparse.ArgumentParser):
    """Refuses a flag that it does not know with the one that was meant."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:
        values, rest = super().parse_known_args(args, namespace)
        if rest:
            flag = rest[0].partition("=")[0]
            self.error(
                f"{flag} is not known{advice(flag, args or [], self._option_string_actions)}"
            )
        return values, rest


def _parser(asked: str, module: Any) -> argparse.ArgumentParser:
    """The parser of the program, of which only the command that is asked for is complete."""
    parser = _Parser(
        prog="inferneo-server",
        allow_abbrev=False,
        description="An OpenAI-compatible inference server over vLLM.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=version("inferneo-server"))
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    for name, command in COMMANDS.items():
        made = commands.add_parser(
            name,
            help=command.told,
            description=f"{command.told.capitalize()}.",
            allow_abbrev=False,
        )
        if name == asked:
            module.add_arguments(made)
    return parser
