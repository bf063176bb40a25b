"""Receives settings and what was given of them; hands on the value and the source of each."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from pydantic import BaseModel, SecretStr

from inferneo_server.environment import ENV_PREFIX, read_file, variables
from inferneo_server.settings import Settings

MASK = "****"

# Arguments of an engine hold secrets too (`hf_token`), and so do addresses.
_SECRET_NAME = re.compile(r"(token|secret|password|passwd|api_key)$", re.I)
_CREDENTIALS = re.compile(r"(?<=://)[^/@]+(?=@)")


class Explained(NamedTuple):
    """A setting; `value` is fit to be shown, `sources` are in the order in which they win."""

    name: str
    value: Any
    sources: Sequence[str]


def explain(settings: Settings, flags: Mapping[str, Any], config: str | None) -> list[Explained]:
    """Say of each setting what it is and where it came from; secrets are masked.

    Args:
        settings: all of them, as they were read.
        flags: those that the command line gave.
        config: the path of the file, or None.

    Raises:
        SettingsError: the file cannot be read.
    """
    from_file = read_file(Path(config)) if config else {}
    given = variables()
    explained = []
    for name in Settings.model_fields:
        value = getattr(settings, name)
        sources = [f"--{name.replace('_', '-')}"] if name in flags else []
        sources += _variables_of(name, given)
        sources += [str(config)] if name in from_file else []
        # Mappings are joined from all sources; of anything else the first one counts.
        counted = sources if isinstance(value, dict) else sources[:1]
        explained.append(Explained(name, presentable(value), counted or ["default"]))
    return explained


def presentable(value: Any) -> Any:
    """A value as JSON knows it, with its secrets masked."""
    match value:
        case SecretStr():
            return MASK
        case str():
            return _CREDENTIALS.sub(MASK, value)
        case BaseModel():
            return presentable({name: getattr(value, name) for name in type(value).model_fields})
        case msgspec.Struct():
            return presentable(msgspec.to_builtins(value))
        case dict():
            return {
                str(name): MASK if _SECRET_NAME.search(str(name)) and part else presentable(part)
                for name, part in value.items()
            }
        case list() | tuple() | set() | frozenset():
            return [presentable(part) for part in value]
        case None | bool() | int() | float():
            return value
    return str(value)


def _variables_of(name: str, given: Mapping[str, str]) -> list[str]:
    """The variables of a setting: its own, and those of parts of it."""
    own = f"{ENV_PREFIX}{name.upper()}"
    return [other for other in sorted(given) if other == own or other.startswith(f"{own}__")]
