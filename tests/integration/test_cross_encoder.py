"""A model that reads both texts of a pair, on vLLM: its scores are those of transformers."""

import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.servers import RunningServer, running_server

SECONDS = 60
QUERY = "A cat sleeps on the sofa."
DOCUMENTS = [
    "The kitten is napping on the couch.",
    "The central bank raised interest rates.",
    "x",
    "A cat sleeps on the sofa.",
    "Sorting puts numbers in order. " * 20,
]


@pytest.fixture(scope="module")
def judge() -> Iterator[Any]:
    """What loads models, without the warnings of its parts, which are not ours to mend."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import transformers

        yield transformers


@pytest.fixture(scope="module")
def folder(judge: Any, minilm_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """all-MiniLM-L6-v2 with an untrained head: its scores mean nothing, but differ."""
    import torch

    torch.manual_seed(7)
    folder = tmp_path_factory.mktemp("judge")
    load = judge.AutoModelForSequenceClassification.from_pretrained
    model = load(str(minilm_folder), num_labels=1)
    with torch.no_grad():
        model.classifier.weight.mul_(20)
    model.save_pretrained(folder)
    judge.AutoTokenizer.from_pretrained(str(minilm_folder)).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def expected(judge: Any, folder: Path) -> Sequence[float]:
    """The scores of the documents by transformers."""
    import torch

    tokenizer = judge.AutoTokenizer.from_pretrained(str(folder))
    model = judge.AutoModelForSequenceClassification.from_pretrained(str(folder)).eval()
    scores: list[float] = []
    with torch.no_grad():
        for document in DOCUMENTS:
            pair = tokenizer(QUERY, document, return_tensors="pt")
            scores.append(model(**pair).logits.sigmoid().item())
    return scores


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[RunningServer]:
    with running_server(
        *("--model", str(folder), "--served-model-name", "judge", "--drain-seconds", "5"),
        *("--engine-args", "dtype=float32"),
    ) as server:
        yield server


def post(server: RunningServer, path: str, **body: Any) -> httpx.Response:
    return httpx.post(f"{server.url}{path}", json=body, timeout=SECONDS)


def test_scores_are_those_of_transformers(server: RunningServer, expected: Sequence[float]) -> None:
    told = post(server, "/score", text_1=QUERY, text_2=DOCUMENTS).json()

    assert max(expected) - min(expected) > 0.05
    assert [each["score"] for each in told["data"]] == pytest.approx(expected, abs=2e-3)


def test_documents_are_ordered_by_their_scores(
    server: RunningServer, expected: Sequence[float]
) -> None:
    told = post(server, "/rerank", query=QUERY, documents=DOCUMENTS).json()

    order = sorted(range(len(DOCUMENTS)), key=lambda index: -expected[index])
    assert [each["index"] for each in told["results"]] == order


def test_scores_can_be_had_before_the_last_step(server: RunningServer) -> None:
    told = post(server, "/score", text_1=QUERY, text_2=DOCUMENTS, use_activation=False).json()

    assert any(not 0 <= each["score"] <= 1 for each in told["data"])


def test_pairs_are_cut_to_what_fits(server: RunningServer) -> None:
    long = {"text_1": QUERY, "text_2": "cat " * 1000}
    refused = post(server, "/score", **long)
    assert refused.status_code == 400
    assert refused.json()["error"]["code"] == "context_length_exceeded"

    model = httpx.get(f"{server.url}/v1/models", timeout=SECONDS).json()["data"][0]
    cut = post(server, "/score", **long, truncate_prompt_tokens=-1).json()
    assert cut["usage"]["prompt_tokens"] == model["max_model_len"]
    shorter = post(server, "/score", **long, max_tokens_per_doc=5).json()
    assert shorter["usage"]["prompt_tokens"] < 20


def test_a_model_that_judges_embeds_and_writes_nothing(server: RunningServer) -> None:
    messages = [{"role": "user", "content": "Hello"}]
    for refused in (
        post(server, "/v1/embeddings", input="a"),
        post(server, "/v1/chat/completions", messages=messages),
    ):
        error = refused.json()["error"]
        assert (refused.status_code, error["param"]) == (400, "model")
        assert error["code"] == "model_not_supported"


def test_reranking_has_the_scores_of_the_pairs_before_the_last_step_too(
    server: RunningServer,
) -> None:
    pairs = post(server, "/score", text_1=QUERY, text_2=DOCUMENTS, use_activation=False).json()
    told = post(server, "/rerank", query=QUERY, documents=DOCUMENTS, use_activation=False).json()

    expected = {each["index"]: each["score"] for each in pairs["data"]}
    found = {each["index"]: each["relevance_score"] for each in told["results"]}
    assert found == pytest.approx(expected, abs=2e-3)
