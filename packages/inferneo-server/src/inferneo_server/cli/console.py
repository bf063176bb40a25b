"""Receives rows and values; hands on text for a terminal, or JSON for a program."""

from collections.abc import Sequence

import msgspec


def print_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows under their heads, each column as wide as its widest cell."""
    lines = [heads, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(heads))]
    for line in lines:
        cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        print("  ".join(cells).rstrip())


def print_json(value: object) -> None:
    """Print a struct, or what holds structs, as JSON that people can read too."""
    print(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())


def size(count: float) -> str:
    """A number of bytes, for people; nothing where it is not known."""
    if not count:
        return ""
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.1f} MiB"
