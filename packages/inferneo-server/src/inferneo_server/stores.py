"""Receives the settings; hands on the limits and the meter, over the stores that they name."""

from pathlib import Path
from typing import Any

from inferneo_server.database import DatabaseError
from inferneo_server.limits.base import Store
from inferneo_server.limits.limiter import Limiter
from inferneo_server.limits.memory import MemoryStore
from inferneo_server.limits.sqlite import SqliteStore
from inferneo_server.settings import Settings
from inferneo_server.spending import Spending
from inferneo_server.usage.base import UsageStore
from inferneo_server.usage.memory import MemoryUsage
from inferneo_server.usage.meter import Meter
from inferneo_server.usage.sqlite import SqliteUsage


def make_spending(settings: Settings) -> Spending:
    """The limits and the meter.

    Raises:
        DatabaseError: a store cannot be opened; the message is for the operator.
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
    client = _redis(name)
    from inferneo_server.limits.redis import RedisStore

    return RedisStore(client)


def _usage_store(settings: Settings, folder: Path) -> UsageStore:
    name = settings.usage_store
    if name == "redis" or (name is None and settings.limits_store.startswith("redis")):
        client = _redis(settings.limits_store)
        from inferneo_server.usage.redis import RedisUsage

        return RedisUsage(client)
    return MemoryUsage() if name == "memory" else SqliteUsage(folder / "usage.db")


def _redis(url: str) -> Any:
    try:
        from inferneo_server.limits.redis import connect
    except ImportError:
        raise DatabaseError("limits_store names a Redis: install inferneo-server[redis]") from None
    try:
        return connect(url)
    except ValueError as error:
        raise DatabaseError(f"limits_store is no address of a Redis: {error}") from None
