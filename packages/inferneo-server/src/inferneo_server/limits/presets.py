"""Receives a preset's name, or a mapping, as people write them; hands on the Limits they mean."""

import difflib
from collections.abc import Mapping
from typing import Any

import msgspec
import yaml

from inferneo_server.access.identity import Limits

PRESETS: dict[str, Limits] = {
    # The limits that the published pages of these two APIs name.
    "inferneo": Limits(requests_per_minute=60, tokens_per_minute=150_000, requests_per_day=3_500),
    "vllm-api-server": Limits(
        requests_per_minute=1_000,
        concurrent_requests=100,
        max_prompt_tokens=32_768,
        max_completion_tokens=4_096,
    ),
}


def parse_limits(value: Any) -> Limits:
    """Limits from a preset's name, a mapping, or such a mapping as YAML or JSON text.

    Raises:
        ValueError: there is no such preset or limit, or a limit is no whole number from 0 up.
    """
    if isinstance(value, Limits):
        return value
    if isinstance(value, str):
        if value in PRESETS:
            return PRESETS[value]
        try:
            parsed = yaml.safe_load(value)
        except yaml.YAMLError:
            parsed = None
        if not isinstance(parsed, dict):
            raise ValueError(f"there is no preset {value!r}; there are: {', '.join(PRESETS)}")
        value = parsed
    if not isinstance(value, Mapping):
        raise ValueError("give a preset's name, or names and numbers")
    return _from_mapping(value)


def _from_mapping(values: Mapping[Any, Any]) -> Limits:
    """Limits by name; a `preset` among them is what the others change."""
    names = Limits.__struct_fields__
    preset = values.get("preset")
    if preset is not None and preset not in PRESETS:
        raise ValueError(f"there is no preset {preset!r}; there are: {', '.join(PRESETS)}")
    given = {name: value for name, value in values.items() if name != "preset"}
    for name, value in given.items():
        if name not in names:
            near = difflib.get_close_matches(str(name), names, n=1)
            hint = f"; did you mean {near[0]}?" if near else f"; there are: {', '.join(names)}"
            raise ValueError(f"there is no limit {name!r}{hint}")
        if value is not None and (type(value) is not int or value < 0):
            raise ValueError(f"{name} must be a whole number from 0 up, not {value!r}")
    return msgspec.structs.replace(PRESETS[preset] if preset else Limits(), **given)
