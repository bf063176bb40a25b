"""Receives what is asked of a client itself; hands on the answers: its calls without a resource."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeVar, Unpack

from inferneo_client._options import Options
from inferneo_client._params import (
    DetokenizeParams,
    Documents,
    Message,
    RerankParams,
    ScoringParams,
    TokenizeParams,
)
from inferneo_client._requests import Request, health
from inferneo_client.types.models import Health

if TYPE_CHECKING:
    from inferneo_client.types.scores import Reranking, ScoreList
    from inferneo_client.types.tokens import Detokenized, Tokenized

W = TypeVar("W")


class PlainCalls:
    """The calls that are methods of a `Inferneo`."""

    _options: Options

    def _ask(self, request: Request[W]) -> W:
        raise NotImplementedError

    def health(self) -> Health:
        """Ask the server how it is.

        Raises:
            ApiError: it does not answer.
        """
        return self._ask(health(self._options))

    def rerank(
        self, *, query: str, documents: Documents, **params: Unpack[RerankParams]
    ) -> "Reranking":
        """Order documents by how well they fit a query, the best first.

        Raises:
            ApiError: see the tree of errors.
        """
        from inferneo_client._text_requests import rerank

        return self._ask(rerank(self._options, query, documents, params))

    def score(
        self, *, text_1: Documents, text_2: Documents, **params: Unpack[ScoringParams]
    ) -> "ScoreList":
        """Say how near one text is to several, or each of some to its counterpart.

        Raises:
            ApiError: see the tree of errors.
        """
        from inferneo_client._text_requests import score

        return self._ask(score(self._options, text_1, text_2, params))

    def tokenize(
        self,
        prompt: str | None = None,
        *,
        messages: Sequence[Message] | None = None,
        **params: Unpack[TokenizeParams],
    ) -> "Tokenized":
        """Split a text, or a chat as the model would read it, into tokens.

        Raises:
            TypeError: neither was given, or both.
            ApiError: see the tree of errors.
        """
        from inferneo_client._text_requests import tokenize

        return self._ask(tokenize(self._options, prompt, messages, params))

    def detokenize(
        self, tokens: Sequence[int], **params: Unpack[DetokenizeParams]
    ) -> "Detokenized":
        """Join tokens to a text.

        Raises:
            ApiError: see the tree of errors.
        """
        from inferneo_client._text_requests import detokenize

        return self._ask(detokenize(self._options, tokens, params))


class AsyncPlainCalls:
    """The calls that are methods of an `AsyncInferneo`."""

    _options: Options

    async def _ask(self, request: Request[W]) -> W:
        raise NotImplementedError

    async def health(self) -> Health:
        """Ask the server how it is.

        Raises:
            ApiError: it does not answer.
        """
        return await self._ask(health(self._options))

    async def rerank(
        self, *, query: str, documents: Documents, **params: Unpack[RerankParams]
    ) -> "Reranking":
        """Order documents by how well they fit a query, the best first.

        Raises:
            ApiError: see the tree of errors.
        """
        from inferneo_client._text_requests import rerank

        return await self._ask(rerank(self._options, query, documents, params))

    async def score(
        self, *, text_1: Documents, text_2: Documents, **params: Unpack[ScoringParams]
    ) -> "ScoreList":
        """Say how near one text is to several, or each of some to its counterpart.

        Raises:
            ApiError: see the tree of errors.
        """
        from inferneo_client._text_requests import score

        return await self._ask(score(self._options, text_1, text_2, params))

    async def tokenize(
        self,
        prompt: str | None = None,
        *,
        messages: Sequence[Message] | None = None,
        **params: Unpack[TokenizeParams],
    ) -> "Tokenized":
        """Split a text, or a chat as the model would read it, into tokens.

        Raises:
            TypeError: neither was given, or both.
            ApiError: see the tree of errors.
        """
        from inferneo_client._text_requests import tokenize

        return await self._ask(tokenize(self._options, prompt, messages, params))

    async def detokenize(
        self, tokens: Sequence[int], **params: Unpack[DetokenizeParams]
    ) -> "Detokenized":
        """Join tokens to a text.

        Raises:
            ApiError: see the tree of errors.
        """
        from inferneo_client._text_requests import detokenize

        return await self._ask(detokenize(self._options, tokens, params))
