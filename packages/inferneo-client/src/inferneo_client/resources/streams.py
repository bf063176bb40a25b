"""Receives the id of a generation; hands on its stream, its answer, or its end."""

from typing import TYPE_CHECKING

from inferneo_client._async_streams import AsyncStream
from inferneo_client._requests import (
    cancelled_stream,
    chat_stream_of,
    completion_stream_of,
    resumed_call,
    whole_stream,
)
from inferneo_client._streams import Stream
from inferneo_client.types.chat import ChatCompletion, ChatCompletionChunk
from inferneo_client.types.completions import Completion

if TYPE_CHECKING:
    from inferneo_client._async import AsyncInferneo
    from inferneo_client._sync import Inferneo


class Streams:
    """`client.streams`: generations that can be picked up by the id of their answer."""

    def __init__(self, client: "Inferneo") -> None:
        self._client = client

    def resume(
        self, id: str, *, after: int | None = None
    ) -> Stream[ChatCompletionChunk, ChatCompletion]:
        """Read a chat generation from the start, or behind event number `after`, to its end.

        Raises:
            NotFound: there is none of that id, or none any more.
            ApiError: see the tree of errors.
        """
        call = resumed_call(self._client._options, id, after)
        return self._client._begin(chat_stream_of(call))

    def resume_completion(
        self, id: str, *, after: int | None = None
    ) -> Stream[Completion, Completion]:
        """The same for a generation of `/v1/completions`."""
        call = resumed_call(self._client._options, id, after)
        return self._client._begin(completion_stream_of(call))

    def retrieve(self, id: str) -> ChatCompletion:
        """Wait for a chat generation to end, and give its whole answer. Raises as `resume`."""
        return self._client._ask(whole_stream(self._client._options, id, ChatCompletion))

    def cancel(self, id: str) -> None:
        """Stop a generation. Raises as `resume`."""
        self._client._ask(cancelled_stream(self._client._options, id))


class AsyncStreams:
    """`client.streams`: generations that can be picked up by the id of their answer."""

    def __init__(self, client: "AsyncInferneo") -> None:
        self._client = client

    async def resume(
        self, id: str, *, after: int | None = None
    ) -> AsyncStream[ChatCompletionChunk, ChatCompletion]:
        """Read a chat generation from the start, or behind event number `after`, to its end.

        Raises:
            NotFound: there is none of that id, or none any more.
            ApiError: see the tree of errors.
        """
        call = resumed_call(self._client._options, id, after)
        return await self._client._begin(chat_stream_of(call))

    async def resume_completion(
        self, id: str, *, after: int | None = None
    ) -> AsyncStream[Completion, Completion]:
        """The same for a generation of `/v1/completions`."""
        call = resumed_call(self._client._options, id, after)
        return await self._client._begin(completion_stream_of(call))

    async def retrieve(self, id: str) -> ChatCompletion:
        """Wait for a chat generation to end, and give its whole answer. Raises as `resume`."""
        return await self._client._ask(whole_stream(self._client._options, id, ChatCompletion))

    async def cancel(self, id: str) -> None:
        """Stop a generation. Raises as `resume`."""
        await self._client._ask(cancelled_stream(self._client._options, id))
