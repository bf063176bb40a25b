"""Receives flags, `INFERNEO_*` and config.yaml; hands on one table of settings, checked.

The only reader of the environment. A flag wins over the environment, that over the file.
"""

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import Field, SecretStr, ValidationError, model_validator
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)
from pydantic_settings import SettingsError as SourceError

EMBEDDED_MODEL = "inferneo-tiny"
ENV_PREFIX = "INFERNEO_"

# It thinks only where the request enables it.
_EMBEDDED_REASONING_PARSER = "deepseek_v3"

EngineName = Literal["vllm", "torch", "simulated"]


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
    header_seconds: float = Field(
        10.0, gt=0, description="time for the head of a request, from its first byte to its last"
    )
    idle_seconds: float = Field(
        5.0, gt=0, description="how long a connection stays open between requests"
    )
    max_connections: int = Field(
        10_000,
        ge=1,
        description="connections at once, at most as many as the system has descriptors for; "
        "those beyond are answered 503",
    )
    tls_cert: Path | None = Field(
        None, description="certificate (PEM, with those between it and its authority); gives https"
    )
    tls_key: Path | None = Field(
        None, description="key of the certificate (default: it is in the file of the certificate)"
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
    log_prompts: bool = Field(
        False, description="log the prompts of chats and texts, a line for each; never the answers"
    )

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

    @model_validator(mode="after")
    def _pair_of_tls(self) -> Self:
        if self.tls_key and not self.tls_cert:
            raise ValueError("tls_key has no tls_cert")
        return self

    @property
    def keys(self) -> list[str]:
        """All keys that requests may carry; none lets everyone in."""
        given = [self.api_key] if self.api_key else []
        return [key.get_secret_value() for key in [*given, *self.api_keys]]

    @property
    def model_name(self) -> str:
        """The model's name in requests."""
        if self.served_model_name:
            return self.served_model_name
        path = Path(self.model).expanduser()
        return path.resolve().name if path.is_dir() else self.model

    @property
    def reasoning(self) -> str | None:
        """vLLM's name of the parser of reasoning; None is none."""
        if self.reasoning_parser is None and self.model == EMBEDDED_MODEL:
            return _EMBEDDED_REASONING_PARSER
        return None if self.reasoning_parser == "none" else self.reasoning_parser

    @property
    def model_source(self) -> str:
        """Where the engine loads the model from: a Hugging Face id or a path."""
        if self.model == EMBEDDED_MODEL:
            return str(Path(__file__).parent / "embedded" / EMBEDDED_MODEL)
        path = Path(self.model).expanduser()
        return str(path) if path.is_dir() else self.model


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
        return f"{name or 'settings'}: {problem['msg']}"
    near = difflib.get_close_matches(name, Settings.model_fields, n=1)
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
