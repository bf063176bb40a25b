"""Receives nothing; hands on what servers tell of their models and of themselves."""

from collections.abc import Iterator
from typing import Any

from inferneo_client.types.answer import Answer


class Model(Answer, frozen=True, kw_only=True, gc=False):
    """A model that is served; `max_model_len` is its context in tokens, where the server tells."""

    id: str = ""
    object: str = "model"
    created: int = 0
    owned_by: str = ""
    root: str | None = None
    parent: str | None = None
    max_model_len: int | None = None
    permission: list[Any] | None = None


class ModelList(Answer, frozen=True, kw_only=True, gc=False):
    """The models that are served."""

    object: str = "list"
    data: list[Model] = []

    def __iter__(self) -> Iterator[Model]:
        return iter(self.data)

    def __len__(self) -> int:
        return len(self.data)


class Health(Answer, frozen=True, kw_only=True, gc=False):
    """What the server says of itself; `initialized` tells whether it takes requests."""

    status: str = ""
    version: str | None = None
    timestamp: str | None = None
    initialized: bool | None = None
    model_loaded: bool | None = None
    model: str | None = None


class CancelledStream(Answer, frozen=True, kw_only=True, gc=False):
    """That a generation was cancelled."""

    id: str = ""
    object: str = "stream.cancelled"
