"""Receives the settings and the registry; hands on the ASGI application. Knows all the parts."""

import contextlib
from functools import partial

from litestar import Litestar
from litestar.config.cors import CORSConfig
from litestar.datastructures import State
from litestar.types import ASGIApp

from inferneo_core.limits import LIMIT_HEADERS
from inferneo_server.access.check import KeyCheck
from inferneo_server.access.forwarded import ForwardedAddress
from inferneo_server.access.identity import Identity
from inferneo_server.access.jwt import JwtCheck
from inferneo_server.access.key_store import FILE_NAME
from inferneo_server.access.keys import Keys, StaticKey
from inferneo_server.access.origins import OriginCheck, Origins
from inferneo_server.access.settings import KeyEntry
from inferneo_server.access.stored_keys import StoredKeys
from inferneo_server.admission import Queues
from inferneo_server.devices import find_device
from inferneo_server.engines.making import make_engine
from inferneo_server.metrics import CHOICES_RUNNING, MODELS_LOADED, QUEUED
from inferneo_server.registry import Registry
from inferneo_server.remembered import RememberedModels
from inferneo_server.response_store import ResponseStore
from inferneo_server.responses import Responses
from inferneo_server.service import Service
from inferneo_server.settings import Settings
from inferneo_server.stores import make_spending, make_streams
from inferneo_server.telemetry import Telemetry
from inferneo_server.transports import (
    devices,
    messages,
    models,
    native,
    openai,
    playground,
    pooling,
    responses,
    status,
    streams,
    tokens,
    usage,
    websocket,
)
from inferneo_server.transports.documentation import (
    Descriptions,
    assets_router,
    openapi_config,
    openapi_json,
)
from inferneo_server.transports.errors import error_response
from inferneo_server.transports.limits import LimitHeaders
from inferneo_server.transports.probes import HeadAsGet
from inferneo_server.transports.requests import ApiRequest


def make_app(settings: Settings, service: Service, keys: Keys | None = None) -> ASGIApp:
    """Put the application together; without keys those of the settings are let in."""
    keys = keys or make_keys(settings)
    origins = Origins(settings.host, settings.cors_origins)
    CHOICES_RUNNING.set_function(lambda: service.registry.running)
    QUEUED.set_function(lambda: service.queues.waiting)
    MODELS_LOADED.set_function(lambda: service.registry.loaded)
    app = Litestar(
        route_handlers=[
            openai.router,
            models.router,
            pooling.router,
            responses.router,
            messages.router,
            native.router,
            streams.router,
            tokens.router,
            usage.router,
            *websocket.handlers,
            *devices.handlers,
            *status.handlers,
            *playground.handlers,
            openapi_json,
            assets_router(),
        ],
        middleware=[
            partial(OriginCheck, origins=origins, keys=keys),
            partial(KeyCheck, keys=keys, operator_port=settings.metrics_port),
            partial(
                LimitHeaders,
                limiter=service.spending.limiter,
                anonymous=None if keys.required else settings.anonymous_limits,
            ),
        ],
        cors_config=_cors(settings),
        exception_handlers={Exception: error_response},
        request_class=ApiRequest,
        logging_config=None,
        openapi_config=openapi_config(status.VERSION),
        plugins=[Descriptions()],
        state=State(
            {
                "service": service,
                "responses": Responses(service, make_store(settings)),
                "settings": settings,
                "credentials": keys,
                "origins": origins,
            }
        ),
    )
    told = Telemetry(HeadAsGet(app), access_log=settings.access_log)
    trusted = settings.forwarded_allow_ips
    return ForwardedAddress(told, trusted) if trusted else told


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
            *LIMIT_HEADERS,
        ],
    )


def make_service(settings: Settings) -> Service:
    """A service over the configured models, which are loaded when their registry runs.

    Raises:
        DatabaseError: a file of limits or usage cannot be used.
        SettingsError: a store that is named cannot be.
    """
    return Service(
        make_registry(settings),
        make_streams(settings),
        make_spending(settings),
        Queues(
            max_requests=settings.queue_requests,
            max_tokens=settings.queue_tokens,
            max_seconds=settings.queue_seconds,
        ),
        log_prompts=settings.log_prompts,
    )


def make_keys(settings: Settings) -> Keys:
    """The keys that are let in: of the settings, of the file that commands write, of an issuer."""
    state_dir = settings.state_dir
    return Keys(
        [_static_key(each) for each in settings.keys],
        stored=StoredKeys(state_dir / FILE_NAME),
        issuer=JwtCheck(settings.jwt) if settings.jwt else None,
        state_dir=state_dir,
    )


def keys_required(settings: Settings) -> bool:
    """Whether requests must carry a key, with these settings and the file as it is now."""
    with contextlib.closing(make_keys(settings)) as keys:
        return keys.required


def _static_key(entry: KeyEntry) -> StaticKey:
    identity = Identity(
        name=entry.name or "",
        scopes=frozenset(entry.scopes),
        models=None if entry.models is None else frozenset(entry.models),
        limits=entry.limits,
        weight=entry.weight,
    )
    if entry.key is not None:
        return StaticKey.of(entry.key.get_secret_value(), identity)
    return StaticKey.of_digest(bytes.fromhex(entry.key_sha256 or ""), identity)


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
