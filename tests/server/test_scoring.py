"""Proves how texts are paired, scored and ordered, and what is refused."""

import asyncio
import itertools
from typing import Any

import pytest

from inferneo_core.errors import ApiError, ContextLengthExceeded, InvalidRequest
from inferneo_core.scores import (
    Reranking,
    RerankRequest,
    ScoreList,
    ScoreRequest,
    TextDocument,
)
from inferneo_server.access.identity import ANYONE
from inferneo_server.engines.simulated import SimulatedEngine
from inferneo_server.scoring import rerank, score
from tests.server.services import MODEL, ready_service

# By the cosine of vectors, and by a model that reads both texts.
TASKS = (["embed"], ["score"])
each_kind = pytest.mark.parametrize("tasks", TASKS, ids=["cosine", "judge"])


def engine(tasks: Any) -> SimulatedEngine:
    return SimulatedEngine(max_model_len=12, tasks=tasks, vector_size=4096)


def scored(tasks: Any, **fields: Any) -> ScoreList:
    async def work() -> ScoreList:
        async with ready_service(engine(tasks)) as service:
            return await score(service, ScoreRequest(**fields), ANYONE)

    return asyncio.run(work())


def reranked(tasks: Any, **fields: Any) -> Reranking:
    async def work() -> Reranking:
        async with ready_service(engine(tasks)) as service:
            return await rerank(service, RerankRequest(**fields), ANYONE)

    return asyncio.run(work())


def scores(tasks: Any, **fields: Any) -> list[float]:
    return [each.score for each in scored(tasks, **fields).data]


@each_kind
def test_one_text_is_scored_against_each(tasks: Any) -> None:
    told = scored(tasks, text_1="red blue", text_2=["red blue", "red green", "x y"])

    same, near, far = (each.score for each in told.data)
    assert [each.index for each in told.data] == [0, 1, 2]
    assert same == pytest.approx(1, abs=1e-6)
    assert same > near > far
    assert (told.object, told.model) == ("list", MODEL)


@each_kind
def test_texts_are_scored_pair_by_pair(tasks: Any) -> None:
    pairs = [("red blue", "x"), ("red", "red")]
    firsts, seconds = zip(*pairs, strict=True)

    together = scores(tasks, text_1=list(firsts), text_2=list(seconds))
    alone = [scores(tasks, text_1=one, text_2=other)[0] for one, other in pairs]

    assert together == alone
    assert alone[1] > alone[0]


@each_kind
@pytest.mark.parametrize(
    ("first", "second"),
    [("queries", "documents"), ("queries", "items"), ("data_1", "data_2")],
)
def test_the_texts_have_several_names(tasks: Any, first: str, second: str) -> None:
    given = {first: "red blue", second: ["red", TextDocument(text="x")]}

    assert scores(tasks, **given) == scores(tasks, text_1="red blue", text_2=["red", "x"])


def test_what_is_read_is_counted() -> None:
    texts = {"text_1": "a b", "text_2": ["c", "d e f"]}

    # Vectors need each text once, a judge reads the query with each document.
    assert scored(["embed"], **texts).usage.prompt_tokens == 2 + 1 + 3
    assert scored(["score"], **texts).usage.total_tokens == (2 + 1) + (2 + 3)


@each_kind
def test_documents_come_in_the_order_of_their_scores(tasks: Any) -> None:
    documents: list[Any] = ["x y", "red blue", TextDocument(text="red x"), "x y"]

    told = reranked(tasks, query="red blue", documents=documents)

    assert [each.index for each in told.results] == [1, 2, 0, 3]
    found = [each.relevance_score for each in told.results]
    assert all(one >= other for one, other in itertools.pairwise(found))
    assert [each.document and each.document.text for each in told.results] == [
        "red blue",
        "red x",
        "x y",
        "x y",
    ]


@each_kind
@pytest.mark.parametrize(("top_n", "count"), [(None, 3), (0, 3), (1, 1), (2, 2), (9, 3)])
def test_the_best_so_many_are_given(tasks: Any, top_n: int | None, count: int) -> None:
    told = reranked(tasks, query="red", documents=["a", "b", "red"], top_n=top_n)

    assert len(told.results) == count
    assert told.results[0].index == 2


def test_documents_are_not_repeated_where_that_is_not_wanted() -> None:
    told = reranked(["embed"], query="red", documents="red", return_documents=False)

    assert [each.document for each in told.results] == [None]


@each_kind
def test_texts_are_shortened(tasks: Any) -> None:
    whole = scores(tasks, text_1="red blue", text_2="red blue")
    query = scores(tasks, text_1="red blue x", text_2="red blue", max_tokens_per_query=2)
    document = scores(tasks, text_1="red", text_2="x red", max_tokens_per_doc=1)

    assert query == whole
    assert document == scores(tasks, text_1="red", text_2="x")
    assert document != scores(tasks, text_1="red", text_2="x red")
    assert scores(tasks, text_1="red blue", text_2="red x blue", truncate_prompt_tokens=1) != (
        scores(tasks, text_1="red blue", text_2="red x blue")
    )
    sides = [
        scores(
            tasks,
            text_1="red blue",
            text_2="x y red blue",
            truncate_prompt_tokens=2,
            truncation_side=side,
        )
        for side in ("left", "right")
    ]
    assert sides[0] > sides[1]


@each_kind
@pytest.mark.parametrize(
    "fields",
    [
        {"max_tokens_per_query": 1},
        {"max_tokens_per_doc": 1},
        {"truncate_prompt_tokens": 1},
        {"truncate_prompt_tokens": 1, "truncation_side": "left"},
    ],
    ids=str,
)
def test_documents_are_ranked_by_what_is_left_of_the_texts(
    tasks: Any, fields: dict[str, Any]
) -> None:
    query, documents = "red blue", ["red x", "x red"]

    def ranked(**fields: Any) -> list[float]:
        told = reranked(tasks, query=query, documents=documents, **fields).results
        return [each.relevance_score for each in sorted(told, key=lambda each: each.index)]

    assert ranked(**fields) == scores(tasks, text_1=query, text_2=documents, **fields)
    assert ranked(**fields) != ranked()
    side = fields.get("truncation_side")
    assert not side or ranked(**fields) != ranked(truncate_prompt_tokens=1)


@each_kind
def test_texts_that_are_too_long_are_refused(tasks: Any) -> None:
    with pytest.raises(ContextLengthExceeded) as caught:
        scored(tasks, text_1="a", text_2=["b", "c " * 13])
    assert caught.value.param == "text_2"
    with pytest.raises(ContextLengthExceeded) as caught:
        reranked(tasks, query="a", documents=["c " * 13])
    assert caught.value.param == "documents"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({}, "text_1"),
        ({"text_1": "a"}, "text_1"),
        ({"text_1": "a", "documents": "b"}, "text_1"),
        ({"text_1": "a", "text_2": "b", "queries": "c"}, "text_1"),
        ({"queries": "a", "documents": "b", "items": "c"}, "text_1"),
        ({"text_1": [], "text_2": "b"}, "text_1"),
        ({"text_1": "a", "text_2": []}, "text_2"),
        ({"queries": ["a", "b"], "items": ["c"]}, "queries"),
        ({"queries": ["a", "b"], "items": ["c", "d", "e"]}, "queries"),
    ],
)
def test_texts_that_make_no_pairs_are_refused(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        scored(["embed"], **fields)
    assert caught.value.param == param


def test_nothing_cannot_be_reranked() -> None:
    with pytest.raises(InvalidRequest) as caught:
        reranked(["embed"], query="a", documents=[])
    assert caught.value.param == "documents"


def test_a_model_that_only_writes_scores_nothing() -> None:
    refused: list[ApiError] = []
    for ask in (
        lambda: scored(["generate"], text_1="a", text_2="b"),
        lambda: reranked(["generate"], query="a", documents=["b"]),
    ):
        with pytest.raises(ApiError) as caught:
            ask()
        refused.append(caught.value)

    assert [(each.status, each.param, each.code) for each in refused] == [
        (400, "model", "model_not_supported")
    ] * 2
