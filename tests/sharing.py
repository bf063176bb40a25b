"""Receives what a group of tests shares; ends it with the last of them.

An idle vLLM takes a tenth of a core, which the tests that follow can use. A fixture of the session
would keep it to the end.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable
from contextlib import AbstractContextManager, ExitStack
from typing import TypeVar

T = TypeVar("T")

_left: Counter[str] = Counter()
_shared: dict[str, ExitStack] = defaultdict(ExitStack)


def expect(groups: Iterable[str]) -> None:
    """Count the tests that there are: a group's name for each."""
    _left.update(groups)


def enter(group: str, resource: AbstractContextManager[T]) -> T:
    """Enter what a group's tests share, until the last of them is done."""
    return _shared[group].enter_context(resource)


def done(group: str) -> None:
    """Take note that one of a group's tests is done, with its teardown."""
    _left[group] -= 1
    if not _left[group] and group in _shared:
        _shared.pop(group).close()


def end() -> None:
    """End all that is left."""
    while _shared:
        _shared.popitem()[1].close()
