"""Receives questions about the server itself; hands on its health, readiness and metrics."""

from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from litestar import HttpMethod, Response, get, route
from msgspec import Struct
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from inferneo_server.transports.playground import page, prefers_html
from inferneo_server.transports.requests import ApiRequest

VERSION = version("inferneo-server")

# Some load balancers probe by HEAD.
PROBES = [HttpMethod.GET, HttpMethod.HEAD]


class Welcome(Struct, frozen=True, kw_only=True):
    """Answer of `GET /`."""

    name: str
    version: str
    models: list[str]
    docs: str


class Health(Struct, frozen=True, kw_only=True):
    """Answer of `GET /health`: the process is alive. `initialized` tells whether it can serve."""

    status: str
    version: str
    timestamp: datetime
    initialized: bool
    model_loaded: bool
    model: str


class Readiness(Struct, frozen=True, kw_only=True):
    """Answer of `GET /ready`; `status` is ready, loading, restarting, stopped or draining."""

    status: str


@get("/", tags=["Server"])
async def welcome(request: ApiRequest) -> Response[Welcome]:
    """Say what this is; a browser, which asks for HTML, gets the playground."""
    if prefers_html(request.headers.get("accept", "")):
        return page(request, vary="Accept")
    told = Welcome(
        name="Inferneo", version=VERSION, models=request.service.registry.names, docs="/docs"
    )
    # A cache asks each time: where a page of another origin calls, Litestar's `Vary` replaces ours.
    return Response(told, headers={"vary": "Accept", "cache-control": "no-cache"})


@route("/health", http_method=PROBES, tags=["Server"])
async def health(request: ApiRequest) -> Health:
    """Say that the process is alive; `/ready` tells whether it takes requests."""
    registry = request.service.registry
    loaded = registry.state == "ready"
    return Health(
        status="healthy",
        version=VERSION,
        timestamp=datetime.now(UTC),
        initialized=loaded,
        model_loaded=loaded,
        model=registry.name,
    )


@route("/ready", http_method=PROBES, tags=["Server"])
async def ready(request: ApiRequest) -> Response[Readiness]:
    """Say whether the server takes requests: 200 or 503."""
    service = request.service
    status = "draining" if service.draining else service.registry.state
    return Response(Readiness(status=status), status_code=200 if status == "ready" else 503)


@get("/metrics", tags=["Server"], sync_to_thread=True, media_type="text/plain")
def metrics() -> Response[bytes]:
    """Give the metrics of the server and of its engine in Prometheus' text format."""
    return Response(generate_latest(), headers={"content-type": CONTENT_TYPE_LATEST})


handlers: list[Any] = [welcome, health, ready, metrics]
