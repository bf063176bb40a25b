"""Receives what each request used; hands it to the store, and keeps it where that fails."""

import asyncio
import logging
from collections.abc import Awaitable
from datetime import UTC, date, datetime

from inferneo_server.usage.base import UsageFailed, UsageStore, Use

logger = logging.getLogger(__name__)


class Meter:
    """What all owners have used.

    Args:
        store: where it is summed up.
    """

    def __init__(self, store: UsageStore) -> None:
        self._store = store
        self._kept: dict[tuple[str, str, date], Use] = {}
        self._failing = False

    def record(self, use: Use) -> Awaitable[None] | None:
        """Add a request. Done at once where None is returned."""
        if self._failing:
            # The end of an answer does not wait for a store that is away.
            self._keep(use)
            return None
        try:
            later = self._store.add(use)
        except UsageFailed as error:
            self._failed(use, error)
            return None
        return None if later is None else self._finish(later, use)

    async def _finish(self, later: Awaitable[None], use: Use) -> None:
        try:
            await later
        except UsageFailed as error:
            self._failed(use, error)

    def _failed(self, use: Use, error: UsageFailed) -> None:
        """Sum it up here until the store can be written again, and say so once."""
        if not self._failing:
            self._failing = True
            logger.error("The store of usage fails, what is used is kept in memory: %s", error)
        self._keep(use)

    def _keep(self, use: Use) -> None:
        known = self._kept.get(use.key)
        self._kept[use.key] = use if known is None else known + use

    async def flush(self) -> None:
        """Write what could not be written before; what still cannot be is kept."""
        while self._kept:
            _, use = self._kept.popitem()
            try:
                later = self._store.add(use)
                if later is not None:
                    await later
            except UsageFailed as error:
                self._failed(use, error)
                return
            except asyncio.CancelledError:
                self._keep(use)
                raise
        if self._failing:
            self._failing = False
            logger.info("The store of usage is back")

    async def tidy(self) -> None:
        """Write what had to wait, and see to the store; now and then."""
        await self.flush()
        await self._store.tidy()

    async def uses(self, start: date, end: date, owner: str | None = None) -> list[Use]:
        """The sums of each owner, model and day.

        Raises:
            UsageFailed: they cannot be read.
        """
        return await self._store.uses(start, end, owner)

    async def aclose(self) -> None:
        """Write what had to wait, and close the store."""
        await self.flush()
        if self._kept:
            logger.error("What was used could not be written, and is lost: %s", self._kept)
        await self._store.aclose()


def today() -> date:
    """The day (UTC) that a request counts for."""
    return datetime.now(UTC).date()
