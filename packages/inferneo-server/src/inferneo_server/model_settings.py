"""Receives an entry of the setting `models`; hands on how that model is to be run."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from inferneo_server.model_spec import EngineName, LoadWhen, ModelSpec
from inferneo_server.template_setting import TemplateSetting


class ModelSettings(BaseModel):
    """A model beside the default one: an entry of the setting `models`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str | None = None
    engine: EngineName | None = None
    engine_args: dict[str, Any] = Field(default_factory=dict)
    aliases: list[str] = Field(default_factory=list)
    lora_modules: dict[str, str] = Field(default_factory=dict)
    device: str = "auto"
    tool_parser: str | None = None
    reasoning_parser: str | None = None
    load: LoadWhen = "on_first_use"
    idle_seconds: float | None = Field(None, gt=0)
    memory_bytes: int | None = Field(None, ge=0)
    chat_template: TemplateSetting | None = None

    def spec(self, name: str, engine: EngineName) -> ModelSpec:
        """The model of that name, which `engine` runs where nothing else is said."""
        return ModelSpec(
            name=name,
            model=self.model or name,
            engine=self.engine or engine,
            engine_args=self.engine_args,
            aliases=tuple(self.aliases),
            lora_modules=self.lora_modules,
            device=self.device,
            tool_parser=self.tool_parser,
            reasoning_parser=self.reasoning_parser,
            load=self.load,
            idle_seconds=self.idle_seconds,
            memory_bytes=self.memory_bytes,
            chat_template=self.chat_template,
        )
