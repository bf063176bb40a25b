"""Receives requests to score or rerank texts; hands on their answers."""

import asyncio
import math
import operator
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from uuid import uuid4

from inferneo_core.errors import InvalidRequest
from inferneo_core.scores import (
    Document,
    Documents,
    Reranking,
    RerankRequest,
    RerankResult,
    Score,
    ScoreList,
    ScoreRequest,
    ScoringFields,
    TextDocument,
)
from inferneo_server.access.identity import Identity
from inferneo_server.embedding import (
    PROMPTS_AT_ONCE,
    check_length,
    count_tokens,
    lengths,
    make_cut,
    render_all,
)
from inferneo_server.engines.base import Engine, PoolingOptions, Prompt, Vector
from inferneo_server.lease import Lease
from inferneo_server.service import Service

# Charges prompts of these lengths, and settles behind its block.
Charge = Callable[[Sequence[int]], AbstractAsyncContextManager[None]]

# The names under which a request may give its texts.
_NAMES = (
    ("text_1", "text_2"),
    ("queries", "documents"),
    ("queries", "items"),
    ("data_1", "data_2"),
)


async def score(service: Service, request: ScoreRequest, identity: Identity) -> ScoreList:
    """Score one text against several, or pairs of texts.

    Raises:
        ApiError: the request is refused, or fails.
    """
    with await _lease(service, request, identity) as lease:
        first, second = _given(request)
        queries, documents = _texts(getattr(request, first)), _texts(getattr(request, second))
        for name, texts in ((first, queries), (second, documents)):
            if not texts:
                raise InvalidRequest(f"Empty '{name}'", param=name)
        if len(queries) not in (1, len(documents)):
            raise InvalidRequest(
                f"'{first}' must be one text, or as many as '{second}' has", param=first
            )
        service.note_prompt([queries, documents])
        charge = partial(service.reading, lease, identity, param=second, priority=request.priority)
        engine = lease.engine
        scores, prompts = await _scores(engine, request, queries, documents, charge, param=second)
    return ScoreList(
        id=f"score-{uuid4().hex}",
        created=int(time.time()),
        model=lease.name,
        data=[Score(index=index, score=each) for index, each in enumerate(scores)],
        usage=count_tokens(prompts, lease.name),
    )


async def rerank(service: Service, request: RerankRequest, identity: Identity) -> Reranking:
    """Order documents by how well they fit a query.

    Raises:
        ApiError: the request is refused, or fails.
    """
    with await _lease(service, request, identity) as lease:
        documents = _texts(request.documents)
        if not documents:
            raise InvalidRequest("Empty 'documents'", param="documents")
        service.note_prompt([request.query, request.documents])
        charge = partial(
            service.reading, lease, identity, param="documents", priority=request.priority
        )
        scores, prompts = await _scores(
            lease.engine, request, _texts(request.query), documents, charge, param="documents"
        )
    # The first of equals stays the first.
    order = sorted(range(len(scores)), key=scores.__getitem__, reverse=True)
    told = request.return_documents is not False
    return Reranking(
        id=f"rerank-{uuid4().hex}",
        model=lease.name,
        usage=count_tokens(prompts, lease.name),
        results=[
            RerankResult(
                index=index,
                document=TextDocument(text=documents[index]) if told else None,
                relevance_score=scores[index],
            )
            for index in order[: request.top_n or None]
        ],
    )


async def _lease(service: Service, request: ScoringFields, identity: Identity) -> Lease:
    """An engine that scores pairs itself, or whose vectors can be compared."""
    lease = await service.lease(request.model, identity)
    if "embed" in lease.tasks:
        return lease
    return await service.lease(request.model, identity, "score")


def _given(request: ScoreRequest) -> tuple[str, str]:
    """The names of the two fields that hold the texts.

    Raises:
        InvalidRequest: there are more or less than two, or they are no pair.
    """
    fields = {name for pair in _NAMES for name in pair}
    given = {name for name in fields if getattr(request, name) is not None}
    for pair in _NAMES:
        if given == set(pair):
            return pair
    pairs = ", ".join(f"'{first}' and '{second}'" for first, second in _NAMES)
    raise InvalidRequest(f"Give the texts as one of these pairs: {pairs}", param="text_1")


def _texts(documents: Documents) -> list[str]:
    return [_text(each) for each in (documents if isinstance(documents, list) else [documents])]


def _text(document: Document) -> str:
    return document if isinstance(document, str) else document.text


async def _scores(
    engine: Engine,
    request: ScoringFields,
    queries: Sequence[str],
    documents: Sequence[str],
    charge: Charge,
    *,
    param: str,
) -> tuple[list[float], list[Prompt]]:
    if limit := request.max_tokens_per_query:
        queries = await engine.shortened(queries, limit)
    if limit := request.max_tokens_per_doc:
        documents = await engine.shortened(documents, limit)
    work = _compared if "embed" in engine.tasks else _judged
    return await work(engine, request, queries, documents, charge, param)


def _options(request: ScoringFields) -> PoolingOptions:
    return PoolingOptions(activation=request.use_activation, priority=request.priority or 0)


async def _compared(
    engine: Engine,
    request: ScoringFields,
    queries: Sequence[str],
    documents: Sequence[str],
    charge: Charge,
    param: str,
) -> tuple[list[float], list[Prompt]]:
    """Score pairs by the cosine of their vectors."""
    cut = make_cut(engine, request.truncate_prompt_tokens, request.truncation_side)
    token_ids = await engine.tokenize([*queries, *documents], cut=cut)
    prompts = await render_all(engine, token_ids, param=param)
    async with charge(lengths(prompts)):
        vectors = await engine.embed(f"score-{uuid4().hex}", prompts, _options(request))
    found, others = vectors[: len(queries)], vectors[len(queries) :]
    scores = []
    for number, other in enumerate(others):
        scores.append(_cosine(found[number] if len(found) > 1 else found[0], other))
        if number % PROMPTS_AT_ONCE == PROMPTS_AT_ONCE - 1:
            await asyncio.sleep(0)
    return scores, prompts


def _cosine(one: Vector, other: Vector) -> float:
    lengths = math.hypot(*one) * math.hypot(*other)
    return sum(map(operator.mul, one, other)) / lengths if lengths else 0.0


async def _judged(
    engine: Engine,
    request: ScoringFields,
    queries: Sequence[str],
    documents: Sequence[str],
    charge: Charge,
    param: str,
) -> tuple[list[float], list[Prompt]]:
    """Score pairs by a model that reads both texts at once."""
    cut = make_cut(engine, request.truncate_prompt_tokens, request.truncation_side)
    prompts = []
    for number, document in enumerate(documents):
        query = queries[number] if len(queries) > 1 else queries[0]
        prompt = await engine.render_pair(query, document, cut=cut)
        check_length(prompt.token_ids, engine, param=param, number=number)
        prompts.append(prompt)
        if number % PROMPTS_AT_ONCE == PROMPTS_AT_ONCE - 1:
            await asyncio.sleep(0)
    async with charge(lengths(prompts)):
        scores = await engine.score(f"score-{uuid4().hex}", prompts, _options(request))
    return list(scores), prompts
