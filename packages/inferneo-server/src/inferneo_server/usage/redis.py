"""Receives what was used; hands on its sums, from a Redis that several machines share."""

from collections.abc import Awaitable
from datetime import date, timedelta

import msgspec
from redis.asyncio import Redis
from redis.exceptions import RedisError

from inferneo_server.cancellable import cancellable
from inferneo_server.usage.base import UsageFailed, Use

_PREFIX = "inferneo:usage:"
_COUNTS = ("requests", "prompt_tokens", "completion_tokens", "cached_tokens", "aborted")


class RedisUsage:
    """See `usage.base.UsageStore`: a hash for each day, of which a field is an owner, a model and
    what is counted.

    Args:
        client: closed with the store.
    """

    def __init__(self, client: "Redis") -> None:
        self._client = client

    def add(self, use: Use) -> Awaitable[None]:
        return self._add(use)

    async def _add(self, use: Use) -> None:
        key = _PREFIX + use.day.isoformat()
        try:
            async with self._client.pipeline(transaction=True) as pipeline:
                for name in _COUNTS:
                    if count := getattr(use, name):
                        pipeline.hincrby(key, _field(use.owner, use.model, name), count)
                await cancellable(pipeline.execute())
        except (RedisError, OSError) as error:
            raise UsageFailed(str(error)) from error

    async def uses(self, start: date, end: date, owner: str | None) -> list[Use]:
        days = [start + timedelta(days=number) for number in range((end - start).days + 1)]
        try:
            async with self._client.pipeline(transaction=False) as pipeline:
                for day in days:
                    pipeline.hgetall(_PREFIX + day.isoformat())
                answers = await cancellable(pipeline.execute())
        except (RedisError, OSError) as error:
            raise UsageFailed(str(error)) from error
        found: dict[tuple[str, str, date], dict[str, int]] = {}
        for day, fields in zip(days, answers, strict=True):
            for field, count in fields.items():
                whose, model, name = msgspec.json.decode(field, type=tuple[str, str, str])
                if owner in (None, whose):
                    found.setdefault((whose, model, day), {})[name] = int(count)
        return [
            Use(owner=whose, model=model, day=day, **{"requests": 0, **counts})
            for (whose, model, day), counts in found.items()
        ]

    async def tidy(self) -> None:
        pass

    async def aclose(self) -> None:
        await self._client.aclose()


def _field(owner: str, model: str, name: str) -> str:
    return msgspec.json.encode((owner, model, name)).decode()
