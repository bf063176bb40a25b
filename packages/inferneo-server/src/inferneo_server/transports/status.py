"""Receives questions about the server itself; hands on its health, readiness and metrics."""

import asyncio
import contextlib
import os
import time
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from litestar import Response, get
from litestar.openapi.datastructures import ResponseSpec
from msgspec import Struct
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from inferneo_core.codec import encode
from inferneo_core.errors import ErrorBody, ServerError
from inferneo_core.native import NativeError
from inferneo_server.devices import Device, devices_now
from inferneo_server.hardware.memory import told, tree_memory
from inferneo_server.metrics import active_connections, read_metrics
from inferneo_server.transports.errors import error_responses
from inferneo_server.transports.playground import page, prefers_html
from inferneo_server.transports.requests import ApiRequest

VERSION = version("inferneo-server")

# A probe waits no longer for what a driver says.
DEVICES_SECONDS = 0.5
MEMORY_KEPT_SECONDS = 1.0


class Welcome(Struct, frozen=True, kw_only=True):
    """Answer of `GET /`."""

    name: str
    version: str
    models: list[str]
    docs: str


class Health(Struct, frozen=True, kw_only=True):
    """Answer of `GET /health`: the process is alive.

    `initialized` and `model_loaded` tell whether it can serve; `memory_usage` is what the server
    and its engines take of the memory they may use, as in `2.1GB/8GB`.
    """

    status: str
    version: str
    timestamp: datetime
    initialized: bool
    model_loaded: bool
    model: str
    memory_usage: str
    active_connections: int
    gpus: int
    nvidia_5090: bool


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


class _Memory:
    """What the processes of this server take, read again after a second."""

    def __init__(self) -> None:
        self._bytes = 0
        self._read_at = float("-inf")

    async def read(self) -> int:
        """In bytes."""
        if time.monotonic() - self._read_at > MEMORY_KEPT_SECONDS:
            self._read_at = time.monotonic()
            self._bytes = await asyncio.to_thread(tree_memory, os.getpid())
        return self._bytes


_memory = _Memory()


async def _devices() -> list[Device]:
    """Those of this machine; none where a driver is slow to say."""
    with contextlib.suppress(ServerError, TimeoutError):
        async with asyncio.timeout(DEVICES_SECONDS):
            return await devices_now()
    return []


@get(["/health", "/api/v1/health"], tags=["Server"])
async def health(request: ApiRequest) -> Health:
    """Say that the process is alive; `/ready` tells whether it takes requests."""
    registry = request.service.registry
    loaded = registry.state == "ready"
    devices = await _devices()
    gpus = [device for device in devices if device.type == "gpu"]
    total = next((device.memory_total for device in devices if device.type == "cpu"), 0)
    return Health(
        status="healthy",
        version=VERSION,
        timestamp=datetime.now(UTC),
        initialized=loaded,
        model_loaded=loaded,
        model=registry.name,
        memory_usage=f"{told(await _memory.read())}/{told(total)}",
        active_connections=active_connections(),
        gpus=len(gpus),
        nvidia_5090=any("RTX 5090" in gpu.model for gpu in gpus),
    )


@get(
    "/ready",
    responses={503: ResponseSpec(Readiness, description="Not now", generate_examples=False)},
    tags=["Server"],
)
async def ready(request: ApiRequest) -> Response[Readiness]:
    """Say whether the server takes requests: 200 or 503."""
    service = request.service
    status = "draining" if service.draining else service.registry.state
    return Response(Readiness(status=status), status_code=200 if status == "ready" else 503)


@get(
    ["/metrics", "/api/v1/metrics"],
    tags=["Server"],
    media_type="text/plain",
    responses=error_responses(401, 403, body=ErrorBody | NativeError),
    # They tell of all keys together. Nobody wants a line of the audit log for each scrape.
    opt={"scope": "admin", "audit": False},
)
async def metrics(request: ApiRequest) -> Response[bytes]:
    """Give the metrics of the server and of its engine in Prometheus' text format, or as JSON."""
    accepted = request.headers.get("accept", "")
    as_json = "application/json" in accepted and "text/plain" not in accepted
    # To read them all takes milliseconds.
    body = await asyncio.to_thread(_metrics_json if as_json else generate_latest)
    kind = "application/json" if as_json else CONTENT_TYPE_LATEST
    return Response(body, headers={"content-type": kind, "vary": "Accept"})


def _metrics_json() -> bytes:
    return encode({metric.name: metric for metric in read_metrics()})


handlers: list[Any] = [welcome, health, ready, metrics]
