"""Receives the arguments of `/v1/chat/completions`; hands on answers and streams of them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, TypeVar, Unpack, cast, overload

from inferneo_client._async_streams import AsyncStream
from inferneo_client._event_streams import AsyncEventStream, EventStream
from inferneo_client._params import ChatParams, Message, ParseParams
from inferneo_client._parsed import ParsedCompletion, parsed
from inferneo_client._requests import chat, chat_stream
from inferneo_client._streams import Stream
from inferneo_client.types.chat import ChatCompletion, ChatCompletionChunk

if TYPE_CHECKING:
    from inferneo_client._async import AsyncInferneo
    from inferneo_client._sync import Inferneo

T = TypeVar("T")


class ChatCompletions:
    """`client.chat.completions`."""

    def __init__(self, client: "Inferneo") -> None:
        self._client = client

    @overload
    def create(
        self,
        *,
        messages: Sequence[Message],
        stream: Literal[False] | None = None,
        **params: Unpack[ChatParams],
    ) -> ChatCompletion: ...

    @overload
    def create(
        self,
        *,
        messages: Sequence[Message],
        stream: Literal[True],
        **params: Unpack[ChatParams],
    ) -> Stream[ChatCompletionChunk, ChatCompletion]: ...

    @overload
    def create(
        self,
        *,
        messages: Sequence[Message],
        stream: bool,
        **params: Unpack[ChatParams],
    ) -> ChatCompletion | Stream[ChatCompletionChunk, ChatCompletion]: ...

    def create(
        self,
        *,
        messages: Sequence[Message],
        stream: bool | None = None,
        **params: Unpack[ChatParams],
    ) -> ChatCompletion | Stream[ChatCompletionChunk, ChatCompletion]:
        """Ask for an answer to a conversation, whole or with `stream=True` as it is written.

        Args:
            messages: objects with `role` and `content`, or `Message`s.
            stream: give a `Stream`.
            params: see `ChatParams`, `SamplingParams` and `CallParams`.

        Raises:
            ApiError: see the tree of errors.
        """
        options = self._client._options
        if stream:
            return self._client._begin(chat_stream(options, messages, params))
        return self._client._ask(chat(options, messages, params))

    def stream(self, *, messages: Sequence[Message], **params: Unpack[ChatParams]) -> EventStream:
        """Ask for an answer as typed events: text, reasoning, tool calls, usage, and the end.

        Raises:
            ApiError: see the tree of errors.
        """
        params = {"stream_options": {"include_usage": True}, **params}
        return EventStream(
            self._client._begin(chat_stream(self._client._options, messages, params))
        )

    def parse(
        self,
        *,
        messages: Sequence[Message],
        response_format: type[T],
        **params: Unpack[ParseParams],
    ) -> ParsedCompletion[T]:
        """Ask for an answer of a type: of pydantic, msgspec, a dataclass or a TypedDict.

        Raises:
            UnparsableAnswer: the model wrote something else; the answer is in `completion`.
            ApiError: see the tree of errors.
        """
        given = cast("ChatParams", {**params, "response_format": response_format})
        completion = self._client._ask(chat(self._client._options, messages, given))
        return parsed(completion, response_format)


class Chat:
    """`client.chat`."""

    def __init__(self, client: "Inferneo") -> None:
        self.completions: ChatCompletions = ChatCompletions(client)


class AsyncChatCompletions:
    """`client.chat.completions`."""

    def __init__(self, client: "AsyncInferneo") -> None:
        self._client = client

    @overload
    async def create(
        self,
        *,
        messages: Sequence[Message],
        stream: Literal[False] | None = None,
        **params: Unpack[ChatParams],
    ) -> ChatCompletion: ...

    @overload
    async def create(
        self,
        *,
        messages: Sequence[Message],
        stream: Literal[True],
        **params: Unpack[ChatParams],
    ) -> AsyncStream[ChatCompletionChunk, ChatCompletion]: ...

    @overload
    async def create(
        self,
        *,
        messages: Sequence[Message],
        stream: bool,
        **params: Unpack[ChatParams],
    ) -> ChatCompletion | AsyncStream[ChatCompletionChunk, ChatCompletion]: ...

    async def create(
        self,
        *,
        messages: Sequence[Message],
        stream: bool | None = None,
        **params: Unpack[ChatParams],
    ) -> ChatCompletion | AsyncStream[ChatCompletionChunk, ChatCompletion]:
        """Ask for an answer to a conversation, whole or with `stream=True` as it is written.

        Args:
            messages: objects with `role` and `content`, or `Message`s.
            stream: give an `AsyncStream`.
            params: see `ChatParams`, `SamplingParams` and `CallParams`.

        Raises:
            ApiError: see the tree of errors.
        """
        options = self._client._options
        if stream:
            return await self._client._begin(chat_stream(options, messages, params))
        return await self._client._ask(chat(options, messages, params))

    async def stream(
        self, *, messages: Sequence[Message], **params: Unpack[ChatParams]
    ) -> AsyncEventStream:
        """Ask for an answer as typed events: text, reasoning, tool calls, usage, and the end.

        Raises:
            ApiError: see the tree of errors.
        """
        params = {"stream_options": {"include_usage": True}, **params}
        return AsyncEventStream(
            await self._client._begin(chat_stream(self._client._options, messages, params))
        )

    async def parse(
        self,
        *,
        messages: Sequence[Message],
        response_format: type[T],
        **params: Unpack[ParseParams],
    ) -> ParsedCompletion[T]:
        """Ask for an answer of a type: of pydantic, msgspec, a dataclass or a TypedDict.

        Raises:
            UnparsableAnswer: the model wrote something else; the answer is in `completion`.
            ApiError: see the tree of errors.
        """
        given = cast("ChatParams", {**params, "response_format": response_format})
        completion = await self._client._ask(chat(self._client._options, messages, given))
        return parsed(completion, response_format)


class AsyncChat:
    """`client.chat`."""

    def __init__(self, client: "AsyncInferneo") -> None:
        self.completions: AsyncChatCompletions = AsyncChatCompletions(client)
