"""Receives the settings; hands on limits, meter and streams, over the stores that they name."""

from pathlib import Path
from typing import Any

from inferneo_server.environment import SettingsError
from inferneo_server.limits.base import Store
from inferneo_server.limits.limiter import Limiter
from inferneo_server.limits.memory import MemoryStore
from inferneo_server.limits.sqlite import SqliteStore
from inferneo_server.settings import Settings
from inferneo_server.spending import Spending
from inferneo_server.streams import Streams
from inferneo_server.usage.base import UsageStore
from inferneo_server.usage.memory import MemoryUsage
from inferneo_server.usage.meter import Meter
from inferneo_server.usage.sqlite import SqliteUsage


def make_spending(settings: Settings) -> Spending:
    """The limits and the meter.

    Raises:
        DatabaseError: a file in the state folder cannot be used; the message is for the operator.
        SettingsError: a store that is named cannot be, or its library is not installed.
    """
    folder = settings.state_dir
    return Spending(
        Limiter(_limits_store(settings, folder), settings.default_limits, settings.model_limits),
        Meter(_usage_store(settings, folder)),
    )


def _limits_store(settings: Settings, folder: Path) -> Store:
    name = settings.limits_store
    if name == "memory":
        return MemoryStore()
    if name == "sqlite":
        return SqliteStore(folder / "limits.db")
    client = _redis("limits_store", name)
    from inferneo_server.limits.redis import RedisStore

    return RedisStore(client)


def _usage_store(settings: Settings, folder: Path) -> UsageStore:
    name = settings.usage_store
    if name == "redis" or (name is None and settings.limits_store not in ("memory", "sqlite")):
        client = _redis("limits_store", settings.limits_store)
        from inferneo_server.usage.redis import RedisUsage

        return RedisUsage(client)
    return MemoryUsage() if name == "memory" else SqliteUsage(folder / "usage.db")


def make_streams(settings: Settings) -> Streams:
    """The generations, shared with other replicas where the settings say so.

    Raises:
        SettingsError: as `make_spending` does.
    """
    shared = None
    if settings.streams_store != "memory":
        client = _redis("streams_store", settings.streams_store, decode_responses=False)
        from inferneo_server.sharing.redis import SharedStreams

        shared = SharedStreams(
            client,
            log_bytes=settings.stream_log_bytes,
            repeat_seconds=settings.repeat_seconds,
        )
    return Streams(
        log_bytes=settings.stream_log_bytes,
        total_bytes=settings.stream_logs_bytes,
        repeat_seconds=settings.repeat_seconds,
        shared=shared,
    )


def _redis(setting: str, url: str, **options: bool) -> Any:
    try:
        from inferneo_server.limits.redis import connect
    except ImportError:
        raise SettingsError(f"{setting} names a Redis: install inferneo-server[redis]") from None
    try:
        return connect(url, **options)
    except ValueError as error:
        raise SettingsError(f"{setting} is no address of a Redis: {error}") from None
