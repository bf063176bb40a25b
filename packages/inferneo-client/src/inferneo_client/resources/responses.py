"""Receives the arguments of `/v1/responses`; hands on responses and streams of their events."""

from typing import TYPE_CHECKING, Literal, Unpack, overload

from inferneo_client._async_streams import AsyncStream
from inferneo_client._params import ResponseInput, ResponseParams
from inferneo_client._response_requests import (
    cancelled,
    deleted,
    input_items,
    input_tokens,
    response,
    response_stream,
    stored,
    stored_stream,
)
from inferneo_client._streams import Stream
from inferneo_client.types.response_events import ResponseEvent
from inferneo_client.types.responses import DeletedResponse, InputTokens, ItemList, Response

if TYPE_CHECKING:
    from inferneo_client._async import AsyncInferneo
    from inferneo_client._sync import Inferneo


class Responses:
    """`client.responses`."""

    def __init__(self, client: "Inferneo") -> None:
        self._client = client

    @overload
    def create(
        self,
        *,
        input: ResponseInput,
        stream: Literal[False] | None = None,
        **params: Unpack[ResponseParams],
    ) -> Response: ...

    @overload
    def create(
        self, *, input: ResponseInput, stream: Literal[True], **params: Unpack[ResponseParams]
    ) -> Stream[ResponseEvent, Response]: ...

    @overload
    def create(
        self, *, input: ResponseInput, stream: bool, **params: Unpack[ResponseParams]
    ) -> Response | Stream[ResponseEvent, Response]: ...

    def create(
        self,
        *,
        input: ResponseInput,
        stream: bool | None = None,
        **params: Unpack[ResponseParams],
    ) -> Response | Stream[ResponseEvent, Response]:
        """Ask for an answer, whole or with `stream=True` as the events of its making.

        Args:
            input: a text, or items: messages, calls, what they gave.
            stream: give a `Stream` of typed events.
            params: see `ResponseParams` and `CallParams`.

        Raises:
            ApiError: see the tree of errors.
        """
        options = self._client._options
        if stream:
            return self._client._begin(response_stream(options, input, params))
        return self._client._ask(response(options, input, params))

    def stream(
        self, *, input: ResponseInput, **params: Unpack[ResponseParams]
    ) -> Stream[ResponseEvent, Response]:
        """The same as `create(stream=True)`."""
        request = response_stream(self._client._options, input, params)
        return self._client._begin(request)

    @overload
    def retrieve(
        self, id: str, *, stream: Literal[False] | None = None, starting_after: int | None = None
    ) -> Response: ...

    @overload
    def retrieve(
        self, id: str, *, stream: Literal[True], starting_after: int | None = None
    ) -> Stream[ResponseEvent, Response]: ...

    @overload
    def retrieve(
        self, id: str, *, stream: bool, starting_after: int | None = None
    ) -> Response | Stream[ResponseEvent, Response]: ...

    def retrieve(
        self, id: str, *, stream: bool | None = None, starting_after: int | None = None
    ) -> Response | Stream[ResponseEvent, Response]:
        """Give a stored response, or its events behind one of them.

        Raises:
            NotFound: none of that id is stored, or none any more.
            ApiError: see the tree of errors.
        """
        options = self._client._options
        if stream:
            return self._client._begin(stored_stream(options, id, starting_after))
        return self._client._ask(stored(options, id))

    def delete(self, id: str) -> DeletedResponse:
        """Forget a stored response. Raises as `retrieve`."""
        return self._client._ask(deleted(self._client._options, id))

    def cancel(self, id: str) -> Response:
        """End a response that is written in the background. Raises as `retrieve`."""
        return self._client._ask(cancelled(self._client._options, id))

    def input_items(
        self,
        id: str,
        *,
        after: str | None = None,
        limit: int | None = None,
        order: Literal["asc", "desc"] | None = None,
    ) -> ItemList:
        """List what a response answers: up to `limit` items, 1 to 100. Raises as `retrieve`."""
        request = input_items(self._client._options, id, after, limit, order)
        return self._client._ask(request)

    def input_tokens(
        self, *, input: ResponseInput, **params: Unpack[ResponseParams]
    ) -> InputTokens:
        """Count what the model would read. Takes and raises what `create` does."""
        request = input_tokens(self._client._options, input, params)
        return self._client._ask(request)


class AsyncResponses:
    """`client.responses`."""

    def __init__(self, client: "AsyncInferneo") -> None:
        self._client = client

    @overload
    async def create(
        self,
        *,
        input: ResponseInput,
        stream: Literal[False] | None = None,
        **params: Unpack[ResponseParams],
    ) -> Response: ...

    @overload
    async def create(
        self, *, input: ResponseInput, stream: Literal[True], **params: Unpack[ResponseParams]
    ) -> AsyncStream[ResponseEvent, Response]: ...

    @overload
    async def create(
        self, *, input: ResponseInput, stream: bool, **params: Unpack[ResponseParams]
    ) -> Response | AsyncStream[ResponseEvent, Response]: ...

    async def create(
        self,
        *,
        input: ResponseInput,
        stream: bool | None = None,
        **params: Unpack[ResponseParams],
    ) -> Response | AsyncStream[ResponseEvent, Response]:
        """Ask for an answer, whole or with `stream=True` as the events of its making.

        Args:
            input: a text, or items: messages, calls, what they gave.
            stream: give an `AsyncStream` of typed events.
            params: see `ResponseParams` and `CallParams`.

        Raises:
            ApiError: see the tree of errors.
        """
        options = self._client._options
        if stream:
            return await self._client._begin(response_stream(options, input, params))
        return await self._client._ask(response(options, input, params))

    async def stream(
        self, *, input: ResponseInput, **params: Unpack[ResponseParams]
    ) -> AsyncStream[ResponseEvent, Response]:
        """The same as `create(stream=True)`."""
        request = response_stream(self._client._options, input, params)
        return await self._client._begin(request)

    @overload
    async def retrieve(
        self, id: str, *, stream: Literal[False] | None = None, starting_after: int | None = None
    ) -> Response: ...

    @overload
    async def retrieve(
        self, id: str, *, stream: Literal[True], starting_after: int | None = None
    ) -> AsyncStream[ResponseEvent, Response]: ...

    @overload
    async def retrieve(
        self, id: str, *, stream: bool, starting_after: int | None = None
    ) -> Response | AsyncStream[ResponseEvent, Response]: ...

    async def retrieve(
        self, id: str, *, stream: bool | None = None, starting_after: int | None = None
    ) -> Response | AsyncStream[ResponseEvent, Response]:
        """Give a stored response, or its events behind one of them.

        Raises:
            NotFound: none of that id is stored, or none any more.
            ApiError: see the tree of errors.
        """
        options = self._client._options
        if stream:
            return await self._client._begin(stored_stream(options, id, starting_after))
        return await self._client._ask(stored(options, id))

    async def delete(self, id: str) -> DeletedResponse:
        """Forget a stored response. Raises as `retrieve`."""
        return await self._client._ask(deleted(self._client._options, id))

    async def cancel(self, id: str) -> Response:
        """End a response that is written in the background. Raises as `retrieve`."""
        return await self._client._ask(cancelled(self._client._options, id))

    async def input_items(
        self,
        id: str,
        *,
        after: str | None = None,
        limit: int | None = None,
        order: Literal["asc", "desc"] | None = None,
    ) -> ItemList:
        """List what a response answers: up to `limit` items, 1 to 100. Raises as `retrieve`."""
        request = input_items(self._client._options, id, after, limit, order)
        return await self._client._ask(request)

    async def input_tokens(
        self, *, input: ResponseInput, **params: Unpack[ResponseParams]
    ) -> InputTokens:
        """Count what the model would read. Takes and raises what `create` does."""
        request = input_tokens(self._client._options, input, params)
        return await self._client._ask(request)
