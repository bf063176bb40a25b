"""Receives nothing; hands on the answer of `/v1/embeddings`.

Source: https://platform.openai.com/docs/api-reference/embeddings
"""

import sys
from array import array
from base64 import b64decode
from collections.abc import Iterator

from msgspec import field

from inferneo_client.types.answer import Answer
from inferneo_client.types.response import ResponseInfo
from inferneo_client.types.usage import Usage


class Embedding(Answer, frozen=True, kw_only=True, gc=False):
    """The vector of the input at `index`.

    Attributes:
        encoded: as it came: the base64 of little-endian float32, or numbers.
    """

    object: str = "embedding"
    index: int = 0
    encoded: str | list[float] = field(default="", name="embedding")

    @property
    def buffer(self) -> "array[float]":
        """The vector as an array of float32, which `numpy.asarray` takes without a copy.

        Raises:
            ValueError: what came is no base64 of whole floats.
        """
        if not isinstance(self.encoded, str):
            return array("f", self.encoded)
        vector = array("f", b64decode(self.encoded, validate=True))
        if sys.byteorder == "big":
            vector.byteswap()
        return vector

    @property
    def embedding(self) -> list[float]:
        """The vector as numbers, made anew each time. Raises as `buffer` does."""
        return self.buffer.tolist() if isinstance(self.encoded, str) else self.encoded


class EmbeddingList(Answer, frozen=True, kw_only=True, gc=False):
    """The vectors, one for each input. Iterating gives them."""

    object: str = "list"
    data: list[Embedding] = []
    model: str = ""
    usage: Usage | None = None
    id: str | None = None
    created: int | None = None
    response: ResponseInfo | None = None

    def __iter__(self) -> Iterator[Embedding]:
        return iter(self.data)

    def __len__(self) -> int:
        return len(self.data)
