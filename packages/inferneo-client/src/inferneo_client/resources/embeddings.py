"""Receives the arguments of `/v1/embeddings`; hands on vectors."""

from typing import TYPE_CHECKING, Unpack

from inferneo_client._params import EmbeddingParams, Prompt
from inferneo_client._text_requests import embeddings
from inferneo_client.types.embeddings import EmbeddingList

if TYPE_CHECKING:
    from inferneo_client._async import AsyncInferneo
    from inferneo_client._sync import Inferneo


class Embeddings:
    """`client.embeddings`."""

    def __init__(self, client: "Inferneo") -> None:
        self._client = client

    def create(self, *, input: Prompt, **params: Unpack[EmbeddingParams]) -> EmbeddingList:
        """Turn texts into vectors, in their order.

        Each has its numbers in `embedding`, and in `buffer` as float32 for `numpy.asarray`.

        Args:
            input: a text, token ids, or a list of up to 2,048 of either.
            params: see `EmbeddingParams` and `CallParams`.

        Raises:
            ApiError: see the tree of errors.
        """
        return self._client._ask(embeddings(self._client._options, input, params))


class AsyncEmbeddings:
    """`client.embeddings`."""

    def __init__(self, client: "AsyncInferneo") -> None:
        self._client = client

    async def create(self, *, input: Prompt, **params: Unpack[EmbeddingParams]) -> EmbeddingList:
        """Turn texts into vectors, in their order.

        Each has its numbers in `embedding`, and in `buffer` as float32 for `numpy.asarray`.

        Args:
            input: a text, token ids, or a list of up to 2,048 of either.
            params: see `EmbeddingParams` and `CallParams`.

        Raises:
            ApiError: see the tree of errors.
        """
        return await self._client._ask(embeddings(self._client._options, input, params))
