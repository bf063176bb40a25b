"""Receives the flags of `usage` and `token`; hands on what a key has used, or a token of it."""

import argparse

from inferneo_client.cli.connection import connected
from inferneo_client.cli.console import document, harmless, table


def usage(given: argparse.Namespace) -> int:
    """Print what was used, a line for each day and model, and the sum."""
    with connected(given) as client:
        ask = client.usage.all if given.all else client.usage.retrieve
        report = ask(start=given.start, end=given.end)
    if given.json:
        print(document(report))
        return 0
    rows = [
        [
            *(harmless(row.owner or "-") for _ in range(given.all)),
            row.day or "",
            harmless(row.model or ""),
            *map(str, (row.requests, row.prompt_tokens, row.completion_tokens, row.aborted)),
        ]
        for row in report.data
    ]
    total = report.total
    sums = map(str, (total.requests, total.prompt_tokens, total.completion_tokens, total.aborted))
    rows.append([*("" for _ in range(given.all)), "total", "", *sums])
    owner = ["owner"] if given.all else []
    print(table([*owner, "day", "model", " requests", " read", " written", " aborted"], rows))
    return 0


def token(given: argparse.Namespace) -> int:
    """Print a token, alone on its line, so that a script can take it."""
    with connected(given) as client:
        made = client.tokens.create(seconds=given.seconds)
    print(document(made) if given.json else made.token)
    return 0
