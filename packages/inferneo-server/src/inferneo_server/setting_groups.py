"""Receives names of settings; hands them on in the groups in which people look for them.

Used by `--help`, `config check` and docs/configuration.md alike.
"""

from collections.abc import Iterable
from fnmatch import fnmatchcase

# The first pattern that fits counts. A setting that fits none is of the last group.
_GROUPS: dict[str, tuple[str, ...]] = {
    "Server": (
        "host",
        "port",
        "uds",
        "tls_*",
        "cors_*",
        "forwarded_*",
        "drain_*",
        "state_dir",
        "metrics_*",
        "batch_*",
        "strict",
    ),
    "Model": (
        *("model", "served_model_name", "aliases", "lora_modules", "engine", "engine_args"),
        *("device", "chat_template"),
    ),
    "Models at run time": ("models", "memory_budget_*", "load_*"),
    "Tools and reasoning": ("*_parser",),
    "Keys": ("api_key", "api_keys", "jwt"),
    "Limits and usage": ("*_limits", "limits_*", "usage_*", "queue_*"),
    "Requests and streams": (
        *("max_body_*", "keep_alive_*", "stall_*", "header_*", "idle_seconds", "max_connections"),
        *("max_resume_*", "repeat_*", "stream_*", "streams_*"),
    ),
    "Responses": ("responses_*",),
    "WebSocket": ("websocket_*",),
    "Logs": ("log_*", "access_log"),
}
OTHER = "Other"


def group_of(name: str) -> str:
    """The group of a setting."""
    return next(
        (
            group
            for group, patterns in _GROUPS.items()
            if any(fnmatchcase(name, pattern) for pattern in patterns)
        ),
        OTHER,
    )


def grouped(names: Iterable[str]) -> list[tuple[str, list[str]]]:
    """The groups that have any of the names, in their order, each with its names in theirs."""
    given = list(names)
    groups = [(group, [name for name in given if group_of(name) == group]) for group in _GROUPS]
    others = (OTHER, [name for name in given if group_of(name) == OTHER])
    return [(group, members) for group, members in [*groups, others] if members]
