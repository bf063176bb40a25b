"""Receives flags, `INFERNEO_*` and config.yaml; hands on one table of settings, checked.

The only reader of the environment. A flag wins over the environment, that over the file.
"""

import difflib
import os
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, model_validator
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)
from pydantic_settings import SettingsError as SourceError

from inferneo_server.model_spec import (
    EMBEDDED_MODEL,
    EngineName,
    LoadWhen,
    ModelSpec,
    name_of,
    reasoning_of,
    source_of,
)

__all__ = ["EMBEDDED_MODEL", "Settings", "SettingsError", "load_settings", "visible_gpus"]

ENV_PREFIX = "INFERNEO_"


class ModelSettings(BaseModel):
    """A model beside the default one: an entry of the setting `models`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str | None = None
    engine: EngineName | None = None
    engine_args: dict[str, Any] = Field(default_factory=dict)
    aliases: list[str] = Field(default_factory=list)
    device: str = "auto"
    tool_parser: str | None = None
    reasoning_parser: str | None = None
    load: LoadWhen = "on_first_use"
    idle_seconds: float | None = Field(None, gt=0)
    memory_bytes: int | None = Field(None, ge=0)


class Settings(BaseSettings):
    """All settings: each is a flag, an environment variable and a line of the file."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX, env_nested_delimiter="__", extra="forbid", frozen=True
    )

    host: str = Field("127.0.0.1", description="address to listen on")
    port: int = Field(8000, ge=0, le=65535, description="port to listen on; 0 takes a free one")
    model: str = Field(
        EMBEDDED_MODEL, description="Hugging Face id, local path, or the embedded model"
    )
    served_model_name: str | None = Field(
        None, description="the model's name in requests (default: its id, or its folder's name)"
    )
    engine: EngineName = Field("vllm", description="what runs the model")
    engine_args: dict[str, Any] = Field(
        default_factory=dict,
        description="arguments of the engine, as key=value (repeat it) or as JSON",
    )
    tool_parser: str | None = Field(
        None,
        description="vLLM's parser of tool calls, or `none` (default: by the model's chat "
        "template, where that is certain)",
    )
    reasoning_parser: str | None = Field(
        None,
        description="vLLM's parser of reasoning, or `none` (default: the embedded model's own, "
        "else none)",
    )
    aliases: list[str] = Field(
        default_factory=list, description="further names of the model in requests"
    )
    device: str = Field(
        "auto", description="where the model runs: `auto`, `cpu`, `gpu:0`, `rbln:0`"
    )
    models: dict[str, ModelSettings] = Field(
        default_factory=dict,
        description="further models by name, each with `model`, `engine`, `engine_args`, "
        "`aliases`, `device`, `tool_parser`, `reasoning_parser`, `load` (`pinned`, "
        "`on_first_use`, `on_request`), `idle_seconds`, `memory_bytes`",
    )
    memory_budget_bytes: int | None = Field(
        None,
        gt=0,
        description="what all models together may take; the longest unused make room for others",
    )
    load_wait_seconds: float = Field(
        60.0, ge=0, description="how long a request waits for a model that is loaded or moved"
    )
    load_seconds: float = Field(
        3600.0, gt=0, description="how long a model may take to load while the server runs"
    )
    strict: bool = Field(False, description="refuse requests with unknown fields")
    api_key: SecretStr | None = Field(None, description="the key that requests must carry")
    api_keys: list[SecretStr] = Field(
        default_factory=list, description="further keys; generations belong to the key they carry"
    )
    cors_origins: list[str] = Field(
        default_factory=list,
        description="origins of pages that may call from a browser, beside the server's own; "
        "* is any",
    )
    max_body_bytes: int = Field(10_000_000, ge=1024, description="largest body of a request")
    keep_alive_seconds: float = Field(
        15.0, gt=0, description="silence in a stream after which a comment is sent"
    )
    stall_seconds: float = Field(
        60.0,
        ge=1,
        description="how long a client may take nothing of what is sent to it, or send nothing of "
        "a request that is not whole",
    )
    max_resume_seconds: float = Field(
        600.0, ge=0, description="largest `Inferneo-Resume-For` that is granted"
    )
    repeat_seconds: float = Field(
        600.0, ge=0, description="how long a finished answer is there for its `Idempotency-Key`"
    )
    stream_log_bytes: int = Field(
        4 * 2**20, ge=1024, description="events that are kept of one resumable stream"
    )
    stream_logs_bytes: int = Field(
        256 * 2**20, ge=1024, description="events that are kept of all streams without a reader"
    )
    responses_seconds: float = Field(
        86_400.0, gt=0, description="how long a response is stored, and may run in the background"
    )
    responses_count: int = Field(10_000, ge=0, description="responses that are stored, at most")
    responses_bytes: int = Field(
        256 * 2**20, ge=0, description="size of the stored responses, each with its conversation"
    )
    websocket_requests: int = Field(
        64, ge=1, description="requests that may run at once on one WebSocket"
    )
    websocket_idle_seconds: float = Field(
        600.0, gt=0, description="idle time after which a WebSocket is closed"
    )
    websocket_auth_seconds: float = Field(
        5.0, gt=0, description="time for the first frame of a WebSocket that carried no key"
    )
    websocket_ping_seconds: float = Field(
        20.0, gt=0, description="time between pings, and time for the answer"
    )
    websocket_compression: bool = Field(
        True, description="whether a WebSocket may negotiate permessage-deflate"
    )
    drain_seconds: float = Field(
        30.0, ge=0, description="how long running requests may go on after SIGTERM"
    )
    state_dir: Path = Field(
        Path("~/.local/state/inferneo"),
        description="folder of what outlives a restart: keys, usage, models loaded at run time",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="what is logged"
    )
    access_log: bool = Field(True, description="one line for each request")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Flags, then the environment, then the file, which comes with the flags as `config`."""
        assert isinstance(init_settings, InitSettingsSource)
        config = init_settings.init_kwargs.pop("config", None)
        file = InitSettingsSource(settings_cls, _read_file(Path(config)) if config else {})
        return init_settings, _Environment(settings_cls), file

    @property
    def keys(self) -> list[str]:
        """All keys that requests may carry; none lets everyone in."""
        given = [self.api_key] if self.api_key else []
        return [key.get_secret_value() for key in [*given, *self.api_keys]]

    @model_validator(mode="after")
    def _check_names(self) -> "Settings":
        """Refuse a name that two models have: a request could not say which it means."""
        seen: set[str] = set()
        for spec in self.model_specs:
            for name in (spec.name, *spec.aliases):
                if not name or name in seen:
                    raise ValueError(
                        f"models: two models are called '{name}'"
                        if name
                        else "models: a model has an empty name"
                    )
                seen.add(name)
        return self

    @property
    def model_specs(self) -> list[ModelSpec]:
        """All configured models, the default one first."""
        default = ModelSpec(
            name=self.model_name,
            model=self.model,
            engine=self.engine,
            engine_args=self.engine_args,
            aliases=tuple(self.aliases),
            device=self.device,
            tool_parser=self.tool_parser,
            reasoning_parser=self.reasoning_parser,
        )
        return [default, *(self._spec(name, each) for name, each in self.models.items())]

    def _spec(self, name: str, given: ModelSettings) -> ModelSpec:
        return ModelSpec(
            name=name,
            model=given.model or name,
            engine=given.engine or self.engine,
            engine_args=given.engine_args,
            aliases=tuple(given.aliases),
            device=given.device,
            tool_parser=given.tool_parser,
            reasoning_parser=given.reasoning_parser,
            load=given.load,
            idle_seconds=given.idle_seconds,
            memory_bytes=given.memory_bytes,
        )

    @property
    def model_name(self) -> str:
        """The default model's name in requests."""
        return self.served_model_name or name_of(self.model)

    @property
    def reasoning(self) -> str | None:
        """vLLM's name of the default model's parser of reasoning; None is none."""
        return reasoning_of(self.model, self.reasoning_parser)

    @property
    def model_source(self) -> str:
        """Where the engine loads the default model from: a Hugging Face id or a path."""
        return source_of(self.model)


class _Environment(EnvSettingsSource):
    """Variables, of which one inside a setting (`A__B`) means what its text means in the file."""

    def explode_env_vars(
        self, field_name: str, field: FieldInfo, env_vars: Mapping[str, str | None]
    ) -> dict[str, Any]:
        values = super().explode_env_vars(field_name, field, env_vars)
        return {
            name: _read_yaml(value) if isinstance(value, str) else value
            for name, value in values.items()
        }


class SettingsError(Exception):
    """A setting is wrong; the message names it, and is for the operator."""


def load_settings(config: str | None = None, **flags: Any) -> Settings:
    """Read all sources into one table.

    Args:
        config: path of a YAML file.
        flags: settings given on the command line.

    Raises:
        SettingsError: a value does not fit, a name is unknown, or the file cannot be read.
    """
    try:
        return Settings(config=config, **flags)  # type: ignore[call-arg]
    except SourceError as error:
        raise SettingsError(f"environment: {error}") from None
    except ValidationError as error:
        raise SettingsError("\n".join(_explain(problem) for problem in error.errors())) from None


def _explain(problem: Any) -> str:
    name = ".".join(str(part) for part in problem["loc"])
    if problem["type"] != "extra_forbidden":
        told = problem["msg"].removeprefix("Value error, ")
        return f"{name}: {told}" if name else told
    parts = problem["loc"]
    known = ModelSettings.model_fields if parts[0] == "models" else Settings.model_fields
    near = difflib.get_close_matches(str(parts[-1]), known, n=1)
    return f"{name}: there is no such setting" + (f"; did you mean {near[0]}?" if near else "")


def _read_file(path: Path) -> dict[str, Any]:
    """Read a YAML file; what stands under `server:` counts as if it stood at the top."""
    try:
        values = yaml.safe_load(path.read_text()) or {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise SettingsError(f"config: {path} cannot be read: {error}") from None
    server = (values.pop("server", None) or {}) if isinstance(values, dict) else {}
    for table in (values, server):
        if not isinstance(table, dict) or not all(isinstance(name, str) for name in table):
            raise SettingsError(f"config: {path} must hold names and values")
    return {**server, **values}


def _read_yaml(text: str) -> Any:
    """A value as YAML reads it; text that is no YAML is text."""
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return text


@lru_cache(maxsize=1)
def visible_gpus() -> str | None:
    """Which GPUs engines may see, by CUDA's own variable; None is all.

    As it was at first: it is changed while an engine starts that is to see one of them.
    """
    return os.environ.get("CUDA_VISIBLE_DEVICES")
