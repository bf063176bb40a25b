"""Tokens of texts and chats are those of the model's own tokenizer and template."""

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

import inferneo_server
from tests.integration.test_tools import WEATHER
from tests.servers import RunningServer

SECONDS = 60
LONGEST = 2048
ASKED = [{"role": "user", "content": "What is Inferneo?"}]
BEGUN = [*ASKED, {"role": "assistant", "content": "Inferneo is"}]
TEXTS = ["Hello there", " a\n\tb  c", "Ünïcödé, 漢字 and 🙂", "<|im_end|>", "x" * 30_000, ""]


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    """The embedded model's tokenizer, as transformers loads it."""
    with warnings.catch_warnings():
        # Those of its parts are not ours to mend.
        warnings.simplefilter("ignore")
        from transformers import AutoTokenizer

        folder = Path(inferneo_server.__file__).parent / "embedded" / "inferneo-tiny"
        return AutoTokenizer.from_pretrained(str(folder))


@pytest.fixture(scope="module")
def post(vllm_server: RunningServer) -> Iterator[Any]:
    """Post JSON to a route and give its answer."""
    with httpx.Client(base_url=vllm_server.url, timeout=SECONDS) as client:
        yield lambda path, **body: client.post(path, json=body)


def rendered(tokenizer: Any, messages: Any, **options: Any) -> list[int]:
    """The tokens of a chat by transformers."""
    text = tokenizer.apply_chat_template(messages, tokenize=False, **options)
    ids: list[int] = tokenizer.encode(text, add_special_tokens=False)
    return ids


@pytest.mark.parametrize("path", ["/tokenize", "/v1/tokenize"])
@pytest.mark.parametrize("text", TEXTS)
def test_a_text_has_the_tokens_of_its_tokenizer(
    post: Any, tokenizer: Any, path: str, text: str
) -> None:
    for special in (True, False):
        ids = tokenizer.encode(text, add_special_tokens=special)
        told = post(path, prompt=text, add_special_tokens=special, return_token_strs=True).json()
        assert told == {
            "count": len(ids),
            "max_model_len": LONGEST,
            "tokens": ids,
            "token_strs": tokenizer.convert_ids_to_tokens(ids),
        }


@pytest.mark.parametrize("path", ["/detokenize", "/v1/detokenize"])
@pytest.mark.parametrize("text", TEXTS)
def test_tokens_become_their_text_again(post: Any, path: str, text: str) -> None:
    tokens = post("/tokenize", prompt=text, add_special_tokens=False).json()["tokens"]
    assert post(path, tokens=tokens).json() == {"prompt": text}


@pytest.mark.parametrize(
    ("body", "options"),
    [
        ({"messages": ASKED}, {"add_generation_prompt": True}),
        ({"messages": ASKED, "add_generation_prompt": False}, {}),
        (
            {"messages": ASKED, "tools": [WEATHER]},
            {"add_generation_prompt": True, "tools": [WEATHER]},
        ),
        ({"messages": BEGUN, "continue_final_message": True}, {"continue_final_message": True}),
        (
            {"messages": ASKED, "chat_template_kwargs": {"enable_thinking": True}},
            {"add_generation_prompt": True, "enable_thinking": True},
        ),
        (
            {"messages": [{"role": "user", "content": "word " * 6000}]},
            {"add_generation_prompt": True},
        ),
    ],
    ids=["plain", "no prompt", "tools", "continued", "thinking", "longer than the model"],
)
def test_a_chat_has_the_tokens_of_its_template(
    post: Any, tokenizer: Any, body: dict[str, Any], options: dict[str, Any]
) -> None:
    told = post("/tokenize", **body).json()

    assert told["tokens"] == rendered(tokenizer, body["messages"], **options)
    assert told["count"] == len(told["tokens"])


def test_the_count_is_what_a_chat_is_charged(post: Any) -> None:
    count = post("/tokenize", messages=ASKED, tools=[WEATHER]).json()["count"]
    answer = post("/v1/chat/completions", messages=ASKED, tools=[WEATHER], max_tokens=1).json()
    assert answer["usage"]["prompt_tokens"] == count


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("/tokenize", {}, "prompt"),
        ("/tokenize", {"prompt": 7}, "prompt"),
        ("/tokenize", {"prompt": ["a"]}, "prompt"),
        ("/tokenize", {"messages": []}, "messages"),
        ("/tokenize", {"prompt": "a", "messages": ASKED}, "prompt"),
        ("/tokenize", {"prompt": "a", "tools": [WEATHER]}, "tools"),
        ("/tokenize", {"prompt": "a", "add_special_tokens": "no"}, "add_special_tokens"),
        ("/detokenize", {}, "tokens"),
        ("/detokenize", {"tokens": "a"}, "tokens"),
        ("/detokenize", {"tokens": [10**9]}, "tokens"),
        ("/detokenize", {"tokens": [1] * 131_073}, "tokens"),
    ],
)
def test_a_value_that_does_not_fit_is_a_bad_request_that_names_its_field(
    post: Any, path: str, body: dict[str, Any], param: str
) -> None:
    refused = post(path, **body)
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, param)


def test_a_model_that_only_writes_embeds_and_scores_nothing(post: Any) -> None:
    for path, body in (
        ("/v1/embeddings", {"input": "a"}),
        ("/score", {"text_1": "a", "text_2": "b"}),
        ("/rerank", {"query": "a", "documents": ["b"]}),
    ):
        refused = post(path, **body)
        error = refused.json()["error"]
        assert (refused.status_code, error["param"]) == (400, "model"), path
        assert error["code"] == "model_not_supported"
