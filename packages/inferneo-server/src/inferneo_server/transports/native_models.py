"""Receives requests of `/api/v1` about models; hands on how they stand, and loads them."""

import asyncio
import re

from litestar import get, post
from litestar.openapi.datastructures import ResponseSpec
from litestar.types import ASGIApp

from inferneo_core.errors import InvalidRequest, ModelNotFound, NotFound
from inferneo_core.models import LoadRequest
from inferneo_core.native import NativeError, NativeLoadRequest, NativeModel, NativeModels
from inferneo_server.backends import device_types
from inferneo_server.hardware.memory import told
from inferneo_server.load_requests import spec_of
from inferneo_server.model_spec import ModelSpec
from inferneo_server.registry import Registry
from inferneo_server.transports.errors import error_responses
from inferneo_server.transports.requests import ApiRequest
from inferneo_server.transports.whole import WholeAnswer
from inferneo_server.weights import find_weights

# How GGUF files call what is in them (`q4_0`, `Q5_K_M`); no engine takes it for an argument.
_GGUF = re.compile(r"i?q\d+_\w+", re.IGNORECASE)


@get("/models", responses=error_responses(401, 403, body=NativeError))
async def list_models(request: ApiRequest) -> NativeModels:
    """List all models and adapters that are known, loaded or not, with what they take."""
    registry, allowed = request.service.registry, request.identity.models
    names = [name for name in registry.names if allowed is None or name in allowed]
    return NativeModels(models=[await _model(registry, name) for name in names])


@post(
    "/models/{address:path}",
    status_code=200,
    opt={"scope": "admin"},
    responses={
        200: ResponseSpec(NativeModel, generate_examples=False),
        **error_responses(400, 401, 403, 404, 409, 413, 503, 504, body=NativeError),
    },
)
async def load_model(request: ApiRequest, address: str) -> ASGIApp:
    """Load a model by `{name}/load`, and answer when it serves; the body may be left out."""
    # The name may hold slashes, so that no pattern of a route can tell where it ends.
    name, _, action = address.removeprefix("/").rpartition("/")
    registry = request.service.registry
    if not name or action != "load":
        raise NotFound(f"There is nothing at {request.url.path}")
    asked = await request.decode_optional(NativeLoadRequest)
    known = registry.spec(name)
    if known is None:
        raise ModelNotFound(name, registry.names)
    wanted = LoadRequest(
        model=name,
        quantization=await _quantization(asked.quantization, known),
        device=await _device(asked.prefer_gpu, known),
    )
    job = await registry.load(spec_of(wanted, known, engine=registry.default_engine))

    async def loaded() -> NativeModel:
        await job.result()
        return await _model(registry, job.spec.name)

    return WholeAnswer(request, loaded)


async def _model(registry: Registry, name: str) -> NativeModel:
    status = registry.status(name)
    spec = registry.spec(status.id)
    adapter = spec.lora_modules.get(name) if spec else None
    source = adapter or (spec.source if spec else status.root)
    weights = await asyncio.to_thread(find_weights, source)
    loaded = status.loaded_at is not None
    return NativeModel(
        name=name,
        format=weights.format,
        size=told(weights.bytes) if weights.bytes else "unknown",
        loaded=loaded,
        memory_usage=told(status.memory_bytes if loaded and adapter is None else 0),
    )


async def _quantization(asked: str | None, spec: ModelSpec) -> str | None:
    """The engine's argument; the one that a GGUF file was made with is none."""
    if asked is None or not _GGUF.fullmatch(asked):
        return asked
    weights = await asyncio.to_thread(find_weights, spec.source)
    if weights.format != "gguf":
        raise InvalidRequest(
            f"'{asked}' is how a GGUF file is made, and the weights of '{spec.name}' are "
            f"{weights.format}",
            param="quantization",
        )
    return None


async def _device(prefer_gpu: bool | None, spec: ModelSpec) -> str | None:
    """Where to load it; a preference for what the engine cannot use is none."""
    if prefer_gpu is None:
        return None
    usable = await asyncio.to_thread(device_types, spec.engine)
    return "auto" if prefer_gpu or "cpu" not in usable else "cpu"
