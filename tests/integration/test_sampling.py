"""Proves that what is drawn, and what a prompt is made of, follows the request on both routes.

Over the real engine: each of these fails where its parameter is dropped on the way.
"""

from typing import Any

import httpx
import pytest

from tests.integration.asking import ASK_SECONDS, CHAT, TEXT, ask, refusal
from tests.servers import RunningServer

QUESTION = {"messages": [{"role": "user", "content": "What is Inferneo?"}]}
ROUTES = [(CHAT, QUESTION), (TEXT, {"prompt": "Inferneo is"})]
END = 2  # <|im_end|>
LIKELIEST = {"temperature": 0, "max_tokens": 12, "ignore_eos": True}
ANY = LIKELIEST | {"temperature": 2, "seed": 5}
PICTURE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
SOUND = {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}

both_routes = pytest.mark.parametrize(("path", "body"), ROUTES, ids=["chat", "text"])
both_ways = pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])


def written(
    server: RunningServer, path: str, body: dict[str, Any], *, stream: bool = False
) -> tuple[list[int], str]:
    """The only choice's tokens, and why it ended."""
    answer = ask(server, path, body | {"return_token_ids": True}, stream=stream)
    [choice] = answer["choices"]
    return choice["token_ids"], choice["finish_reason"]


def text(server: RunningServer, path: str, body: dict[str, Any]) -> str:
    [choice] = ask(server, path, body)["choices"]
    told: str = choice["text"] if path == TEXT else choice["message"]["content"]
    return told


@both_routes
@both_ways
@pytest.mark.parametrize(
    "wish", [{"temperature": 0}, {"top_p": 1e-6}, {"top_k": 1}, {"min_p": 1}], ids=str
)
def test_only_the_likeliest_is_drawn_where_no_other_is_let_in(
    vllm_server: RunningServer, path: str, body: Any, stream: bool, wish: dict[str, float]
) -> None:
    likeliest = written(vllm_server, path, body | LIKELIEST, stream=stream)

    assert written(vllm_server, path, body | ANY | wish, stream=stream) == likeliest
    assert written(vllm_server, path, body | ANY, stream=stream) != likeliest


@both_routes
@both_ways
def test_a_seed_draws_the_same_again_and_another_something_else(
    vllm_server: RunningServer, path: str, body: Any, stream: bool
) -> None:
    first, again, other = (
        written(vllm_server, path, body | ANY | {"seed": seed}, stream=stream) for seed in (1, 1, 2)
    )

    assert first == again != other


@both_routes
@both_ways
@pytest.mark.parametrize("name", ["frequency_penalty", "presence_penalty", "repetition_penalty"])
def test_a_penalty_has_more_different_tokens_written(
    vllm_server: RunningServer, path: str, body: Any, stream: bool, name: str
) -> None:
    # Far past its own end the model goes in circles.
    asked = body | LIKELIEST | {"max_tokens": 120}
    free, _ = written(vllm_server, path, asked, stream=stream)
    penalised, _ = written(vllm_server, path, asked | {name: 2}, stream=stream)

    assert len(set(penalised)) > len(set(free))


@both_routes
@both_ways
def test_the_end_ends_unless_it_is_ignored_or_comes_too_early(
    vllm_server: RunningServer, path: str, body: Any, stream: bool
) -> None:
    asked = body | {"temperature": 0, "max_tokens": 8, "logit_bias": {str(END): 100}}
    ended, why = written(vllm_server, path, asked, stream=stream)
    endless = written(vllm_server, path, asked | {"ignore_eos": True}, stream=stream)
    later, _ = written(vllm_server, path, asked | {"min_tokens": 5}, stream=stream)

    assert (len(ended), why) == (1, "stop")
    assert endless == ([END] * 8, "length")
    assert later[-1] == END not in later[:-1] and len(later) == 6


@both_routes
@pytest.mark.parametrize(
    ("wish", "beginning"),
    [
        ({"response_format": {"type": "json_object"}}, "{"),
        ({"structured_outputs": {"json_object": True}}, "{"),
        (
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "one", "schema": {"enum": [17]}},
                }
            },
            "17",
        ),
    ],
    ids=["format", "outputs", "schema"],
)
def test_an_answer_has_the_form_that_is_wanted(
    vllm_server: RunningServer, path: str, body: Any, wish: Any, beginning: str
) -> None:
    assert text(vllm_server, path, body | LIKELIEST | wish).startswith(beginning)
    assert not text(vllm_server, path, body | LIKELIEST).startswith(beginning)


@pytest.mark.parametrize("part", [PICTURE, SOUND], ids=["picture", "sound"])
@pytest.mark.parametrize("engine", ["vllm", "torch"])
def test_a_model_that_reads_text_refuses_other_parts(
    request: pytest.FixtureRequest, engine: str, part: Any
) -> None:
    server: RunningServer = request.getfixturevalue(f"{engine}_server")
    content = [{"type": "text", "text": "What is this?"}, part]
    error = refusal(server, CHAT, {"messages": [{"role": "user", "content": content}]})

    assert error["param"].startswith("messages")
    assert error["type"] == "invalid_request_error"


def test_the_parts_and_roles_of_messages_reach_the_template(vllm_server: RunningServer) -> None:
    def read(*messages: Any) -> list[int]:
        body = {"messages": messages, "max_tokens": 1, "return_token_ids": True}
        told: list[int] = ask(vllm_server, CHAT, body)["prompt_token_ids"]
        return told

    asked = QUESTION["messages"][0]
    parts = [{"type": "text", "text": "What is "}, {"type": "text", "text": "Inferneo?"}]
    told = {"role": "system", "content": "Be short."}
    assert read({"role": "user", "content": parts}) == read(asked)
    assert read(told, asked) == read({**told, "role": "developer"}, asked)
    assert len({len(read(*each)) for each in [(asked,), (told, asked), (asked, told, asked)]}) == 3
    assert read({**told, "role": "user"}, asked) != read({**told, "role": "assistant"}, asked)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        *ROUTES,
        ("/v1/embeddings", {"input": "a"}),
        ("/v1/score", {"text_1": "a", "text_2": "b"}),
        ("/v1/rerank", {"query": "a", "documents": ["b"]}),
    ],
)
def test_user_is_taken_and_what_is_not_known_is_named(
    simulated_server: RunningServer, path: str, body: Any
) -> None:
    answer = httpx.post(
        f"{simulated_server.url}{path}",
        json=body | {"user": "u-1", "nonsense": 1},
        timeout=ASK_SECONDS,
    )
    assert (answer.status_code, answer.headers["inferneo-ignored"]) == (200, "nonsense")
