"""Receives what is found wrong with settings; hands on lines that name the setting, for people."""

import difflib
import re
from collections.abc import Iterable
from typing import Any

from inferneo_server.environment import ENV_PREFIX
from inferneo_server.model_settings import ModelSettings


def explain_source(told: str) -> str:
    """Which variable holds no JSON; the library names its setting, and its own class."""
    found = re.search(r'value for field "(\w+)"', told)
    if found is None:
        return f"environment: {told}"
    return f"{ENV_PREFIX}{found[1].upper()}: a list or a table is given as JSON, and this is none"


def explain_problem(problem: Any, settings: Iterable[str]) -> str:
    """What is wrong with one setting, and where it is none of `settings`, which is like it."""
    name = ".".join(str(part) for part in problem["loc"])
    if problem["type"] != "extra_forbidden":
        told = problem["msg"].removeprefix("Value error, ")
        return f"{name}: {told}" if name else told
    parts = problem["loc"]
    known = ModelSettings.model_fields if parts[0] == "models" else settings
    near = difflib.get_close_matches(str(parts[-1]), list(known), n=1)
    return f"{name}: there is no such setting" + (f"; did you mean {near[0]}?" if near else "")
