"""Receives what a library waits for; hands on what comes of it, within a time: asyncio and trio."""

import asyncio
import math
import types
from collections.abc import Awaitable, Callable, Generator
from typing import Any, Protocol, TypeVar

import anyio

from inferneo_client._errors import ConnectionFailed, TimedOut
from inferneo_client._transports import on_asyncio

T = TypeVar("T")
Begin = Callable[[], Awaitable[T]]


class Errors(Protocol):
    """The errors of a library, and ours for them."""

    kinds: tuple[type[Exception], ...]

    def ours(self, error: Exception) -> ConnectionFailed:
        """Our error for one of the library's."""
        ...


class Wait(Protocol):
    """The waits of one answer, one after the other."""

    def of(self, begin: Begin[T], timeout: float | None) -> Awaitable[T | bytes]:
        """Begin something, and wait so many seconds for it; None waits for ever.

        The end of an async iterator is an empty piece.

        Raises:
            ConnectionFailed: the library has failed, or `abort` was called.
            TimedOut: it took longer.
        """
        ...

    def abort(self) -> None:
        """End the wait that is on, of another task, and any further one."""
        ...

    def close(self) -> None:
        """Let go of what the waits took."""
        ...


def new_wait(errors: Errors) -> Wait:
    """The waits of an answer on the event loop that runs."""
    return AsyncioWait(errors) if on_asyncio() else ScopedWait(errors)


def _ended(aborted: bool) -> ConnectionFailed:
    if aborted:
        return ConnectionFailed("The stream was aborted")
    return TimedOut("The server was silent for too long", phase="idle")


class AsyncioWait:
    """See `Wait`. A cancel scope for each piece of a stream would cost more than all that is done
    with it: here what is there already is given at once, and one timer is enough for many waits.

    The library's coroutine is run by hand, so that the future that it waits for is known. To cancel
    that future ends the wait, and leaves the cancellation of the task to others.
    """

    def __init__(self, errors: Errors) -> None:
        self._errors = errors
        self._aborted = False
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._looks_at = math.inf
        self._until = math.inf
        # Of the wait that is on, and that may still be ended.
        self._task: asyncio.Task[Any] | None = None
        self._future: asyncio.Future[Any] | None = None
        self._to_end = False
        # How often the task had been cancelled by others when its wait was ended here.
        self._cancelling: int | None = None

    @types.coroutine
    def of(self, begin: Begin[T], timeout: float | None) -> Generator[Any, Any, T | bytes]:
        if self._aborted:
            raise _ended(True)
        try:
            waiting: Any = begin().__await__()
            try:
                future = waiting.send(None)
            except StopIteration as ready:
                return ready.value  # type: ignore[no-any-return]
            return (yield from self._rest(waiting, future, timeout))  # type: ignore[no-any-return]
        except StopAsyncIteration:
            return b""
        except self._errors.kinds as error:
            raise self._errors.ours(error) from error

    def _rest(self, waiting: Any, future: Any, timeout: float | None) -> Generator[Any, Any, Any]:
        """Go on with a coroutine that has come to a wait for a future."""
        cancelled: asyncio.CancelledError | None = None
        self._begin(timeout)
        try:
            while True:
                self._suspend(future)
                try:
                    value = yield future
                except asyncio.CancelledError as error:
                    # What the library does to clean up is not ended: its connection would stay.
                    cancelled, self._task = error, None
                    future = waiting.throw(error)
                except BaseException as error:
                    future = waiting.throw(error)
                else:
                    future = waiting.send(value)
        except StopIteration as stop:
            return stop.value
        except asyncio.CancelledError as error:
            if self._was_ended():
                raise _ended(self._aborted) from None
            # Not one of the library's own, by which no cancel scope knows itself again.
            raise cancelled or error from None
        finally:
            self._task = self._future = None

    def _begin(self, timeout: float | None) -> None:
        self._task = asyncio.current_task()
        self._to_end = False
        self._cancelling = None
        self._until = math.inf if timeout is None else self._loop.time() + timeout
        if self._until < self._looks_at:
            self._look_at(self._until)

    def _suspend(self, future: asyncio.Future[Any] | None) -> None:
        self._future = future
        if self._to_end:
            self._end()

    def _was_ended(self) -> bool:
        """Whether the wait was ended here, and the task not cancelled by others since."""
        task = asyncio.current_task()
        return self._cancelling is not None and (
            task is not None and task.cancelling() <= self._cancelling
        )

    def _look_at(self, time: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._looks_at = time
        self._timer = self._loop.call_at(time, self._look)

    def _look(self) -> None:
        """End the wait that is on if its time is over; else look again then."""
        self._looks_at = math.inf
        if self._task is None or self._until == math.inf:
            return
        if self._until > self._loop.time():
            self._look_at(self._until)
        else:
            self._end()

    def abort(self) -> None:
        self._aborted = True
        self._end()

    def _end(self) -> None:
        if self._task is None:
            return
        # None is waited for where a library only lets others run: its next future is ended then.
        self._to_end = self._future is None
        if self._future is not None and self._future.cancel():
            self._cancelling = self._task.cancelling()

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()


class ScopedWait:
    """See `Wait`. For trio, where only a cancel scope can end a wait."""

    def __init__(self, errors: Errors) -> None:
        self._errors = errors
        self._scope = anyio.CancelScope()
        self._aborted = False

    async def of(self, begin: Begin[T], timeout: float | None) -> T | bytes:
        if self._aborted:
            raise _ended(True)
        try:
            with anyio.move_on_after(timeout) as self._scope:
                return await begin()
        except StopAsyncIteration:
            return b""
        except self._errors.kinds as error:
            raise self._errors.ours(error) from error
        raise _ended(self._aborted)

    def abort(self) -> None:
        self._aborted = True
        self._scope.cancel()

    def close(self) -> None:
        return None
