"""Proves that a second real model comes and goes while the first one answers, without a failure."""

import threading
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from tests.servers import RunningServer

SECONDS = 300
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


@pytest.mark.timeout(2 * SECONDS)
def test_minilm_comes_and_goes_beside_a_base_model_with_a_template_and_nothing_fails(
    minilm_folder: Path, base_folder: Path, tmp_path: Path
) -> None:
    template = tmp_path / "plain.jinja"
    template.write_text(TEMPLATE)
    model = ("--model", str(base_folder), "--chat-template", str(template))
    server = RunningServer(*model, "--engine-args", "max_model_len=1024", "--drain-seconds", "5")
    try:
        server.wait_ready()
        with httpx.Client(base_url=server.url, timeout=SECONDS) as client:
            chat_by_the_template(client)
            come_and_go(server, client, minilm_folder)
    finally:
        server.stop()


def chat_by_the_template(client: httpx.Client) -> None:
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


def come_and_go(server: RunningServer, client: httpx.Client, folder: Path) -> None:
    chat = {"messages": [{"role": "user", "content": "What is Inferneo?"}], "max_tokens": 8}
    wanted = {
        "model": str(folder),
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
        assert str(folder) not in loaded.text
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
    deadline = time.monotonic() + GONE_SECONDS
    while (with_both - before) & set(server.descendants()):
        assert time.monotonic() < deadline, "an engine's process is still there"
        time.sleep(0.05)
