"""Receives the steps of one request as they come; hands them on as a stream of deltas."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence

from inferneo_core.errors import ApiError
from inferneo_server.engines.base import Delta


class TorchStream:
    """The deltas of one request.

    Args:
        choices: how many choices it has.
        closed: called once, when the request has ended or is given up; is told whether it goes on
            and must be aborted.
    """

    def __init__(self, choices: int, closed: Callable[[bool], None]) -> None:
        self.cached_tokens = 0
        self.unfinished = choices
        self._closed: Callable[[bool], None] | None = closed
        self._steps: deque[Sequence[Delta]] = deque()
        self._error: ApiError | None = None
        self._waiter: asyncio.Future[None] | None = None

    def receive(self, deltas: Sequence[Delta]) -> None:
        """The engine has written a step."""
        self._steps.append(deltas)
        self.unfinished -= sum(delta.finish_reason is not None for delta in deltas)
        if not self.unfinished:
            self._close(goes_on=False)
        self._wake()

    def fail(self, error: ApiError) -> None:
        """The engine has failed on this request."""
        self._error = error
        self.unfinished = 0
        self._close(goes_on=False)
        self._wake()

    def _close(self, *, goes_on: bool) -> None:
        closed, self._closed = self._closed, None
        if closed is not None:
            closed(goes_on)

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def __aiter__(self) -> "TorchStream":
        return self

    async def __anext__(self) -> Sequence[Delta]:
        while not self._steps:
            if self._error is not None:
                error, self._error = self._error, None
                raise error
            if not self.unfinished:
                raise StopAsyncIteration
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        return self._steps.popleft()

    async def aclose(self) -> None:
        """Abort what still runs."""
        self.unfinished = 0
        self._steps.clear()
        self._error = None
        self._close(goes_on=True)
