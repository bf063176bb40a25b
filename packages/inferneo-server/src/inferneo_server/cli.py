"""Receives the command line; hands on settings to the server. Imports little: `--help` is quick."""

import argparse
import asyncio
import logging
import sys
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any, Literal, get_args, get_origin

from inferneo_server.engines.lifeline import die_with_parent
from inferneo_server.settings import ENV_PREFIX, Settings, SettingsError, load_settings

# Engine processes import this module first of all, and bind their lives to the server's here.
die_with_parent()


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the program; `serve` may be left out."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given and given[0] not in ("serve", "-h", "--help", "--version"):
        given = ["serve", *given]
    values = vars(_parser().parse_args(given or ["serve"]))
    values.pop("command")
    try:
        settings = load_settings(**values)
    except SettingsError as error:
        sys.exit(f"inferneo-server: {error}")
    _serve(settings)


def _serve(settings: Settings) -> None:
    # Imported late: they take a second, and an error in the settings should come at once.
    import uvloop

    from inferneo_server.engines.base import EngineStartError
    from inferneo_server.server import serve
    from inferneo_server.transports.tls import TlsError

    # Of what others log, warnings; the level is for our own lines.
    logging.basicConfig(
        level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr
    )
    for name in ("inferneo_server", "uvicorn"):
        logging.getLogger(name).setLevel(settings.log_level.upper())
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serve(settings))
    except TlsError as error:
        sys.exit(f"inferneo-server: {error}")
    except EngineStartError as error:
        sys.exit(f"inferneo-server: {settings.model} cannot be served: {error}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="inferneo-server",
        allow_abbrev=False,
        description="An OpenAI-compatible inference server over vLLM.",
    )
    parser.add_argument("--version", action="version", version=version("inferneo-server"))
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    serve = commands.add_parser(
        "serve",
        help="serve a model (the default)",
        description="Serve a model.",
        epilog=f"Each flag is also an environment variable ({ENV_PREFIX}PORT for --port) and a "
        "line of the file (port: 8000). A flag wins over the environment, that over the file.",
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
    )
    serve.add_argument("--config", metavar="FILE", help="YAML file with settings")
    for name, field in Settings.model_fields.items():
        default = field.get_default(call_default_factory=True)
        shown = "" if default in (None, {}, []) else f" (default: {default})"
        serve.add_argument(
            f"--{name.replace('_', '-')}",
            help=f"{field.description}{shown}",
            **_argument(name, field.annotation),
        )
    return parser


def _argument(name: str, annotation: Any) -> dict[str, Any]:
    """How argparse takes a setting. Values are checked by the settings, not here."""
    if get_origin(annotation) is Literal:
        return {"choices": get_args(annotation)}
    if annotation is bool:
        return {"action": argparse.BooleanOptionalAction}
    if get_origin(annotation) is dict:
        return {"action": _KeyValues, "metavar": "KEY=VALUE"}
    if get_origin(annotation) is list:
        # Repeated for each entry; the metavar is one of them.
        return {"action": "append", "metavar": name.rsplit("_", 1)[-1].upper().removesuffix("S")}
    return {"metavar": name.rsplit("_", 1)[-1].upper()}


class _KeyValues(argparse.Action):
    """Gathers `key=value` pairs and JSON objects into one dictionary; values are YAML."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        import yaml

        key, equals, value = values.partition("=")
        try:
            if values.startswith("{"):
                pairs = yaml.safe_load(values)
            elif equals:
                pairs = {key.replace("-", "_"): yaml.safe_load(value)}
            else:
                raise ValueError
        except (ValueError, yaml.YAMLError):
            parser.error(f"{option_string} takes key=value or a JSON object, not {values!r}")
        setattr(namespace, self.dest, getattr(namespace, self.dest, {}) | pairs)
