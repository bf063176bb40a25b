"""Receives the settings and the registry; hands on the ASGI application. Knows all the parts."""

from functools import partial

from litestar import Litestar
from litestar.config.cors import CORSConfig
from litestar.datastructures import State
from litestar.types import ASGIApp

from inferneo_server.devices import find_device
from inferneo_server.engines.making import make_engine
from inferneo_server.identity import KeyCheck, Keys
from inferneo_server.metrics import CHOICES_RUNNING, MODELS_LOADED
from inferneo_server.registry import Registry
from inferneo_server.remembered import RememberedModels
from inferneo_server.response_store import ResponseStore
from inferneo_server.responses import Responses
from inferneo_server.service import Service
from inferneo_server.settings import Settings
from inferneo_server.streams import Streams
from inferneo_server.telemetry import Telemetry
from inferneo_server.transports import (
    devices,
    messages,
    models,
    openai,
    playground,
    pooling,
    responses,
    status,
    streams,
    tokens,
    websocket,
)
from inferneo_server.transports.documentation import (
    assets_router,
    openapi_config,
    openapi_json,
)
from inferneo_server.transports.errors import error_response
from inferneo_server.transports.requests import ApiRequest


def make_app(settings: Settings, service: Service) -> ASGIApp:
    """Put the application together."""
    keys = Keys(settings.keys)
    CHOICES_RUNNING.set_function(lambda: service.registry.running)
    MODELS_LOADED.set_function(lambda: service.registry.loaded)
    app = Litestar(
        route_handlers=[
            openai.router,
            models.router,
            pooling.router,
            responses.router,
            messages.router,
            streams.router,
            tokens.router,
            *websocket.handlers,
            *devices.handlers,
            *status.handlers,
            *playground.handlers,
            openapi_json,
            assets_router(),
        ],
        middleware=[partial(KeyCheck, keys=keys)],
        cors_config=_cors(settings),
        exception_handlers={Exception: error_response},
        request_class=ApiRequest,
        logging_config=None,
        openapi_config=openapi_config(status.VERSION),
        state=State(
            {
                "service": service,
                "responses": Responses(service, make_store(settings)),
                "settings": settings,
                "credentials": keys,
            }
        ),
    )
    return Telemetry(app, access_log=settings.access_log)


def _cors(settings: Settings) -> CORSConfig | None:
    if not settings.cors_origins:
        return None
    return CORSConfig(
        allow_origins=settings.cors_origins,
        expose_headers=[
            "x-request-id",
            "inferneo-ignored",
            "inferneo-stream",
            "inferneo-replayed",
            "retry-after-ms",
        ],
    )


def make_service(settings: Settings) -> Service:
    """A service over the configured models, which are loaded when their registry runs."""
    return Service(
        make_registry(settings),
        Streams(
            log_bytes=settings.stream_log_bytes,
            total_bytes=settings.stream_logs_bytes,
            repeat_seconds=settings.repeat_seconds,
        ),
    )


def make_registry(settings: Settings) -> Registry:
    """The models that the settings name, not yet loaded."""
    return Registry(
        settings.model_specs,
        partial(make_engine, quiet=settings.log_level != "debug"),
        find_device,
        wait_seconds=settings.load_wait_seconds,
        load_seconds=settings.load_seconds,
        drain_seconds=settings.drain_seconds,
        budget=settings.memory_budget_bytes,
        remembered=RememberedModels(settings.state_dir / "models.json"),
    )


def make_store(settings: Settings) -> ResponseStore:
    """An empty store of responses."""
    return ResponseStore(
        max_count=settings.responses_count,
        max_bytes=settings.responses_bytes,
        seconds=settings.responses_seconds,
    )
