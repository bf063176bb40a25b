"""Receives the settings; hands on what there is to know of a model before it is loaded."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from msgspec import Struct, field

EMBEDDED_MODEL = "inferneo-tiny"

# It thinks only where the request enables it.
_EMBEDDED_REASONING_PARSER = "deepseek_v3"

EngineName = Literal["vllm", "torch", "simulated"]
LoadWhen = Literal["pinned", "on_first_use", "on_request"]

_WEIGHTS = ("*.safetensors", "*.bin", "*.pt", "*.gguf")
_OF_THE_ENGINE = (
    "engine",
    "engine_args",
    "lora_modules",
    "tool_parser",
    "reasoning_parser",
    "source",
    "chat_template",
)
# Buffers, activations and the engine's own processes, beside the weights.
_OVERHEAD = 1.2


class ModelSpec(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A model, and how it is to be run.

    Attributes:
        name: its name in requests.
        model: a Hugging Face id, a local path, or the embedded model.
        engine: what runs it.
        engine_args: arguments of the engine.
        aliases: further names in requests; answers carry `name`.
        lora_modules: its adapters by their names in requests, which answers carry as well: Hugging
            Face ids or local paths.
        device: where it runs; `auto` leaves it to the machine.
        tool_parser: vLLM's parser of tool calls, `none`, or None to guess.
        reasoning_parser: vLLM's parser of reasoning, `none`, or None for the model's own.
        load: `pinned` is loaded at the start and never given up for another, `on_first_use` waits
            for a request that names it, `on_request` for the admin's route.
        idle_seconds: without a request for so long, it is unloaded; None never is.
        memory_bytes: what it takes; None estimates.
        chat_template: a template of chats, or the path of one; None is the model's own.
    """

    name: str
    model: str
    engine: EngineName = "vllm"
    engine_args: dict[str, Any] = field(default_factory=dict)
    aliases: Sequence[str] = ()
    lora_modules: dict[str, str] = field(default_factory=dict)
    device: str = "auto"
    tool_parser: str | None = None
    reasoning_parser: str | None = None
    load: LoadWhen = "pinned"
    idle_seconds: float | None = None
    memory_bytes: int | None = None
    chat_template: str | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """All that requests may call it and its adapters."""
        return (self.name, *self.aliases, *self.lora_modules)

    @property
    def source(self) -> str:
        """Where the engine loads it from: a Hugging Face id or a path."""
        return source_of(self.model)

    @property
    def root(self) -> str:
        """What it is, told to everyone: its id, and of a path nothing but the model's name."""
        return self.name if Path(self.source).is_absolute() else self.model

    def root_of(self, adapter: str) -> str:
        """What an adapter is, told to everyone: its id, and of a path nothing but its name."""
        path = self.lora_modules[adapter]
        return adapter if _is_path(path) or Path(path).is_dir() else path

    @property
    def reasoning(self) -> str | None:
        """vLLM's name of the parser of reasoning; None is none."""
        return reasoning_of(self.model, self.reasoning_parser)

    def runs_like(self, other: "ModelSpec") -> bool:
        """Whether an engine for the other would be one for this model as well."""
        return all(getattr(self, name) == getattr(other, name) for name in _OF_THE_ENGINE)


def source_of(model: str) -> str:
    """Where the engine loads a model from: a Hugging Face id or a path."""
    if model == EMBEDDED_MODEL:
        return str(Path(__file__).parent / "embedded" / EMBEDDED_MODEL)
    path = Path(model).expanduser()
    return str(path) if path.is_dir() else model


def is_missing(model: str) -> bool:
    """Whether a model, or an adapter, is clearly meant as a path, and there is nothing."""
    return _is_path(model) and not Path(model).expanduser().exists()


def _is_path(model: str) -> bool:
    """Whether it is clearly meant as a path, by how it begins."""
    return model.startswith(("/", "./", "../", "~"))


def name_of(model: str) -> str:
    """A model's name in requests, where it is given none: its id, or its folder's name."""
    path = Path(model).expanduser()
    return path.resolve().name if path.is_dir() else model


def reasoning_of(model: str, parser: str | None) -> str | None:
    """vLLM's name of a model's parser of reasoning; None is none."""
    if parser is None and model == EMBEDDED_MODEL:
        return _EMBEDDED_REASONING_PARSER
    return None if parser == "none" else parser


def memory_of(spec: ModelSpec) -> int:
    """How many bytes a model takes, as far as can be told before it is loaded.

    What the settings say; else its weight files and a fifth more, and the key-value cache that its
    engine is told to take. Weights that are not in a folder count nothing: they may not be here.
    """
    if spec.memory_bytes is not None:
        return spec.memory_bytes
    folder, weights = Path(spec.source), 0
    if folder.is_dir():
        sizes = (sum(path.stat().st_size for path in folder.glob(pattern)) for pattern in _WEIGHTS)
        # One format of several that hold the same.
        weights = next((size for size in sizes if size), 0)
    cache = spec.engine_args.get("kv_cache_memory_bytes")
    return round(weights * _OVERHEAD) + (cache if isinstance(cache, int) else 0)
