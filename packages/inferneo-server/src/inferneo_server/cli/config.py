"""Receives the flags of `serve`; hands on what each setting is and why, or what is wrong."""

import argparse
import json
from typing import Any

from inferneo_server.cli import Failure
from inferneo_server.cli.console import print_json, print_table
from inferneo_server.cli.flags import add_settings, given_settings, settings_of
from inferneo_server.environment import unknown_variables
from inferneo_server.setting_groups import grouped
from inferneo_server.setting_sources import Explained, explain
from inferneo_server.settings import Settings
from inferneo_server.transports.tls import Certificate, TlsError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """One command below: `check`."""
    commands = parser.add_subparsers(dest="action", required=True, metavar="command")
    told = "say what each setting is and where it came from; exit status 1 where one is wrong"
    check = commands.add_parser(
        "check", help=told, description=f"{told.capitalize()}.", allow_abbrev=False
    )
    add_settings(check)
    check.add_argument("--json", action="store_true", default=False, help="print JSON")
    check.add_argument(
        "--all", action="store_true", default=False, help="show defaults that nothing changes, too"
    )


def run(values: argparse.Namespace) -> int:
    """Check what `serve` would be given.

    Raises:
        Failure: it would be refused, or a variable is no setting.
    """
    settings = settings_of(values)
    if settings.tls_cert:
        try:
            Certificate(settings.tls_cert, settings.tls_key)
        except TlsError as error:
            raise Failure(str(error)) from None
    if unknown := unknown_variables(Settings.model_fields):
        raise Failure("\n".join(map(str, unknown)))
    flags = given_settings(values)
    explained = explain(settings, flags, flags.get("config"))
    if values.json:
        print_json(
            {one.name: {"value": one.value, "sources": list(one.sources)} for one in explained}
        )
        return 0
    _print(explained, everything=values.all)
    return 0


def _print(explained: list[Explained], *, everything: bool) -> None:
    by_name = {one.name: one for one in explained}
    shown = [one for one in explained if everything or list(one.sources) != ["default"]]
    for group, names in grouped(one.name for one in shown):
        print(f"{group}:")
        rows = [by_name[name] for name in names]
        print_table(
            ("  setting", "value", "from"),
            [(f"  {one.name}", _text(one.value), ", ".join(one.sources)) for one in rows],
        )
        print()
    rest = len(explained) - len(shown)
    defaults = f"; {rest} are at their defaults (--all shows them)" if rest else ""
    print(f"All settings are well{defaults}.")


def _text(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, str) and value.isprintable():
        return value
    return json.dumps(value, ensure_ascii=False)
