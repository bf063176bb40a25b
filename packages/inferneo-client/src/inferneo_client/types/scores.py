"""Receives nothing; hands on the answers of `/score` and `/rerank`.

Source: vLLM's score and rerank API; the latter is Jina's and Cohere's in its main fields.
"""

from typing import Any

from inferneo_client.types.answer import Answer
from inferneo_client.types.response import ResponseInfo
from inferneo_client.types.usage import Usage


class Score(Answer, frozen=True, kw_only=True, gc=False):
    """How near the texts of the pair at `index` are."""

    index: int = 0
    object: str = "score"
    score: float = 0.0


class ScoreList(Answer, frozen=True, kw_only=True, gc=False):
    """The scores, in the order of the pairs."""

    id: str = ""
    object: str = "list"
    created: int = 0
    model: str = ""
    data: list[Score] = []
    usage: Usage | None = None
    response: ResponseInfo | None = None


class RankedDocument(Answer, frozen=True, kw_only=True, gc=False):
    """A document as it was given; `multi_modal` is vLLM's, for those that are no text."""

    text: str | None = None
    multi_modal: Any = None


class RerankResult(Answer, frozen=True, kw_only=True, gc=False):
    """The document that stood at `index`, and how well it fits the query."""

    index: int = 0
    document: RankedDocument | None = None
    relevance_score: float = 0.0


class Reranking(Answer, frozen=True, kw_only=True, gc=False):
    """The documents, the best one first."""

    id: str = ""
    model: str = ""
    results: list[RerankResult] = []
    usage: Usage | None = None
    response: ResponseInfo | None = None
