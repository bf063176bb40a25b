"""Receives nothing; hands on the parser of the command line. Imports little: `--help` is quick."""

import argparse
import os
from collections.abc import Callable
from importlib import import_module
from typing import Any

from inferneo_client._calls import VERSION

_EPILOG = """\
exit status: 0 well, 1 failed, 2 wrong usage, 3 no server answers, 4 the key is refused,
5 no such model or route, 130 interrupted"""

_COMMANDS = {
    "chat": ("talk with a model; answers one message where the input is no terminal", "chat"),
    "complete": ("have a text written on", "asking"),
    "embed": ("turn texts into vectors", "asking"),
    "models": ("list what is served", "asking"),
    "health": ("ask the server how it is", "asking"),
    "usage": ("tell what the key has used, by day and model", "accounts"),
    "token": ("make a short-lived token that counts as the key", "accounts"),
    "bench": ("load a server, level by level, and report its times", "bench"),
}


def _late(module: str, name: str) -> Callable[[argparse.Namespace], int]:
    """A command that is imported when it is run."""

    def run(given: argparse.Namespace) -> int:
        status: int = getattr(import_module(f"inferneo_client.cli.{module}"), name)(given)
        return status

    return run


def parser_of() -> argparse.ArgumentParser:
    """The parser of the whole command line."""
    parser = argparse.ArgumentParser(
        prog="inferneo",
        allow_abbrev=False,
        description="Use an Inferneo server, or another OpenAI-compatible one.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=VERSION)
    commands = parser.add_subparsers(required=True, metavar="command")
    made = {name: _command(commands, name) for name in _COMMANDS}
    _add_chat(made["chat"])
    _add_complete(made["complete"])
    made["embed"].add_argument("text", nargs="*", help="texts; else each line of the input is one")
    _add_bench(made["bench"])
    _add_usage(made["usage"])
    _add_token(made["token"])
    return parser


def _command(commands: Any, name: str) -> argparse.ArgumentParser:
    told, module = _COMMANDS[name]
    command: argparse.ArgumentParser = commands.add_parser(
        name, help=told, description=f"{told.capitalize()}.", allow_abbrev=False
    )
    command.set_defaults(run=_late(module, name))
    command.add_argument(
        "--base-url",
        metavar="URL",
        help="of the server, else INFERNEO_BASE_URL, OPENAI_BASE_URL, or this host's port 8000;"
        " /v1 is added where it has no path",
    )
    command.add_argument(
        "--api-key",
        metavar="KEY",
        help="else INFERNEO_API_KEY, OPENAI_API_KEY, which others see less",
    )
    command.add_argument(
        "--timeout", type=_positive, metavar="SECONDS", help="for each call as a whole"
    )
    command.add_argument("--json", action="store_true", help="print what the server answered")
    if name not in ("models", "health", "usage", "token"):
        command.add_argument("--model", metavar="NAME", help="else the first that is served")
    return command


def _add_sampling(command: argparse.ArgumentParser) -> None:
    command.add_argument("--max-tokens", type=_count, metavar="N", help="of an answer at most")
    command.add_argument("--temperature", type=float, metavar="T", help="0: always the likeliest")
    command.add_argument("--seed", type=int, metavar="N", help="the same one gives the same answer")


def _add_chat(chat: argparse.ArgumentParser) -> None:
    chat.add_argument("message", nargs="*", help="asked at once, before what the input holds")
    chat.add_argument("--system", metavar="TEXT", help="what the model shall be")
    chat.add_argument("--plain", action="store_true", help="do not render Markdown")
    _add_sampling(chat)


def _add_complete(complete: argparse.ArgumentParser) -> None:
    complete.add_argument("prompt", nargs="*", help="the text; else the input")
    complete.add_argument("--stop", action="append", metavar="TEXT", help="end before this text")
    _add_sampling(complete)


def _add_usage(usage: argparse.ArgumentParser) -> None:
    usage.add_argument("--start", metavar="DAY", help="as 2026-11-01 (default: 30 days ago)")
    usage.add_argument("--end", metavar="DAY", help="the last day (default: today)")
    usage.add_argument("--all", action="store_true", help="of all keys; needs the scope admin")


def _add_token(token: argparse.ArgumentParser) -> None:
    token.add_argument(
        "--seconds", type=_count, default=300, metavar="N", help="how long it counts (default: 300)"
    )


def _add_bench(bench: argparse.ArgumentParser) -> None:
    bench.add_argument("url", nargs="?", metavar="URL", help="the same as --base-url")
    bench.add_argument(
        "--concurrency",
        type=_levels,
        default=[1, 2, 4, 8, 16],
        metavar="N,N",
        help="requests under way at once, level by level (default: 1,2,4,8,16)",
    )
    bench.add_argument(
        "--requests", type=_count, default=64, metavar="N", help="of each level (default: 64)"
    )
    bench.add_argument(
        "--seconds",
        type=_positive,
        default=30.0,
        metavar="S",
        help="after which a level ends, whatever it has come to (default: 30)",
    )
    bench.add_argument(
        "--max-tokens", type=_count, default=64, metavar="N", help="of an answer (default: 64)"
    )
    bench.add_argument("--prompt", metavar="TEXT", help="asked each time, behind a number")
    bench.add_argument(
        "--ignore-eos",
        action="store_true",
        help="have each answer as long as it may be; servers of vLLM's kind know this",
    )
    bench.add_argument(
        "--output", metavar="FILE", type=_report, help="write a report: report.html or report.svg"
    )


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return value


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not 1 or more")
    return int(text)


def _levels(text: str) -> list[int]:
    parts = text.split(",")
    if not all(part.strip().isdecimal() for part in parts):
        raise argparse.ArgumentTypeError(f"{text!r} is not a list as 1,2,4")
    return sorted({_count(part.strip()) for part in parts})


def _report(text: str) -> str:
    if not text.endswith((".html", ".svg")):
        raise argparse.ArgumentTypeError(f"{text!r} ends neither in .html nor in .svg")
    folder = os.path.dirname(text) or "."
    if not os.access(folder, os.W_OK):
        raise argparse.ArgumentTypeError(f"{folder} cannot be written to")
    return text
