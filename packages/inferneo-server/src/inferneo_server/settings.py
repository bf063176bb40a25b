"""Receives flags, `INFERNEO_*` and config.yaml; hands on one table of settings, checked.

A flag wins over the environment, that over the file.
"""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)
from pydantic_settings import SettingsError as SourceError

from inferneo_server.access.settings import JwtSettings, KeyEntry, LimitsSetting, Origin, Proxy
from inferneo_server.environment import (
    ENV_PREFIX,
    Environment,
    SettingsError,
    read_file,
    read_yaml,
    unknown_variables,
)
from inferneo_server.model_settings import ModelSettings
from inferneo_server.model_spec import (
    EMBEDDED_MODEL,
    EngineName,
    ModelSpec,
    name_of,
)
from inferneo_server.setting_errors import explain_problem, explain_source
from inferneo_server.template_setting import TemplateSetting

__all__ = ["EMBEDDED_MODEL", "Settings", "load_settings"]


class Settings(BaseSettings):
    """All settings: each is a flag, an environment variable and a line of the file."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX, env_nested_delimiter="__", extra="forbid", frozen=True
    )

    host: str = Field(
        "127.0.0.1",
        description="address to listen on; `0.0.0.0` is all of IPv4, `::` all of IPv6",
    )
    port: int = Field(8000, ge=0, le=65535, description="port to listen on; 0 takes a free one")
    uds: Annotated[Path, AfterValidator(Path.expanduser)] | None = Field(
        None, description="a Unix socket to listen on, in the place of host and port"
    )
    model: str = Field(
        EMBEDDED_MODEL, description="Hugging Face id, local path, or the embedded model"
    )
    served_model_name: str | None = Field(
        None, description="the model's name in requests (default: its id, or its folder's name)"
    )
    engine: EngineName = Field("vllm", description="what runs the model")
    engine_args: dict[str, Any] = Field(
        default_factory=dict,
        description="arguments of the engine, as key=value (repeat it) or as JSON; those of torch: "
        "device, dtype, max_model_len, max_num_seqs, max_queue",
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
    chat_template: TemplateSetting | None = Field(
        None,
        description="a Jinja template of chats in the place of the model's: the path of a file, or "
        "the template itself",
    )
    aliases: list[str] = Field(
        default_factory=list, description="further names of the model in requests"
    )
    lora_modules: dict[str, str] = Field(
        default_factory=dict,
        description="LoRA adapters of the model, by vLLM, as name=path (repeat it) or as JSON; a "
        "Hugging Face id may stand for the path",
    )
    device: str = Field(
        "auto", description="where the model runs: `auto`, `cpu`, `gpu:0`, `rbln:0`"
    )
    models: dict[str, ModelSettings] = Field(
        default_factory=dict,
        description="further models by name, each with `model`, `engine`, `engine_args`, "
        "`aliases`, `lora_modules`, `device`, `tool_parser`, `reasoning_parser`, `load` (`pinned`, "
        "`on_first_use`, `on_request`), `idle_seconds`, `memory_bytes`, `chat_template`",
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
    metrics_host: str = Field("127.0.0.1", description="address of `metrics_port`")
    metrics_port: int | None = Field(
        None,
        ge=1,
        le=65535,
        description="a second port for `/metrics`, `/health`, `/ready` and `/docs`, without keys",
    )
    api_key: SecretStr | None = Field(None, description="the key that requests must carry")
    api_keys: list[KeyEntry] = Field(
        default_factory=list,
        description="further keys; one may be a table with what it may do, in a flag as JSON",
    )
    jwt: JwtSettings | None = Field(
        None, description="which JSON Web Tokens are let in, as a table (see operations)"
    )
    cors_origins: list[Origin] = Field(
        default_factory=list,
        description="origins of pages that may call from a browser, beside the server's own; "
        "* is any",
    )
    forwarded_allow_ips: list[Proxy] = Field(
        default_factory=list,
        description="proxies whose `X-Forwarded-For` says where requests come from: addresses, "
        "networks, or `unix` for who connects to `uds`",
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
    streams_store: str = Field(
        "memory",
        pattern=r"^(memory|(redis|rediss|unix)://.+)$",
        description="where resumable and repeatable streams can be read: `memory` is this server "
        "alone, `redis://...` every server that has the same one",
    )
    responses_seconds: float = Field(
        86_400.0, gt=0, description="how long a response is stored, and may run in the background"
    )
    responses_count: int = Field(10_000, ge=0, description="responses that are stored, at most")
    responses_bytes: int = Field(
        256 * 2**20, ge=0, description="size of the stored responses, each with its conversation"
    )
    batch_requests: int = Field(
        64, ge=1, description="requests that one `/api/v1/batch/generate` may hold"
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
    queue_requests: int = Field(
        1024, ge=0, description="requests that may wait for a model; further ones get 503"
    )
    queue_tokens: int = Field(
        2**22, ge=0, description="prompt tokens that may wait for a model, all requests together"
    )
    queue_seconds: float = Field(60.0, gt=0, description="how long a request may wait for its turn")
    drain_seconds: float = Field(
        30.0, ge=0, description="how long running requests may go on after SIGTERM"
    )
    default_limits: LimitsSetting | None = Field(
        None,
        description="limits of keys that name none: `inferneo`, `vllm-api-server`, or a mapping",
    )
    anonymous_limits: LimitsSetting | None = Field(
        None, description="limits of each address, where no key is required"
    )
    model_limits: dict[str, LimitsSetting] = Field(
        default_factory=dict,
        description="limits of what each caller may use of a model, by the model's name",
    )
    limits_store: str = Field(
        "sqlite",
        pattern=r"^(memory|sqlite|(redis|rediss|unix)://.+)$",
        description="where it is kept what callers have used of their limits: `memory`, `sqlite` "
        "(in `state_dir`) or `redis://...`, which several machines can share",
    )
    usage_store: Literal["memory", "sqlite", "redis"] | None = Field(
        None,
        description="where usage is metered (default: where the limits are kept if that is Redis, "
        "else `sqlite`; `memory` forgets it with the process)",
    )
    state_dir: Annotated[Path, AfterValidator(Path.expanduser)] = Field(
        Path("~/.local/state/inferneo"),
        validate_default=True,
        description="folder of what outlives a restart: keys, usage, models loaded at run time",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="what is logged"
    )
    log_format: Literal["text", "json"] = Field(
        "text", description="how a line of the log is written"
    )
    access_log: bool = Field(True, description="one line for each request")
    log_prompts: bool = Field(
        False,
        description="log what models are asked to answer, embed or score, a line for each; "
        "never the answers",
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
        file = InitSettingsSource(settings_cls, read_file(Path(config)) if config else {})
        return init_settings, Environment(settings_cls), file

    @field_validator("jwt", mode="before")
    @classmethod
    def _read_jwt(cls, value: Any) -> Any:
        """A flag is text."""
        return read_yaml(value) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _check_pairs(self) -> Self:
        """Refuse settings that do not go together."""
        if self.metrics_port is not None and self.metrics_port == self.port:
            raise ValueError("metrics_port: must be another one than port")
        if self.usage_store == "redis" and self.limits_store in ("memory", "sqlite"):
            raise ValueError("usage_store: redis needs a limits_store that names the Redis")
        if self.tls_key and not self.tls_cert:
            raise ValueError("tls_key has no tls_cert")
        trusted = self.forwarded_allow_ips
        if trusted and ("unix" in trusted) != (self.uds is not None):
            raise ValueError("forwarded_allow_ips: with `uds`, and only then, `unix` is among them")
        return self

    @property
    def keys(self) -> list[KeyEntry]:
        """The keys of the settings that requests may carry."""
        given = [KeyEntry.model_validate(self.api_key)] if self.api_key else []
        return [*given, *self.api_keys]

    @model_validator(mode="after")
    def _check_names(self) -> "Settings":
        """Refuse a name that two models or adapters have: which does a request mean?"""
        seen: set[str] = set()
        for spec in self.model_specs:
            for name in spec.names:
                if not name or name in seen:
                    raise ValueError(
                        f"models: two models or adapters are called '{name}'"
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
            lora_modules=self.lora_modules,
            device=self.device,
            tool_parser=self.tool_parser,
            reasoning_parser=self.reasoning_parser,
            chat_template=self.chat_template,
        )
        return [default, *(each.spec(name, self.engine) for name, each in self.models.items())]

    @property
    def model_name(self) -> str:
        """The default model's name in requests."""
        return self.served_model_name or name_of(self.model)


def load_settings(config: str | None = None, **flags: Any) -> Settings:
    """Read all sources into one table.

    Args:
        config: path of a YAML file.
        flags: settings given on the command line.

    Raises:
        SettingsError: a value does not fit, a name is unknown, or the file cannot be read.
    """
    if typos := [each for each in unknown_variables(Settings.model_fields) if each.meant]:
        raise SettingsError("\n".join(map(str, typos)))
    try:
        return Settings(config=config, **flags)  # type: ignore[call-arg]
    except SourceError as error:
        raise SettingsError(explain_source(str(error))) from None
    except ValidationError as error:
        problems = (explain_problem(each, Settings.model_fields) for each in error.errors())
        raise SettingsError("\n".join(problems)) from None
