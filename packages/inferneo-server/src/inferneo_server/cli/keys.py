"""Receives the flags of `keys`; hands on the keys that it makes, shows, changes and ends.

A running server with the same `state_dir` follows within a second.
"""

import argparse
import contextlib
import getpass
import logging
import re
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, get_args

import msgspec

from inferneo_server.access.audit import audit
from inferneo_server.access.identity import Limits, Scope
from inferneo_server.access.key_store import FILE_NAME, KeyRecord, KeyStore, KeyStoreError
from inferneo_server.access.settings import check_name
from inferneo_server.cli import Failure
from inferneo_server.environment import SettingsError
from inferneo_server.limits.presets import PRESETS, parse_limits
from inferneo_server.settings import load_settings

_UNIT_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_DURATION = re.compile(r"(\d{1,6})([smhdw])")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """One subcommand for each thing that can be done to keys."""
    acts = parser.add_subparsers(dest="act", required=True, metavar="act")

    def act(name: str, told: str) -> argparse.ArgumentParser:
        made = acts.add_parser(
            name, help=told, description=f"{told.capitalize()}.", allow_abbrev=False
        )
        made.add_argument("--config", metavar="FILE", help="YAML file that names the state_dir")
        made.add_argument("--state-dir", metavar="DIR", help="folder of the keys (keys.db)")
        made.add_argument("--json", action="store_true", help="print JSON")
        return made

    create = act("create", "make a key; it is printed once, alone on standard output")
    create.add_argument("name", metavar="NAME", help="what you call it")
    _add_rights(create)
    listed = act("list", "list the keys")
    listed.add_argument("--all", action="store_true", help="revoked and expired ones too")
    for name, told in (
        ("show", "show a key, but not its secret"),
        ("update", "change what a key may do; what is not given stays"),
        ("revoke", "end a key, and the tokens made with it, for good"),
        ("rotate", "give a key a new secret; its limits and what belongs to it stay"),
    ):
        made = act(name, told)
        made.add_argument("name", metavar="NAME", help="its name or id")
        if name == "update":
            _add_rights(made)
        if name == "rotate":
            made.add_argument(
                "--grace",
                metavar="TIME",
                type=_duration,
                default=0.0,
                help="how long the secret before counts too, as 15m (default: it ends at once)",
            )


def _add_rights(parser: argparse.ArgumentParser) -> None:
    # Not given is None: an update leaves it as it is.
    parser.add_argument(
        "--scope",
        action="append",
        choices=get_args(Scope),
        help="what it may do; repeat it for several (default: inference)",
    )
    parser.add_argument(
        "--model", action="append", metavar="NAME", help="a model it may use (default: all; `any`)"
    )
    parser.add_argument(
        "--preset", metavar="NAME", help=f"limits that have a name: {', '.join(PRESETS)}"
    )
    parser.add_argument(
        "--limit",
        action="append",
        metavar="NAME=NUMBER",
        help=f"a limit, beside those of the preset; NAME is one of "
        f"{', '.join(Limits.__struct_fields__)}",
    )
    parser.add_argument("--weight", type=_weight, help="its share of a busy engine (default: 1)")
    parser.add_argument(
        "--expires",
        metavar="WHEN",
        type=_moment,
        help="when it ends by itself: 30d, 12h, a day (2027-01-31), or never",
    )


def run(values: argparse.Namespace) -> int:
    """Do it.

    Raises:
        Failure: it cannot be done; the message says why.
    """
    # The line of the audit log goes where a server's goes: to standard error.
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("inferneo_server.audit").setLevel(logging.INFO)
    try:
        with _open(values) as store:
            return int(_ACTS[values.act](store, values) or 0)
    except (KeyStoreError, SettingsError, ValueError) as error:
        raise Failure(str(error)) from None


@contextlib.contextmanager
def _open(values: argparse.Namespace) -> Iterator[KeyStore]:
    flags = {"state_dir": values.state_dir} if values.state_dir else {}
    settings = load_settings(values.config, **flags)
    path = settings.state_dir / FILE_NAME
    if values.act != "create" and not path.exists():
        raise Failure(f"there are no keys yet in {path.parent}; see `keys create`")
    store = KeyStore(path)
    try:
        yield store
    finally:
        store.close()


def _create(store: KeyStore, values: argparse.Namespace) -> None:
    secret, record = store.create(
        _name(values.name),
        scopes=list(dict.fromkeys(values.scope or ["inference"])),
        models=_models(values.model),
        limits=_limits(values, None),
        weight=values.weight or 1.0,
        expires_at=values.expires or None,
    )
    _audit(f"keys create {record.id} ({record.name})")
    _tell_secret(secret, record, values)


def _rotate(store: KeyStore, values: argparse.Namespace) -> None:
    secret, record = store.rotate(values.name, grace_seconds=values.grace)
    _audit(f"keys rotate {record.id} ({record.name})")
    _tell_secret(secret, record, values)


def _tell_secret(secret: str, record: KeyRecord, values: argparse.Namespace) -> None:
    if values.json:
        _print_json({"key": secret, **msgspec.to_builtins(record)})
        return
    print(secret)
    print("This is the key, and the only time that it is shown.", file=sys.stderr)


def _update(store: KeyStore, values: argparse.Namespace) -> None:
    before = store.find(values.name)
    limits_given = values.limit is not None or values.preset is not None
    record = store.update(
        before.id,
        scopes=before.scopes if values.scope is None else list(dict.fromkeys(values.scope)),
        models=before.models if values.model is None else _models(values.model),
        limits=_limits(values, before.limits) if limits_given else before.limits,
        weight=before.weight if values.weight is None else values.weight,
        expires_at=before.expires_at if values.expires is None else values.expires or None,
    )
    _audit(f"keys update {record.id} ({record.name})")
    _tell(record, values)


def _revoke(store: KeyStore, values: argparse.Namespace) -> None:
    record = store.revoke(values.name)
    _audit(f"keys revoke {record.id} ({record.name})")
    _tell(record, values)


def _show(store: KeyStore, values: argparse.Namespace) -> None:
    _tell(store.find(values.name), values)


def _list(store: KeyStore, values: argparse.Namespace) -> None:
    records = [each for each in store.records() if values.all or _state(each) == "active"]
    if values.json:
        _print_json([msgspec.to_builtins(each) for each in records])
        return
    rows = [("NAME", "ID", "SCOPES", "MODELS", "STATE", "EXPIRES", "LAST USED")]
    rows += [
        (
            each.name,
            each.id,
            ",".join(each.scopes),
            "any" if each.models is None else ",".join(each.models),
            _state(each),
            _day(each.expires_at),
            _day(each.last_used_at),
        )
        for each in records
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(map(str.ljust, row, widths)).rstrip())


_ACTS: dict[str, Any] = {
    "create": _create,
    "list": _list,
    "show": _show,
    "update": _update,
    "revoke": _revoke,
    "rotate": _rotate,
}


def _tell(record: KeyRecord, values: argparse.Namespace) -> None:
    if values.json:
        _print_json(msgspec.to_builtins(record))
        return
    print(f"name       {record.name}\nid         {record.id}\nstate      {_state(record)}")
    print(f"scopes     {', '.join(record.scopes)}")
    print(f"models     {'any' if record.models is None else ', '.join(record.models)}")
    limits = msgspec.to_builtins(record.limits or Limits())
    shown = ", ".join(f"{name}={value}" for name, value in limits.items())
    print(f"limits     {shown or 'those of the server'}\nweight     {record.weight:g}")
    for name in ("created", "expires", "revoked", "last_used"):
        print(f"{name.replace('_', ' '):<10} {_day(getattr(record, f'{name}_at'))}")


def _state(record: KeyRecord) -> str:
    if record.revoked_at is not None:
        return "revoked"
    ended = record.expires_at is not None and record.expires_at <= time.time()
    return "expired" if ended else "active"


def _day(moment: float | None) -> str:
    if moment is None:
        return "never"
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _print_json(value: Any) -> None:
    print(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())


def _audit(what: str) -> None:
    try:
        user = getpass.getuser()
    except (OSError, KeyError):
        user = "unknown"
    audit(f"user {user}", what)


def _name(text: str) -> str:
    try:
        return check_name(text)
    except ValueError as error:
        raise Failure(f"NAME {error}") from None


def _models(given: list[str] | None) -> list[str] | None:
    return None if not given or given == ["any"] else list(dict.fromkeys(given))


def _limits(values: argparse.Namespace, before: Limits | None) -> Limits | None:
    """The preset and the limits beside it; without a preset, those of before and these."""
    if values.preset is None and values.limit is None:
        return before
    given: dict[str, Any] = {} if values.preset is None else {"preset": values.preset}
    if values.preset is None and before is not None:
        given |= msgspec.to_builtins(before)
    for text in values.limit or []:
        name, equals, number = text.partition("=")
        if not equals:
            raise Failure(f"--limit takes NAME=NUMBER, not {text!r}")
        # `none` takes a limit away.
        given[name.replace("-", "_")] = None if number == "none" else _number(number)
    return parse_limits(given)


def _number(text: str) -> int | str:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 18 else text


def _duration(text: str) -> float:
    found = _DURATION.fullmatch(text)
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r} is no time; write 90s, 15m, 12h or 30d")
    return float(found[1]) * _UNIT_SECONDS[found[2]]


def _moment(text: str) -> float:
    """Seconds since the epoch; 0 for never."""
    if text == "never":
        return 0.0
    if _DURATION.fullmatch(text):
        return time.time() + _duration(text)
    try:
        day = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no time; write 30d, 12h, 2027-01-31 or never"
        ) from None
    moment = (day if day.tzinfo else day.replace(tzinfo=UTC)).timestamp()
    if moment <= time.time():
        raise argparse.ArgumentTypeError(f"{text!r} is over")
    return moment


def _weight(text: str) -> float:
    try:
        weight = float(text)
    except ValueError:
        weight = 0.0
    if not 0 < weight <= 1000:
        raise argparse.ArgumentTypeError(f"{text!r} is no number above 0, up to 1000")
    return weight
