"""Receives nothing; hands on what servers tell of their models and of themselves."""

from collections.abc import Iterator
from typing import Any

from inferneo_client.types.answer import Answer
from inferneo_client.types.response import ResponseInfo


class Model(Answer, frozen=True, kw_only=True, gc=False):
    """A model that can be asked for; `max_model_len` is its context in tokens, where known.

    `status` says whether it is loaded now, where the server tells.
    """

    id: str = ""
    object: str = "model"
    created: int = 0
    owned_by: str = ""
    root: str | None = None
    parent: str | None = None
    max_model_len: int | None = None
    permission: list[Any] | None = None
    status: str | None = None
    aliases: list[str] | None = None


class ModelStatus(Answer, frozen=True, kw_only=True, gc=False):
    """How a model stands; an event of a load on its way has the first five fields alone.

    Attributes:
        status: `loading`, `ready`, `unloaded`, `failed`, ...
        seconds: since the load was asked for.
        message: what is being done.
        device: where it runs, or is to run.
        tasks: what it can do; nothing while it is not loaded.
        loaded_at: since when it serves, in seconds since 1970.
        load: when it is loaded: `pinned`, `on_first_use`, `on_request`.
        memory_bytes: what it is reckoned to take.
        running: choices that it is working on.
        error: why the last load failed.
    """

    id: str = ""
    object: str = "model.status"
    status: str = ""
    seconds: float | None = None
    message: str = ""
    device: str | None = None
    engine: str | None = None
    root: str | None = None
    aliases: list[str] = []
    tasks: list[str] = []
    max_model_len: int | None = None
    loaded_at: int | None = None
    load: str | None = None
    idle_seconds: float | None = None
    memory_bytes: int | None = None
    running: int = 0
    error: str | None = None
    response: ResponseInfo | None = None


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
