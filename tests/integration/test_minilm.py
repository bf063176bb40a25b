"""all-MiniLM-L6-v2 on vLLM: its vectors are those of sentence-transformers, and mean something."""

import itertools
import math
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from openai import OpenAI

from tests.integration.sockets import connect, request
from tests.integration.waiting import wait_running, wait_until
from tests.servers import RunningServer

MODEL = "all-MiniLM-L6-v2"
SIZE = 384
LONGEST = 256
SECONDS = 100

CATS = ["A cat sleeps on the sofa.", "The kitten is napping on the couch."]
BANKS = ["The central bank raised interest rates.", "Borrowing money has become more expensive."]
CODE = ["This function sorts a list of numbers.", "An algorithm that puts integers in order."]
TEXTS = [
    *CATS,
    *BANKS,
    *CODE,
    "x",
    "Ünïcödé, 漢字 and 🙂 emoji",
    "  spaces   and\nlines\t",
    "MIXED Case",
    "word " * 250,
]


@pytest.fixture(scope="module")
def client(minilm_server: RunningServer) -> Iterator[OpenAI]:
    with OpenAI(
        base_url=f"{minilm_server.url}/v1", api_key="none", max_retries=0, timeout=SECONDS
    ) as client:
        yield client


@pytest.fixture(scope="module")
def post(minilm_server: RunningServer) -> Iterator[Any]:
    """Post JSON to a route and give its answer."""
    with httpx.Client(base_url=minilm_server.url, timeout=SECONDS) as client:
        yield lambda path, **body: client.post(path, json=body)


@pytest.fixture(scope="module")
def reference(minilm_folder: Path) -> Sequence[Sequence[float]]:
    """The vectors of the texts by sentence-transformers."""
    with warnings.catch_warnings():
        # Those of its parts are not ours to mend.
        warnings.simplefilter("ignore")
        from sentence_transformers import SentenceTransformer

        model = SentenceTransformer(str(minilm_folder), device="cpu")
        vectors: list[list[float]] = model.encode(TEXTS, normalize_embeddings=True).tolist()
    return vectors


def embedded(client: OpenAI, texts: Any, **fields: Any) -> list[list[float]]:
    answer = client.embeddings.create(model=MODEL, input=texts, **fields)
    return [each.embedding for each in answer.data]


def cosine(one: Sequence[float], other: Sequence[float]) -> float:
    dot = sum(a * b for a, b in zip(one, other, strict=True))
    return dot / math.hypot(*one) / math.hypot(*other)


def test_vectors_are_those_of_sentence_transformers(
    client: OpenAI, reference: Sequence[Sequence[float]]
) -> None:
    vectors = embedded(client, TEXTS)

    assert {len(vector) for vector in vectors} == {SIZE}
    likeness = [cosine(one, other) for one, other in zip(vectors, reference, strict=True)]
    assert min(likeness) > 0.999


def test_near_sentences_are_nearer_than_others(client: OpenAI) -> None:
    vectors = embedded(client, [*CATS, *BANKS, *CODE])
    near = [cosine(*vectors[first : first + 2]) for first in (0, 2, 4)]
    far = [
        cosine(vectors[one], vectors[other])
        for one, other in itertools.combinations(range(6), 2)
        if one // 2 != other // 2
    ]

    assert min(near) > max(far) + 0.1


@pytest.mark.parametrize("dimensions", [64, 128, 256])
def test_a_shorter_vector_is_the_beginning_of_the_whole_one(
    client: OpenAI, dimensions: int
) -> None:
    (whole,) = embedded(client, CATS[0])
    (short,) = embedded(client, CATS[0], dimensions=dimensions)

    assert len(short) == dimensions
    assert cosine(short, whole[:dimensions]) > 0.9999
    assert math.hypot(*short) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("dimensions", [1, 100, 257, SIZE + 1])
def test_a_length_that_the_model_was_not_trained_for_is_refused(
    client: OpenAI, dimensions: int
) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        embedded(client, CATS[0], dimensions=dimensions)
    assert refused.value.param == "dimensions"


def test_the_longest_input_fits_and_one_token_more_does_not(client: OpenAI) -> None:
    answer = client.embeddings.create(model=MODEL, input="word " * (LONGEST - 2))
    assert answer.usage.prompt_tokens == LONGEST

    with pytest.raises(openai.BadRequestError) as refused:
        embedded(client, "word " * (LONGEST - 1))
    assert refused.value.code == "context_length_exceeded"
    assert str(LONGEST) in str(refused.value)


@pytest.mark.parametrize(("side", "left"), [("right", "cat"), ("left", "mat")])
def test_a_cut_input_keeps_the_tokens_that_begin_and_end_it(
    client: OpenAI, side: str, left: str
) -> None:
    fields = {"truncate_prompt_tokens": 3, "truncation_side": side}
    (cut,) = embedded(client, "cat sat on the mat", extra_body=fields)

    assert cosine(cut, *embedded(client, left)) > 0.9999


def test_a_very_long_input_is_cut_too(client: OpenAI) -> None:
    answer = client.embeddings.create(
        model=MODEL,
        input=["cat " * 30_000, "cat"],
        extra_body={"truncate_prompt_tokens": 3},
    )
    first, second = (each.embedding for each in answer.data)
    assert cosine(first, second) > 0.9999
    assert answer.usage.prompt_tokens == 6


def test_special_tokens_can_be_left_out(client: OpenAI) -> None:
    body = {"add_special_tokens": False}
    answer = client.embeddings.create(model=MODEL, input="a cat", extra_body=body)

    assert answer.usage.prompt_tokens == 2
    assert cosine(answer.data[0].embedding, *embedded(client, "a cat")) < 0.999


def test_special_tokens_are_told_unless_they_are_left_out(post: Any) -> None:
    whole = post("/tokenize", prompt="a cat").json()["tokens"]
    bare = post("/tokenize", prompt="a cat", add_special_tokens=False).json()["tokens"]

    assert (len(whole), whole[1:-1]) == (4, bare)


def test_the_last_step_can_be_left_out(client: OpenAI) -> None:
    (raw,) = embedded(client, "a cat", extra_body={"use_activation": False})
    (unit,) = embedded(client, "a cat")

    assert cosine(raw, unit) > 0.9999
    assert not math.isclose(math.hypot(*raw), 1, abs_tol=0.01)


def test_a_priority_is_taken(client: OpenAI) -> None:
    assert embedded(client, "a cat", extra_body={"priority": -1})


def test_hanging_up_frees_vllm(minilm_server: RunningServer) -> None:
    wait_running(minilm_server, 0)
    body = {"input": ["word " * 250] * 1000}
    before = minilm_server.metric("inferneo_prompt_tokens_total")
    with connect(minilm_server) as connection:
        connection.sendall(request("POST", "/v1/embeddings", body))
        # On a busy machine the first are done before the last have begun.
        wait_until(lambda: minilm_server.metric("inferneo_choices_running") > 0)
    wait_running(minilm_server, 0)
    # They were given up, not done.
    asked = 'inferneo_requests_total{method="POST",route="/v1/embeddings",status="499"}'
    assert f"{asked} 1.0" in httpx.get(f"{minilm_server.url}/metrics").text
    assert minilm_server.metric("inferneo_prompt_tokens_total") == before


def test_a_model_of_embeddings_writes_nothing(client: OpenAI) -> None:
    for ask in (
        lambda: client.chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": "Hello"}]
        ),
        lambda: client.completions.create(model=MODEL, prompt="Hello", stream=True),
    ):
        with pytest.raises(openai.BadRequestError) as refused:
            ask()
        assert (refused.value.code, refused.value.param) == ("model_not_supported", "model")


@pytest.mark.parametrize("path", ["/score", "/v1/score"])
def test_texts_are_scored_by_the_cosine_of_their_vectors(
    client: OpenAI, post: Any, path: str
) -> None:
    told = post(path, text_1=CATS[0], text_2=[CATS[1], BANKS[0]]).json()

    query, *others = embedded(client, [CATS[0], CATS[1], BANKS[0]])
    expected = [cosine(query, other) for other in others]
    assert [each["score"] for each in told["data"]] == pytest.approx(expected, abs=1e-3)
    assert expected[0] > expected[1] + 0.3
    assert told["usage"]["prompt_tokens"] == sum(
        post("/tokenize", prompt=text).json()["count"] for text in (*CATS, BANKS[0])
    )


@pytest.mark.parametrize("path", ["/rerank", "/v1/rerank", "/v2/rerank"])
def test_documents_are_ordered_by_what_they_mean(post: Any, path: str) -> None:
    documents = [*BANKS, CATS[1], *CODE]
    told = post(path, model=MODEL, query=CATS[0], documents=documents, top_n=2).json()

    assert [each["index"] for each in told["results"]][0] == 2
    assert told["results"][0]["document"] == {"text": CATS[1]}
    assert len(told["results"]) == 2
    assert told["model"] == MODEL


def test_a_reranker_shortens_what_is_too_long(post: Any) -> None:
    documents = ["cat " * 400, "bank " * 400]
    refused = post("/rerank", query="cat", documents=documents)
    assert refused.status_code == 400
    assert refused.json()["error"]["code"] == "context_length_exceeded"

    for limit in ({"max_tokens_per_doc": 10}, {"truncate_prompt_tokens": -1}):
        told = post("/rerank", query="cat", documents=documents, **limit)
        assert [each["index"] for each in told.json()["results"]] == [0, 1]
    cut = post("/score", text_1="cat", text_2="cat bank", max_tokens_per_doc=1).json()
    assert cut["data"][0]["score"] == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("/score", {"text_1": "a"}, "text_1"),
        ("/score", {"text_1": "a", "text_2": 7}, "text_2"),
        ("/score", {"text_1": ["a", "b"], "text_2": "c"}, "text_1"),
        ("/rerank", {"documents": ["a"]}, "query"),
        ("/rerank", {"query": "a", "documents": []}, "documents"),
        ("/rerank", {"query": "a", "documents": ["a"], "top_n": -1}, "top_n"),
        ("/rerank", {"query": "a", "documents": ["b"], "max_tokens_per_doc": -1}, None),
    ],
)
def test_texts_that_do_not_fit_are_refused(
    post: Any, path: str, body: dict[str, Any], param: str | None
) -> None:
    refused = post(path, **body)
    assert refused.status_code == 400
    assert refused.json()["error"]["param"] == (param or "max_tokens_per_doc")


def test_unknown_fields_are_named(post: Any) -> None:
    for path, body in (
        ("/score", {"text_1": "a", "text_2": "b"}),
        ("/rerank", {"query": "a", "documents": ["b"]}),
        ("/tokenize", {"prompt": "a"}),
        ("/detokenize", {"tokens": [2000]}),
    ):
        answer = post(path, **body, nonsense=1, user="u")
        assert answer.status_code == 200
        assert answer.headers["inferneo-ignored"].split(", ")[0] == "nonsense"


def test_tokens_are_those_of_the_vocabulary(post: Any) -> None:
    told = post("/tokenize", prompt="Embeddings!", return_token_strs=True).json()

    assert told["token_strs"] == ["[CLS]", "em", "##bed", "##ding", "##s", "!", "[SEP]"]
    assert (told["count"], told["max_model_len"]) == (7, LONGEST)
    bare = post("/v1/tokenize", prompt="Embeddings!", add_special_tokens=False).json()
    assert bare["tokens"] == told["tokens"][1:-1]
    again = post("/v1/detokenize", tokens=bare["tokens"]).json()
    assert again["prompt"].replace(" ", "") == "embeddings!"
