"""Receives nothing; hands on the structs of `/score` and `/rerank`.

Source: vLLM's score and rerank API; the latter is Jina's and Cohere's in its main fields.
"""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from inferneo_core.embeddings import Kept, Priority, PromptUsage
from inferneo_core.sampling import Side

TokenLimit = Annotated[int, Meta(ge=0)]


class TextDocument(Struct, frozen=True, kw_only=True):
    """A document, as some clients word it."""

    text: str


Document = str | TextDocument
Documents = Document | list[Document]


class ScoringFields(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What both routes take.

    `max_tokens_per_query` and `max_tokens_per_doc` cut the texts to so many tokens, 0 does not.
    `truncate_prompt_tokens` cuts what the model reads; see `EmbeddingRequest`.
    """

    model: str | None = None
    max_tokens_per_query: TokenLimit | None = None
    max_tokens_per_doc: TokenLimit | None = None
    truncate_prompt_tokens: Kept | None = None
    truncation_side: Side | None = None
    use_activation: bool | None = None
    priority: Priority | None = None
    user: str | None = None


class ScoreRequest(
    ScoringFields, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True
):
    """Body of `POST /score`: one text and several, or as many of both, under one pair of names.

    They are `text_1` and `text_2`, `queries` and `documents` or `items`, or `data_1` and `data_2`.
    """

    text_1: Documents | None = None
    text_2: Documents | None = None
    queries: Documents | None = None
    documents: Documents | None = None
    items: Documents | None = None
    data_1: Documents | None = None
    data_2: Documents | None = None


class Score(Struct, frozen=True, kw_only=True):
    """How near the texts of the pair at `index` are."""

    index: int
    object: Literal["score"] = "score"
    score: float


class ScoreList(Struct, frozen=True, kw_only=True):
    """Answer of `POST /score`, in the order of the pairs; `created` is in seconds since 1970."""

    id: str
    object: Literal["list"] = "list"
    created: int
    model: str
    data: list[Score]
    usage: PromptUsage


class RerankRequest(
    ScoringFields, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True
):
    """Body of `POST /rerank`: a query, and the documents to order by it.

    `top_n` gives the best so many of them, 0 all. `return_documents` (true) repeats their texts.
    """

    query: Document
    documents: Documents
    top_n: TokenLimit | None = None
    return_documents: bool | None = None


class RerankResult(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The document that stood at `index`, and how well it fits the query."""

    index: int
    document: TextDocument | None = None
    relevance_score: float


class Reranking(Struct, frozen=True, kw_only=True):
    """Answer of `POST /rerank`; the best document is the first."""

    id: str
    model: str
    usage: PromptUsage
    results: list[RerankResult]
