"""Receives nothing; hands on the structs of `/v1/models`, and of loading models while serving.

Sources: https://platform.openai.com/docs/api-reference/models, and vLLM's further fields; all that
changes models is ours, but for the device switch, which is RM Abstract Layer's.
"""

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType, field

ModelState = Literal[
    "unloaded",
    "loading",
    "ready",
    "restarting",
    "moving",
    "draining",
    "sleeping",
    "failed",
    "stopped",
]

_Name = Annotated[str, Meta(min_length=1, max_length=256)]
_Seconds = Annotated[float, Meta(gt=0)]


class Model(Struct, frozen=True, kw_only=True):
    """A model that can be asked for; `created` is when it was loaded first, in seconds since 1970.

    `root` is where its weights come from by name, `max_model_len` its context in tokens, which is
    known once it was loaded. `status` says whether it is loaded now. `parent` is the model that a
    LoRA adapter belongs to.
    """

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "inferneo"
    root: str
    parent: str | None = None
    max_model_len: int | UnsetType = UNSET
    permission: list[Any] = field(default_factory=list)
    status: ModelState = "ready"
    aliases: list[str] = field(default_factory=list)


class ModelList(Struct, frozen=True, kw_only=True):
    """Answer of `GET /v1/models`."""

    object: Literal["list"] = "list"
    data: list[Model]


class LoadRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Body of `POST /v1/models/load`.

    Attributes:
        model: a configured name or alias, a Hugging Face id, or a path on the server.
        name: its name in requests; left out, its id or its folder's name.
        engine, engine_args, aliases, lora_modules, device, idle_seconds: as in the settings; left
            out, those that are configured for it. `engine_args` are joined with those.
        quantization: one of the engine's arguments.
        pinned: whether it is kept, whatever else needs memory.
        persist: whether it is loaded again when the server is started again.
        stream: whether to tell of the progress by server-sent events.
    """

    model: _Name
    name: _Name | None = None
    engine: Literal["vllm", "torch", "simulated"] | None = None
    engine_args: dict[str, Any] | None = None
    aliases: list[_Name] | None = None
    lora_modules: dict[_Name, _Name] | None = None
    device: str | None = None
    quantization: str | None = None
    pinned: bool | None = None
    idle_seconds: _Seconds | None = None
    persist: bool = False
    stream: bool = False


class UnloadRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Body of `POST /v1/models/{id}/unload`, which may be left out.

    `force` ends what runs, and a load that is on its way. `persist` forgets that the model is to be
    loaded when the server is started again.
    """

    force: bool = False
    persist: bool = False


class SleepRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Body of `POST /v1/models/{id}/sleep`, which may be left out.

    Level 1 keeps the weights in the host's memory, level 2 drops them. Source: vLLM's sleep mode.
    """

    level: Literal[1, 2] = 1


class ModelStatus(Struct, frozen=True, kw_only=True):
    """How a model stands, told by all routes that change models.

    Attributes:
        status: whether it is loaded.
        device: where it runs, or is to run (`cpu:0`, `gpu:1`, `auto`).
        tasks: what it can do; nothing while it is not loaded.
        loaded_at: since when its engine serves, in seconds since 1970.
        load: when it is loaded: `pinned`, `on_first_use`, `on_request`.
        memory_bytes: what it is reckoned to take.
        running: choices that it is working on.
        error: why the last load failed.
    """

    id: str
    object: Literal["model.status"] = "model.status"
    status: ModelState
    device: str
    engine: str
    root: str
    aliases: list[str] = field(default_factory=list)
    tasks: list[str] = field(default_factory=list)
    max_model_len: int | None = None
    loaded_at: int | None = None
    load: str
    idle_seconds: float | None = None
    memory_bytes: int = 0
    running: int = 0
    error: str | None = None


class ModelProgress(Struct, frozen=True, kw_only=True):
    """An event of a load that is on its way, `seconds` after it was asked for."""

    id: str
    object: Literal["model.progress"] = "model.progress"
    status: ModelState
    seconds: float
    message: str


class SwitchRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Body of `POST /v1/devices/switch`: `gpu:0`, `cpu`, `rbln:0` or `auto`.

    `model` is the one that moves; left out, the default model.
    """

    device: _Name
    model: str | None = None


class SwitchAnswer(Struct, frozen=True, kw_only=True):
    """Answer of `POST /v1/devices/switch`. Source: RM Abstract Layer's API."""

    success: bool
    previous_device: str
    current_device: str
    message: str
