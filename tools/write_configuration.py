"""Receives the settings; hands on their tables, for docs/configuration.md (`make docs`)."""

from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from inferneo_server.environment import ENV_PREFIX
from inferneo_server.setting_groups import grouped
from inferneo_server.settings import Settings

PAGE = Path(__file__).parents[1] / "docs" / "configuration.md"
BEGIN, END = "<!-- table: begin -->\n", "<!-- table: end -->\n"


def table() -> str:
    """A table for each group of settings, with one row for each of them, as Markdown."""
    return "\n".join(
        f"### {group}\n\n{_rows(names)}" for group, names in grouped(Settings.model_fields)
    )


def _rows(names: list[str]) -> str:
    rows = ["| flag | environment | file | default | what |", "| --- | --- | --- | --- | --- |"]
    for name in names:
        field = Settings.model_fields[name]
        default = field.get_default(call_default_factory=True)
        shown = "" if default in (None, {}, []) else f"`{_yaml(default)}`"
        rows.append(
            f"| `--{name.replace('_', '-')}` | `{ENV_PREFIX}{name.upper()}` | `{name}` | {shown} "
            f"| {field.description}{_choices(field.annotation)} |"
        )
    return "\n".join(rows) + "\n"


def _yaml(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _choices(annotation: Any) -> str:
    if get_origin(annotation) is not Literal:
        return ""
    return ": " + ", ".join(f"`{choice}`" for choice in get_args(annotation))


def page() -> str:
    """The page, with its table brought up to date."""
    before, _, rest = PAGE.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}{table()}{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(page())
