"""Receives nothing; hands on the structs of `/v1/models`.

Source: https://platform.openai.com/docs/api-reference/models, and vLLM's further fields.
"""

from typing import Any, Literal

from msgspec import Struct, field


class Model(Struct, frozen=True, kw_only=True):
    """A model that is served; `created` is when it was loaded, in seconds since 1970.

    `root` is where its weights come from by name, `max_model_len` its context in tokens.
    """

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "inferneo"
    root: str
    parent: str | None = None
    max_model_len: int
    permission: list[Any] = field(default_factory=list)


class ModelList(Struct, frozen=True, kw_only=True):
    """Answer of `GET /v1/models`."""

    object: Literal["list"] = "list"
    data: list[Model]
