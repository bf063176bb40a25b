"""Receives a call's open answer; hands on the stream that a caller iterates: the async flavour."""

import contextlib
from collections.abc import AsyncIterator, Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

import anyio

from inferneo_client._errors import ConnectionFailed, StreamTruncatedError
from inferneo_client._reading import Reading, unfinished
from inferneo_client._transport import AsyncResponse
from inferneo_client.types.answer import Answer
from inferneo_client.types.response import ResponseInfo
from inferneo_core.errors import ApiError

if TYPE_CHECKING:
    from inferneo_client._async import AsyncInferneo

C = TypeVar("C", bound=Answer)
T = TypeVar("T")
W = TypeVar("W")

_CANCEL_SECONDS = 2.0
_DRAIN_SECONDS = 0.5


class AsyncStream(Generic[C, W]):
    """A streamed answer: iterate it for its chunks.

    It resumes by itself where the server can. Leaving the loop or the `async with` block frees the
    connection at once, and tells the server to stop; without the block that is done by a task of
    the client's, as soon as the event loop gets to it.

    Attributes:
        response: how the answer came: headers, request id, attempts, times.
    """

    def __init__(
        self,
        client: "AsyncInferneo",
        reading: Reading[C, W],
        response: AsyncResponse,
        texts: Callable[[list[C]], list[str]],
    ) -> None:
        self._client = client
        self._reading = reading
        self._answer = response
        self._texts = texts
        self._chunks: _Iteration[C] | None = None
        self._closed = False
        self._receiving = False
        self._spawn = client._spawner()

    @property
    def response(self) -> ResponseInfo:
        """How the answer came."""
        return self._reading.info

    @property
    def id(self) -> str:
        """What `client.streams` knows the generation by; empty where it cannot be resumed."""
        return self._reading.id

    @property
    def cancelled(self) -> bool:
        """Whether `cancel` was called."""
        return self._reading.cancelled

    @property
    def partial(self) -> W:
        """The answer as far as it came."""
        return self._reading.partial()

    def __aiter__(self) -> AsyncIterator[C]:
        """Give the chunks as they come.

        Raises:
            StreamInterruptedError: the stream broke and could not be resumed.
            StreamTruncatedError: it ended without its end.
            ApiError: the server ended it with an error.
        """
        return _Iteration(self, None)

    async def __anext__(self) -> C:
        self._chunks = self._chunks or _Iteration(self, None)
        return await self._chunks.__anext__()

    def text_deltas(self) -> AsyncIterator[str]:
        """Give the new text of the first choice, and nothing else. Raises as iteration does."""
        return _Iteration(self, self._texts)

    def _each(self, convert: Callable[[list[C]], list[T]]) -> AsyncIterator[T]:
        return _Iteration(self, convert)

    async def _mend(self, error: ApiError) -> None:
        """Pick the stream up again where the connection is to blame."""
        if not isinstance(error, ConnectionFailed | StreamTruncatedError):
            raise error
        await self._resume(error)

    async def _resume(self, cause: ConnectionFailed) -> None:
        reading = self._reading
        pause = reading.broke(cause)
        await self._answer.aclose()
        await self._client._pause(pause)
        try:
            self._answer = await self._client._open(reading.resuming())
        except ApiError as error:
            raise reading.interrupted(error) from error
        reading.resumed(self._answer)

    async def final(self) -> W:
        """Read to the end and give the whole answer, its tool calls joined.

        Raises:
            StreamInterruptedError: the stream was closed or cancelled before its end.
            ApiError: as iteration raises.
        """
        async for _ in self:
            pass
        if not self._reading.whole:
            raise unfinished(None, self.partial)
        return self.partial

    async def cancel(self) -> None:
        """Stop the generation, from any task: the server is told, and iteration ends."""
        reading = self._reading
        if reading.cancelled or self._closed:
            return
        # All may have come, and not all been given.
        reading.cancelled = True
        if reading.whole:
            return
        self._answer.abort()
        if not self._receiving:
            await self._finish()
        await self._tell()

    async def aclose(self) -> None:
        """Free the connection; where the stream has not ended, the server is told to stop."""
        if self._closed:
            return
        self._closed = True
        reading = self._reading
        if reading.whole:
            await self._drain()
        await self._finish()
        if reading.running and not reading.cancelled:
            await self._tell()

    async def close(self) -> None:
        """The same as `aclose`."""
        await self.aclose()

    async def _drain(self) -> None:
        """Read the body's own end too, so that the connection can be used again."""
        with contextlib.suppress(ConnectionFailed):
            while await self._answer.receive(_DRAIN_SECONDS):
                pass

    async def _finish(self) -> None:
        self._reading.over()
        with anyio.CancelScope(shield=True):
            await self._answer.aclose()

    async def _tell(self) -> None:
        if self._reading.path:
            with anyio.move_on_after(_CANCEL_SECONDS, shield=True), contextlib.suppress(ApiError):
                await self._client._exchange(self._reading.cancelling())

    def _abandon(self) -> None:
        """Have the stream closed, from where nothing can be awaited."""
        if not self._closed:
            self._spawn(self.aclose)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()


class _Iteration(AsyncIterator[T]):
    """What `async for` holds.

    No async generator: whether and when one of those is closed after a `break` is up to the event
    loop, and on trio it is a warning.
    """

    def __init__(self, stream: AsyncStream[Any, Any], convert: Any) -> None:
        self._stream = stream
        self._convert = convert
        # What came with others and is still to be given, the last one first.
        self._left: list[T] = []
        # One that was never begun leaves the stream to others.
        self._over = True
        self._begun = False

    async def __anext__(self) -> T:
        # Chunks that came with others are not given either once the stream is cancelled.
        if self._left and not self._stream.cancelled:
            return self._left.pop()
        if not self._begun:
            self._begun, self._over = True, False
        # In one function with all that it waits for: each coroutine more is felt in every chunk.
        stream, reading = self._stream, self._stream._reading
        try:
            while not (self._over or stream._closed or reading.whole or reading.cancelled):
                try:
                    patience = reading.patience()
                    stream._receiving = True
                    try:
                        data = await stream._answer.receive(patience)
                    finally:
                        stream._receiving = False
                    items: list[T] = reading.feed(data)
                    if self._convert is not None:
                        items = self._convert(items)
                    if len(items) == 1:
                        return items[0]
                    if items:
                        self._left = items[::-1]
                        return self._left.pop()
                except ApiError as error:
                    if not reading.cancelled:
                        await stream._mend(error)
        except BaseException:
            await stream.aclose()
            raise
        self._over = True
        await stream.aclose()
        raise StopAsyncIteration

    def __del__(self) -> None:
        # No I/O here: the client is asked to do it, in a task of its own.
        if not self._over:
            self._stream._abandon()
