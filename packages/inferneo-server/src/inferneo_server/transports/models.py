"""Receives requests about models; hands on what there are, and loads, moves and unloads them."""

from litestar import Router, get, post
from litestar.openapi.datastructures import ResponseSpec
from litestar.types import ASGIApp, Receive, Scope, Send
from msgspec import Struct

from inferneo_core.codec import encode
from inferneo_core.errors import NotFound
from inferneo_core.models import (
    LoadRequest,
    Model,
    ModelList,
    ModelStatus,
    SleepRequest,
    SwitchAnswer,
    SwitchRequest,
    UnloadRequest,
)
from inferneo_core.sse import DONE, encode_data
from inferneo_server.load_requests import spec_of
from inferneo_server.loading import Job
from inferneo_server.registry import Registry
from inferneo_server.transports.answers import SSE_HEADERS, ClientDisconnected, while_connected
from inferneo_server.transports.documentation import WholeOrEvents
from inferneo_server.transports.errors import error_responses, to_api_error
from inferneo_server.transports.requests import ApiRequest
from inferneo_server.transports.whole import WholeAnswer

PROGRESS_SECONDS = 1.0

_ADMIN = {"scope": "admin"}
_ERRORS = error_responses(400, 401, 403, 404, 409, 413, 503, 504)


@get("/v1/models", responses=error_responses(401, 403), tags=["OpenAI"])
async def list_models(request: ApiRequest) -> ModelList:
    """List the models that can be asked for; `status` tells which are loaded."""
    return ModelList(data=request.service.models(request.identity))


@get("/v1/models/{model_id:path}", responses=error_responses(401, 403, 404), tags=["OpenAI"])
async def get_model(request: ApiRequest, model_id: str) -> Model:
    """Describe one model; ids may hold slashes."""
    return request.service.model(model_id.removeprefix("/"), request.identity)


@post(
    "/v1/models/load",
    status_code=200,
    opt=_ADMIN,
    operation_class=WholeOrEvents,
    responses={200: ResponseSpec(ModelStatus, generate_examples=False), **_ERRORS},
)
async def load_model(request: ApiRequest, data: LoadRequest) -> ASGIApp:
    """Load a model, or give a loaded one another engine, and answer when it serves.

    With `stream`, events of `model.progress` come first. Who hangs up does not end the load.
    """
    registry = request.service.registry
    spec = spec_of(data, registry.spec(data.model), engine=registry.default_engine)
    job = await registry.load(spec, persist=data.persist)
    if data.stream:
        return ProgressStream(registry, job)

    async def loaded() -> ModelStatus:
        await job.result()
        return registry.status(job.spec.name)

    return WholeAnswer(request, loaded)


@post(
    "/v1/models/{model_id:path}",
    status_code=200,
    opt=_ADMIN,
    responses={200: ResponseSpec(ModelStatus, generate_examples=False), **_ERRORS},
)
async def change_model(request: ApiRequest, model_id: str) -> ASGIApp:
    """Change a model by `{id}/unload`, `{id}/sleep` or `{id}/wake`; the body may be left out.

    `unload` waits for the running requests, or ends them with `force`. `sleep` gives the memory of
    the device back (level 1 keeps the weights, level 2 does not) until `wake`.
    """
    # The id may hold slashes, so that no pattern of a route can tell where it ends.
    name, _, action = model_id.removeprefix("/").rpartition("/")
    registry = request.service.registry
    if name and action == "unload":
        asked = await request.decode_optional(UnloadRequest)
        return WholeAnswer(
            request, lambda: registry.unload(name, force=asked.force, persist=asked.persist)
        )
    if name and action == "sleep":
        level = (await request.decode_optional(SleepRequest)).level
        return WholeAnswer(request, lambda: registry.sleep(name, level))
    if name and action == "wake":
        return WholeAnswer(request, lambda: registry.wake(name))
    raise NotFound(f"There is nothing at {request.url.path}")


@post(
    "/v1/devices/switch",
    status_code=200,
    opt=_ADMIN,
    responses={200: ResponseSpec(SwitchAnswer, generate_examples=False), **_ERRORS},
)
async def switch_device(request: ApiRequest, data: SwitchRequest) -> ASGIApp:
    """Move a model to another device; it serves meanwhile, and on where the move fails."""
    registry = request.service.registry
    return WholeAnswer(request, lambda: registry.switch(data.device, data.model))


class ProgressStream:
    """An ASGI application that tells of a load by server-sent events, each second and at its end.

    Args:
        registry: tells how the model stands in the end.
        job: the load. It goes on when the client hangs up.
    """

    def __init__(self, registry: Registry, job: Job) -> None:
        self._registry = registry
        self._job = job

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": SSE_HEADERS})
        try:
            await while_connected(self._tell(send), receive)
        except ClientDisconnected:
            return

    async def _tell(self, send: Send) -> None:
        job = self._job
        while not job.done:
            await _send(send, encode_data(encode(job.progress)))
            await job.wait(PROGRESS_SECONDS)
        last: Struct
        try:
            await job.result()
            last = self._registry.status(job.spec.name)
        except Exception as error:
            last = to_api_error(error).body()
        await _send(send, encode_data(encode(last)) + encode_data(DONE), more=False)


async def _send(send: Send, body: bytes, *, more: bool = True) -> None:
    await send({"type": "http.response.body", "body": body, "more_body": more})


router = Router(
    "/",
    route_handlers=[list_models, get_model, load_model, change_model, switch_device],
    tags=["Models"],
)
