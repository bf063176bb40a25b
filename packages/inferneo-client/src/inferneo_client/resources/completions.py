"""Receives the arguments of `/v1/completions`; hands on answers and streams of them."""

from typing import TYPE_CHECKING, Literal, Unpack, overload

from inferneo_client._async_streams import AsyncStream
from inferneo_client._params import CompletionParams, Prompt
from inferneo_client._requests import completion, completion_stream
from inferneo_client._streams import Stream
from inferneo_client.types.completions import Completion

if TYPE_CHECKING:
    from inferneo_client._async import AsyncInferneo
    from inferneo_client._sync import Inferneo


class Completions:
    """`client.completions`."""

    def __init__(self, client: "Inferneo") -> None:
        self._client = client

    @overload
    def create(
        self,
        *,
        prompt: Prompt,
        stream: Literal[False] | None = None,
        **params: Unpack[CompletionParams],
    ) -> Completion: ...

    @overload
    def create(
        self,
        *,
        prompt: Prompt,
        stream: Literal[True],
        **params: Unpack[CompletionParams],
    ) -> Stream[Completion, Completion]: ...

    @overload
    def create(
        self,
        *,
        prompt: Prompt,
        stream: bool,
        **params: Unpack[CompletionParams],
    ) -> Completion | Stream[Completion, Completion]: ...

    def create(
        self,
        *,
        prompt: Prompt,
        stream: bool | None = None,
        **params: Unpack[CompletionParams],
    ) -> Completion | Stream[Completion, Completion]:
        """Ask for a text to be written on, whole or with `stream=True` as it is written.

        Args:
            prompt: a text, token ids, or a list of either.
            stream: give a `Stream`.
            params: see `CompletionParams`, `SamplingParams` and `CallParams`.

        Raises:
            ApiError: see the tree of errors.
        """
        options = self._client._options
        if stream:
            return self._client._begin(completion_stream(options, prompt, params))
        return self._client._ask(completion(options, prompt, params))


class AsyncCompletions:
    """`client.completions`."""

    def __init__(self, client: "AsyncInferneo") -> None:
        self._client = client

    @overload
    async def create(
        self,
        *,
        prompt: Prompt,
        stream: Literal[False] | None = None,
        **params: Unpack[CompletionParams],
    ) -> Completion: ...

    @overload
    async def create(
        self,
        *,
        prompt: Prompt,
        stream: Literal[True],
        **params: Unpack[CompletionParams],
    ) -> AsyncStream[Completion, Completion]: ...

    @overload
    async def create(
        self,
        *,
        prompt: Prompt,
        stream: bool,
        **params: Unpack[CompletionParams],
    ) -> Completion | AsyncStream[Completion, Completion]: ...

    async def create(
        self,
        *,
        prompt: Prompt,
        stream: bool | None = None,
        **params: Unpack[CompletionParams],
    ) -> Completion | AsyncStream[Completion, Completion]:
        """Ask for a text to be written on, whole or with `stream=True` as it is written.

        Args:
            prompt: a text, token ids, or a list of either.
            stream: give an `AsyncStream`.
            params: see `CompletionParams`, `SamplingParams` and `CallParams`.

        Raises:
            ApiError: see the tree of errors.
        """
        options = self._client._options
        if stream:
            return await self._client._begin(completion_stream(options, prompt, params))
        return await self._client._ask(completion(options, prompt, params))
