"""Receives a stream of chat chunks; hands on its typed events, in both flavours."""

from collections.abc import AsyncIterator, Iterator
from types import TracebackType
from typing import Self

from inferneo_client._async_streams import AsyncStream
from inferneo_client._chat_events import ChatEvents
from inferneo_client._streams import Stream
from inferneo_client.types.chat import ChatCompletion, ChatCompletionChunk
from inferneo_client.types.events import ChatEvent, DoneEvent
from inferneo_client.types.response import ResponseInfo


class EventStream:
    """A chat answer as typed events: `text`, `reasoning`, `tool_call`, `usage`, and `done` at last.

    Attributes:
        chunks: the stream beneath.
    """

    def __init__(self, chunks: Stream[ChatCompletionChunk, ChatCompletion]) -> None:
        self.chunks = chunks

    @property
    def response(self) -> ResponseInfo:
        """How the answer came."""
        return self.chunks.response

    def __iter__(self) -> Iterator[ChatEvent]:
        """Give the events as they come. Raises as `Stream` does."""
        events = ChatEvents()
        yield from self.chunks._each(events.convert)
        if not self.chunks.cancelled:
            yield from events.rest()
            yield DoneEvent(self.chunks.final())

    def text_deltas(self) -> Iterator[str]:
        """Give the new text of the first choice, and nothing else."""
        return self.chunks.text_deltas()

    def final(self) -> ChatCompletion:
        """Read to the end and give the whole answer."""
        return self.chunks.final()

    def cancel(self) -> None:
        """Stop the generation, from any thread."""
        self.chunks.cancel()

    def close(self) -> None:
        """Free the connection."""
        self.chunks.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class AsyncEventStream:
    """A chat answer as typed events: `text`, `reasoning`, `tool_call`, `usage`, and `done` at last.

    Attributes:
        chunks: the stream beneath.
    """

    def __init__(self, chunks: AsyncStream[ChatCompletionChunk, ChatCompletion]) -> None:
        self.chunks = chunks

    @property
    def response(self) -> ResponseInfo:
        """How the answer came."""
        return self.chunks.response

    def __aiter__(self) -> AsyncIterator[ChatEvent]:
        """Give the events as they come. Raises as `AsyncStream` does."""
        return _Events(self.chunks)

    def text_deltas(self) -> AsyncIterator[str]:
        """Give the new text of the first choice, and nothing else."""
        return self.chunks.text_deltas()

    async def final(self) -> ChatCompletion:
        """Read to the end and give the whole answer."""
        return await self.chunks.final()

    async def cancel(self) -> None:
        """Stop the generation, from any task."""
        await self.chunks.cancel()

    async def aclose(self) -> None:
        """Free the connection."""
        await self.chunks.aclose()

    async def close(self) -> None:
        """The same as `aclose`."""
        await self.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()


class _Events(AsyncIterator[ChatEvent]):
    """What `async for` holds."""

    def __init__(self, chunks: AsyncStream[ChatCompletionChunk, ChatCompletion]) -> None:
        self._chunks = chunks
        self._events = ChatEvents()
        self._inner = chunks._each(self._events.convert)
        self._last: Iterator[ChatEvent] | None = None

    async def __anext__(self) -> ChatEvent:
        if self._last is None:
            try:
                return await self._inner.__anext__()
            except StopAsyncIteration:
                self._last = iter(await self._end())
        for event in self._last:
            return event
        raise StopAsyncIteration

    async def _end(self) -> list[ChatEvent]:
        if self._chunks.cancelled:
            return []
        return [*self._events.rest(), DoneEvent(await self._chunks.final())]
