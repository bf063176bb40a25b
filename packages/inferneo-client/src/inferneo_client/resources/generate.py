"""Receives the arguments of `/api/v1/generate`; hands on texts, and streams of their tokens."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Unpack, overload

from inferneo_client._async_streams import AsyncStream
from inferneo_client._native_requests import generate, generate_batch, generate_stream
from inferneo_client._params import CallParams, GenerateParams
from inferneo_client._streams import Stream
from inferneo_client.types.native import Generated, GeneratedToken, GenerateResults

if TYPE_CHECKING:
    from inferneo_client._async import AsyncInferneo
    from inferneo_client._sync import Inferneo


class Generate:
    """`client.generate`: the custom interface, which takes a prompt and gives a text."""

    def __init__(self, client: "Inferneo") -> None:
        self._client = client

    @overload
    def create(
        self,
        *,
        prompt: str,
        stream: Literal[False] | None = None,
        **params: Unpack[GenerateParams],
    ) -> Generated: ...

    @overload
    def create(
        self, *, prompt: str, stream: Literal[True], **params: Unpack[GenerateParams]
    ) -> Stream[GeneratedToken, Generated]: ...

    @overload
    def create(
        self, *, prompt: str, stream: bool, **params: Unpack[GenerateParams]
    ) -> Generated | Stream[GeneratedToken, Generated]: ...

    def create(
        self, *, prompt: str, stream: bool | None = None, **params: Unpack[GenerateParams]
    ) -> Generated | Stream[GeneratedToken, Generated]:
        """Answer a prompt, whole or with `stream=True` token by token.

        These streams cannot be picked up: one that breaks is a `StreamInterruptedError`.

        Raises:
            ApiError: see the tree of errors.
        """
        options = self._client._options
        if stream:
            return self._client._begin(generate_stream(options, prompt, params))
        return self._client._ask(generate(options, prompt, params))

    def batch(
        self, requests: Sequence[Mapping[str, Any]], **params: Unpack[CallParams]
    ) -> GenerateResults:
        """Answer many prompts in one request; what is wrong with one is told in its place.

        Args:
            requests: the arguments of `create`, a mapping each.
            params: see `CallParams`.

        Raises:
            ApiError: see the tree of errors.
        """
        request = generate_batch(self._client._options, requests, params)
        return self._client._ask(request)


class AsyncGenerate:
    """`client.generate`: the custom interface, which takes a prompt and gives a text."""

    def __init__(self, client: "AsyncInferneo") -> None:
        self._client = client

    @overload
    async def create(
        self,
        *,
        prompt: str,
        stream: Literal[False] | None = None,
        **params: Unpack[GenerateParams],
    ) -> Generated: ...

    @overload
    async def create(
        self, *, prompt: str, stream: Literal[True], **params: Unpack[GenerateParams]
    ) -> AsyncStream[GeneratedToken, Generated]: ...

    @overload
    async def create(
        self, *, prompt: str, stream: bool, **params: Unpack[GenerateParams]
    ) -> Generated | AsyncStream[GeneratedToken, Generated]: ...

    async def create(
        self, *, prompt: str, stream: bool | None = None, **params: Unpack[GenerateParams]
    ) -> Generated | AsyncStream[GeneratedToken, Generated]:
        """Answer a prompt, whole or with `stream=True` token by token.

        These streams cannot be picked up: one that breaks is a `StreamInterruptedError`.

        Raises:
            ApiError: see the tree of errors.
        """
        options = self._client._options
        if stream:
            return await self._client._begin(generate_stream(options, prompt, params))
        return await self._client._ask(generate(options, prompt, params))

    async def batch(
        self, requests: Sequence[Mapping[str, Any]], **params: Unpack[CallParams]
    ) -> GenerateResults:
        """Answer many prompts in one request; what is wrong with one is told in its place.

        Args:
            requests: the arguments of `create`, a mapping each.
            params: see `CallParams`.

        Raises:
            ApiError: see the tree of errors.
        """
        request = generate_batch(self._client._options, requests, params)
        return await self._client._ask(request)
