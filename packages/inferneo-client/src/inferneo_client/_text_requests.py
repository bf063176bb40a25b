"""Receives texts, tokens and pairs of them; hands on the calls that turn them into something else.

None of these writes anything: sending one twice does no harm.
"""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar, cast

from inferneo_client._options import Options
from inferneo_client._params import (
    DetokenizeParams,
    Documents,
    EmbeddingParams,
    Message,
    Prompt,
    RerankParams,
    ScoringParams,
    TokenizeParams,
    body_of,
)
from inferneo_client._requests import Request, post
from inferneo_client._tools import as_tools
from inferneo_client.types.answer import Answer
from inferneo_client.types.embeddings import EmbeddingList
from inferneo_client.types.scores import Reranking, ScoreList
from inferneo_client.types.tokens import Detokenized, Tokenized

W = TypeVar("W", bound=Answer)


def embeddings(options: Options, input: Prompt, params: EmbeddingParams) -> Request[EmbeddingList]:
    """`POST /v1/embeddings`; base64 is a third of the bytes, and exact."""
    given = {"encoding_format": "base64", **_without_nothing(params)}
    return _request(options, "/embeddings", EmbeddingList, EmbeddingParams, given, input=input)


def score(
    options: Options, text_1: Documents, text_2: Documents, params: ScoringParams
) -> Request[ScoreList]:
    """`POST /v1/score`."""
    texts = {"text_1": text_1, "text_2": text_2}
    return _request(options, "/score", ScoreList, ScoringParams, params, **texts)


def rerank(
    options: Options, query: str, documents: Documents, params: RerankParams
) -> Request[Reranking]:
    """`POST /v1/rerank`."""
    texts = {"query": query, "documents": documents}
    return _request(options, "/rerank", Reranking, RerankParams, params, **texts)


def tokenize(
    options: Options,
    prompt: str | None,
    messages: Sequence[Message] | None,
    params: TokenizeParams,
) -> Request[Tokenized]:
    """`POST /v1/tokenize`.

    Raises:
        TypeError: there is neither a prompt nor messages, or both.
    """
    if (prompt is None) == (messages is None):
        raise TypeError("tokenize takes a prompt, or messages")
    given = _without_nothing(params)
    if given.get("tools"):
        given["tools"] = as_tools(given["tools"])
    text = {"prompt": prompt, "messages": messages}
    return _request(options, "/tokenize", Tokenized, TokenizeParams, given, **text)


def detokenize(
    options: Options, tokens: Sequence[int], params: DetokenizeParams
) -> Request[Detokenized]:
    """`POST /v1/detokenize`."""
    return _request(options, "/detokenize", Detokenized, DetokenizeParams, params, tokens=tokens)


def _without_nothing(params: Any) -> dict[str, Any]:
    return {name: value for name, value in params.items() if value is not None}


def _request(
    options: Options, path: str, kind: type[W], known: type, params: Any, **fields: Any
) -> Request[W]:
    given = cast("Mapping[str, Any]", params)
    body = body_of(known, given, **fields)
    return Request(post(options, path, body, given, safe=True), kind)
