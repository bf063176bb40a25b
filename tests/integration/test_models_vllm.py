"""Proves that a second real model comes and goes while the first one answers, without a failure;
and that adapters answer by their names, beside their model and each other."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.integration.adapters import HIDDEN, make_adapter
from tests.integration.waiting import wait_until
from tests.servers import RunningServer, running_server

SECONDS = 300
QUESTION = [{"role": "user", "content": "What is Inferneo?"}]
TEMPLATE = (
    r"{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}"
    r"{% endfor %}{{ '<|im_start|>assistant\n' }}"
)
RENDERED = "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n"
# The kernel takes its time to end a killed process, of which megabytes are freed.
GONE_SECONDS = 10.0


class Asking:
    """Asks again and again in a thread, and keeps what was not answered with 200."""

    def __init__(self, ask: Callable[[], httpx.Response]) -> None:
        self.answered = 0
        self.failures: list[str] = []
        self._ask = ask
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        while not self._end.is_set():
            try:
                answer = self._ask()
            except httpx.HTTPError as error:
                self.failures.append(repr(error))
                continue
            if answer.status_code == 200:
                self.answered += 1
            else:
                self.failures.append(answer.text)

    def __enter__(self) -> "Asking":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join(SECONDS)


@pytest.fixture(scope="module")
def server(base_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """The embedded model with a template of chats that is not its own, and with two adapters, of
    which one has more than vLLM's own default rank."""
    folder = tmp_path_factory.mktemp("adapters")
    template = folder / "plain.jinja"
    template.write_text(TEMPLATE)
    adapters = (
        f"{name}={make_adapter(folder / name, rank=rank, seed=rank)}"
        for name, rank in (("small", 4), ("large", 20))
    )
    model = ("--model", str(base_folder), "--served-model-name", "inferneo-tiny")
    template_flags = ("--chat-template", str(template), "--lora-modules", *adapters)
    flags = ("--engine-args", "max_model_len=1024", "--engine-args", "dtype=float32")
    with running_server(*model, *template_flags, *flags, "--drain-seconds", "5") as server:
        yield server
    assert "nanobind: leaked" not in server.log


@pytest.fixture
def client(server: RunningServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=SECONDS) as client:
        yield client


def answer(client: httpx.Client, model: str, **fields: Any) -> str:
    body = {"model": model, "messages": QUESTION, "temperature": 0, "max_tokens": 40, **fields}
    told = client.post("/v1/chat/completions", json=body)
    assert told.status_code == 200, told.text
    assert told.json()["model"] == model
    text: str = told.json()["choices"][0]["message"]["content"]
    return text


def written(client: httpx.Client) -> dict[str, int]:
    """How many tokens each model has written, by its name."""
    rows = client.get("/v1/usage", params={"group_by": "model"}).json()["data"]
    return {row["model"]: row["completion_tokens"] for row in rows}


@pytest.mark.timeout(2 * SECONDS)
def test_adapters_answer_by_their_names_and_all_in_one_batch(client: httpx.Client) -> None:
    names = ["inferneo-tiny", "small", "large"]
    alone = {name: answer(client, name) for name in names}

    assert "OpenAI-compatible" in alone["inferneo-tiny"]
    assert len(set(alone.values())) == 3
    with ThreadPoolExecutor(12) as threads:
        asked = names * 4
        together = list(threads.map(lambda name: answer(client, name), asked))
    assert together == [alone[name] for name in asked]


def test_adapters_are_listed_below_their_model_and_metered_by_name(client: httpx.Client) -> None:
    listed = {each["id"]: each for each in client.get("/v1/models").json()["data"]}

    assert {name: each["parent"] for name, each in listed.items()} == {
        "inferneo-tiny": None,
        "small": "inferneo-tiny",
        "large": "inferneo-tiny",
    }
    assert listed["small"]["root"] == "small"
    before = written(client)
    answer(client, "small", max_tokens=3)
    after = written(client)
    assert after.pop("small") - before.pop("small", 0) == 3
    assert after == before


@pytest.mark.timeout(2 * SECONDS)
def test_an_adapter_that_does_not_fit_is_told_when_it_is_loaded(
    client: httpx.Client, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    make_adapter(tmp_path / "other", rank=8, seed=1, hidden=2 * HIDDEN)
    for name, why in (("empty", "adapter_config.json"), ("other", "must match the size of tensor")):
        adapters = {name: str(tmp_path / name)}
        wanted = {"model": "inferneo-tiny", "name": "second", "lora_modules": adapters}
        refused = client.post("/v1/models/load", json=wanted)
        error = refused.json()["error"]
        assert (refused.status_code, error["code"]) == (400, "model_load_failed")
        assert f"the adapter '{name}'" in error["message"]
        assert why in error["message"]
        assert "stack trace" not in refused.text
        assert str(tmp_path) not in refused.text
    assert client.get("/ready").status_code == 200


def test_a_base_model_chats_by_the_template_that_it_is_given(client: httpx.Client) -> None:
    # The second one is long, and takes another way.
    for text in ("Hello", "word " * 5000):
        chat = {"messages": [{"role": "user", "content": text}]}
        tokens = client.post("/tokenize", json=chat).json()["tokens"]
        told = client.post("/detokenize", json={"tokens": tokens}).json()
        assert told == {"prompt": RENDERED.format(text)}
    asked = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 1}
    usage = client.post("/v1/chat/completions", json=asked).json()["usage"]
    prompt = {"prompt": RENDERED.format("Hello"), "add_special_tokens": False}
    assert usage["prompt_tokens"] == client.post("/tokenize", json=prompt).json()["count"]


@pytest.mark.timeout(2 * SECONDS)
def test_minilm_comes_and_goes_beside_the_embedded_model_and_nothing_fails(
    server: RunningServer, client: httpx.Client, minilm_folder: Path
) -> None:
    chat = {"messages": QUESTION, "max_tokens": 8}
    wanted = {
        "model": str(minilm_folder),
        "name": "minilm",
        "aliases": ["text-embedding-3-small"],
        "engine_args": {"dtype": "float32"},
    }
    before = set(server.descendants())
    with Asking(lambda: client.post("/v1/chat/completions", json=chat)) as chatting:
        loaded = client.post("/v1/models/load", json=wanted)
        assert loaded.status_code == 200, loaded.text
        status = loaded.json()
        assert (status["id"], status["status"], status["device"]) == ("minilm", "ready", "cpu:0")
        assert "embed" in status["tasks"]
        assert str(minilm_folder) not in loaded.text
        assert status["memory_bytes"] > 0
        with_both = set(server.descendants())
        assert with_both > before

        texts = {"model": "text-embedding-3-small", "input": ["a cat", "a kitten"]}
        with Asking(lambda: client.post("/v1/embeddings", json=texts)) as embedding:
            told = client.post("/v1/embeddings", json=texts).json()
            assert told["model"] == "minilm"
            assert len(told["data"][0]["embedding"]) == 384
            reached = chatting.answered
            while chatting.answered < reached + 10 or embedding.answered < 10:
                assert client.get("/ready").status_code == 200
        assert embedding.failures == []

        refused = client.post("/v1/models/minilm/sleep", json={"level": 1})
        assert (refused.status_code, refused.json()["error"]["code"]) == (
            400,
            "sleep_not_supported",
        )
        gone = client.post("/v1/models/minilm/unload")
        assert (gone.status_code, gone.json()["status"]) == (200, "unloaded")
        assert client.post("/v1/embeddings", json=texts).status_code == 404

        failed = client.post("/v1/models/load", json={**wanted, "engine_args": {"dtype": "none"}})
        assert (failed.status_code, failed.json()["error"]["code"]) == (400, "model_load_failed")
        assert "site-packages" not in failed.text
    assert chatting.failures == []
    assert chatting.answered > 20
    assert before <= set(server.descendants())
    wait_until(lambda: not (with_both - before) & set(server.descendants()), seconds=GONE_SECONDS)
