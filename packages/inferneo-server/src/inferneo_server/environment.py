"""Receives nothing; hands on what the environment and a YAML file say of the settings.

The only reader of the environment.
"""

import difflib
import os
import re
from collections.abc import Collection, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, EnvSettingsSource

ENV_PREFIX = "INFERNEO_"

# The client's.
_OTHERS = frozenset({"INFERNEO_BASE_URL"})

# Kubernetes tells each container of the services beside it, in variables that begin with their
# names; where one is called Inferneo, among them `INFERNEO_PORT=tcp://10.0.0.1:8000`.
# Source: https://kubernetes.io/docs/tutorials/services/connect-applications-service/
_SERVICE_NAME = re.compile(
    r"INFERNEO_(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)"
)
_SERVICE_ADDRESS = re.compile(r"(tcp|udp|sctp)://.*")

# What is text whatever it looks like.
_TEXTS = frozenset({"secret"})


class Environment(EnvSettingsSource):
    """Variables, of which one inside a setting (`A__B`) means what its text means in the file."""

    def __init__(self, settings_cls: type[BaseSettings]) -> None:
        super().__init__(settings_cls)
        self.env_vars = {
            name: value
            for name, value in self.env_vars.items()
            if not _tells_of_service(name.upper(), value or "")
        }

    def explode_env_vars(
        self, field_name: str, field: FieldInfo, env_vars: Mapping[str, str | None]
    ) -> dict[str, Any]:
        values = super().explode_env_vars(field_name, field, env_vars)
        return {
            name: read_yaml(value) if isinstance(value, str) and name not in _TEXTS else value
            for name, value in values.items()
        }


class SettingsError(Exception):
    """A setting is wrong; the message names it, and is for the operator."""


def variables() -> dict[str, str]:
    """All variables that are called as settings are, by their names in capitals."""
    given = {name.upper(): value for name, value in os.environ.items()}
    return {
        name: value
        for name, value in given.items()
        if name.startswith(ENV_PREFIX) and not _tells_of_service(name, value)
    }


class UnknownVariable(NamedTuple):
    """A variable that looks like a setting and is none, and the one that it resembles."""

    name: str
    meant: str | None

    def __str__(self) -> str:
        guess = f"; did you mean {self.meant}?" if self.meant else ""
        return f"{self.name}: there is no such setting{guess}"


def unknown_variables(settings: Collection[str]) -> list[UnknownVariable]:
    """The variables that no setting reads. Others may have set those that resemble none.

    Args:
        settings: the names of all settings.
    """
    found = []
    for name in sorted(variables()):
        setting = name.removeprefix(ENV_PREFIX).partition("__")[0].lower()
        if setting not in settings and name not in _OTHERS:
            near = difflib.get_close_matches(setting, settings, n=1, cutoff=0.7)
            found.append(UnknownVariable(name, f"{ENV_PREFIX}{near[0].upper()}" if near else None))
    return found


def _tells_of_service(name: str, value: str) -> bool:
    """Whether Kubernetes has set a variable, and nobody a setting."""
    if name.endswith("_PORT") and _SERVICE_ADDRESS.fullmatch(value):
        return True
    return _SERVICE_NAME.fullmatch(name) is not None


def read_file(path: Path) -> dict[str, Any]:
    """Read a YAML file; what stands under `server:` counts as if it stood at the top.

    Raises:
        SettingsError: it cannot be read, or holds something else.
    """
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise SettingsError(f"config: {path} cannot be read: {error}") from None
    server = (values.pop("server", None) or {}) if isinstance(values, dict) else {}
    for table in (values, server):
        if not isinstance(table, dict) or not all(isinstance(name, str) for name in table):
            raise SettingsError(f"config: {path} must hold names and values")
    return {**server, **values}


def read_yaml(text: str) -> Any:
    """A value as YAML reads it; text that is no YAML is text."""
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return text


@lru_cache(maxsize=1)
def visible_gpus() -> str | None:
    """Which GPUs engines may see, by CUDA's own variable; None is all.

    As it was at first: it is changed while an engine starts that is to see one of them.
    """
    return os.environ.get("CUDA_VISIBLE_DEVICES")
