"""Receives what was used; hands on its sums, which are forgotten with the process."""

from datetime import date

from inferneo_server.usage.base import Use


class MemoryUsage:
    """See `usage.base.UsageStore`."""

    def __init__(self) -> None:
        self._sums: dict[tuple[str, str, date], Use] = {}

    def add(self, use: Use) -> None:
        known = self._sums.get(use.key)
        self._sums[use.key] = use if known is None else known + use

    async def uses(self, start: date, end: date, owner: str | None) -> list[Use]:
        return [
            use
            for use in self._sums.values()
            if start <= use.day <= end and owner in (None, use.owner)
        ]

    async def tidy(self) -> None:
        pass

    async def aclose(self) -> None:
        pass
