"""Receives what commands have to tell; hands it on as lines, and as an exit status."""

import sys
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from inferneo_client._errors import ConnectionFailed, _advice
from inferneo_client.types.answer import Answer
from inferneo_core.errors import ApiError

FAILED: Final = 1
UNREACHABLE: Final = 3
REFUSED: Final = 4
NOT_FOUND: Final = 5
INTERRUPTED: Final = 130

EXTRA: Final = "pip install 'inferneo-client[cli]'"

# What a terminal would obey: all control characters but the newline and the tab.
_CONTROLS: Final = dict.fromkeys(
    [number for number in (*range(32), *range(127, 160)) if number not in (9, 10)],
    "\N{REPLACEMENT CHARACTER}",
)


class Failure(Exception):
    """What ends the program, with its exit status."""

    def __init__(self, message: str, status: int = FAILED) -> None:
        super().__init__(message)
        self.status = status


def complain(message: str) -> None:
    """Say what is wrong, on one line of standard error."""
    print(f"inferneo: {' '.join(message.split())}", file=sys.stderr, flush=True)


def status_of(error: ApiError) -> int:
    """The exit status that an error ends the program with."""
    if isinstance(error, ConnectionFailed):
        return UNREACHABLE
    if error.status in (401, 403):
        return REFUSED
    return NOT_FOUND if error.status == 404 else FAILED


def message_of(error: ApiError, base_url: str) -> str:
    """What an error says, with advice for who types commands, not for who writes a program."""
    if isinstance(error, ConnectionFailed) and not error.sent:
        return f"No server answers at {base_url}: {error.message}"
    message = error.message.removesuffix(_advice(error.status, error.code, error.retry_after))
    advice = {
        401: "; give a valid key by --api-key, or as INFERNEO_API_KEY",
        404: "; `inferneo models` lists what is served",
    }.get(error.status, "")
    if error.retry_after is not None:
        advice = f"; ask again in {error.retry_after:g} s"
    return f"{message}{advice}"


def document(answer: Answer) -> str:
    """What a server answered, as JSON, without what it left out."""
    told = {name: value for name, value in answer.to_dict().items() if name != "response"}
    return msgspec.json.encode(_given(told)).decode()


def _given(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _given(item) for name, item in value.items() if item is not None}
    return [_given(item) for item in value] if isinstance(value, list) else value


def harmless(text: str) -> str:
    """A text of others, which a terminal takes for nothing but text."""
    return text.translate(_CONTROLS)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns of equal width; those below a name that begins with a space stand at the right."""
    lines = [[name.strip() for name in head], *rows]
    widths = [max(len(line[place]) for line in lines) for place in range(len(head))]
    right = [name.startswith(" ") for name in head]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if at_right else cell.ljust(width)
            for cell, width, at_right in zip(line, widths, right, strict=True)
        ).rstrip()
        for line in lines
    )
