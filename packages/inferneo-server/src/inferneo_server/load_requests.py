"""Receives a request to load a model; hands on how that model is to be run."""

from typing import Any

from msgspec.structs import replace

from inferneo_core.errors import InvalidRequest
from inferneo_core.models import LoadRequest
from inferneo_server.model_spec import EngineName, ModelSpec, is_missing, name_of

_FIELDS = ("engine", "aliases", "lora_modules", "device", "idle_seconds")


def spec_of(request: LoadRequest, known: ModelSpec | None, *, engine: EngineName) -> ModelSpec:
    """How the model is to be run: what is known of it, changed by what the request gives.

    Args:
        request: what is asked for.
        known: the model whose name or alias the request gives; None where it gives an id or path.
        engine: what runs it, where nothing else says so.

    Raises:
        InvalidRequest: a name cannot be one, or is given twice, or a folder is not there.
    """
    changes: dict[str, Any] = {
        name: value for name in _FIELDS if (value := getattr(request, name)) is not None
    }
    if known is None:
        if is_missing(request.model):
            raise InvalidRequest(f"There is no {request.model} on the server", param="model")
        name = request.name or name_of(request.model)
        spec = ModelSpec(name=name, model=request.model, engine=engine, load="on_first_use")
    else:
        spec = known
        if request.name is not None:
            spec = replace(known, name=request.name, aliases=(), lora_modules={})
    arguments = spec.engine_args | (request.engine_args or {})
    if request.quantization is not None:
        arguments["quantization"] = request.quantization
    if arguments != spec.engine_args:
        changes["engine_args"] = arguments
    if request.pinned is not None:
        changes["load"] = "pinned" if request.pinned else "on_first_use"
    if "aliases" in changes:
        changes["aliases"] = tuple(changes["aliases"])
    spec = replace(spec, **changes)
    _check_adapters(request, spec)
    for name in spec.names:
        if not name or name != name.strip("/") or not name.isprintable():
            raise InvalidRequest(
                f"A model cannot be called {name!r}; give it a name with 'name'", param="name"
            )
    return spec


def _check_adapters(request: LoadRequest, spec: ModelSpec) -> None:
    for path in (request.lora_modules or {}).values():
        if is_missing(path):
            raise InvalidRequest(f"There is no {path} on the server", param="lora_modules")
    for name in spec.lora_modules:
        if name in (spec.name, *spec.aliases):
            raise InvalidRequest(
                f"'{name}' is a name of the model itself, and of no adapter", param="lora_modules"
            )
