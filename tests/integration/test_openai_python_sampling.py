"""OpenAI's client for Python and the sampling parameters: each does what it says, on the model."""

from collections.abc import Iterator
from typing import Any

import pytest
from openai import OpenAI
from openai.types.chat import ChatCompletion

from tests.servers import RunningServer

MODEL = "inferneo-tiny"
TOKENS = 48
GREEDY: dict[str, Any] = {
    "model": MODEL,
    "messages": [{"role": "user", "content": "What is Inferneo?"}],
    "max_tokens": TOKENS,
    "temperature": 0,
}
ENDLESS = {"ignore_eos": True}


@pytest.fixture(scope="module")
def vllm(vllm_server: RunningServer) -> Iterator[OpenAI]:
    """A client of the real engine that tries nothing twice."""
    url = f"{vllm_server.url}/v1"
    with OpenAI(base_url=url, api_key="none", max_retries=0, timeout=100) as client:
        yield client


def text(client: OpenAI, extra: dict[str, Any] | None = None, **fields: Any) -> str:
    body = {**GREEDY, "extra_body": {**ENDLESS, **(extra or {})}, **fields}
    answer: ChatCompletion = client.chat.completions.create(**body)
    assert answer.choices[0].message.content
    return answer.choices[0].message.content


def pieces(client: OpenAI, **fields: Any) -> list[str]:
    body = {**GREEDY, "extra_body": ENDLESS, **fields}
    with client.chat.completions.create(**body, stream=True) as stream:
        return [chunk.choices[0].delta.content or "" for chunk in stream]


def straddling(parts: list[str]) -> str:
    """A text of four characters that begins in one chunk and ends in a later one."""
    whole = "".join(parts)
    ends = [len("".join(parts[:number])) for number in range(1, len(parts))]
    at = next(end for end in ends if end >= len(whole) // 3)
    return whole[at - 2 : at + 2]


def test_vllm_ends_an_answer_before_its_stop_string(vllm: OpenAI) -> None:
    parts = pieces(vllm)
    whole, stop = "".join(parts), straddling(parts)
    answer = vllm.chat.completions.create(**GREEDY, extra_body=ENDLESS, stop=["\0", stop])
    assert answer.choices[0].message.content == whole.partition(stop)[0]
    assert answer.choices[0].finish_reason == "stop"


def test_vllm_streams_no_part_of_a_stop_string(vllm: OpenAI) -> None:
    parts = pieces(vllm)
    whole, stop = "".join(parts), straddling(parts)
    with vllm.chat.completions.create(
        **GREEDY, extra_body=ENDLESS, stop=stop, stream=True
    ) as stream:
        choices = [chunk.choices[0] for chunk in stream]
    streamed = "".join(choice.delta.content or "" for choice in choices)
    assert streamed == whole.partition(stop)[0]
    assert choices[-1].finish_reason == "stop"


def test_vllm_streams_all_of_what_only_began_like_a_stop_string(vllm: OpenAI) -> None:
    parts = pieces(vllm)
    never = straddling(parts) + "\0"
    assert "".join(pieces(vllm, stop=never)) == "".join(parts)


def test_vllm_writes_the_same_for_the_same_seed_and_else_not(vllm: OpenAI) -> None:
    first, *others = [text(vllm, temperature=1.5, seed=seed) for seed in (1, 1, 2, 3)]
    assert others[0] == first
    assert {*others[1:]} != {first}


@pytest.mark.parametrize("extra", [{"top_k": 1}, {"min_p": 1}])
def test_vllm_writes_only_the_likeliest_token_where_no_other_is_let_in(
    vllm: OpenAI, extra: dict[str, Any]
) -> None:
    hot: dict[str, Any] = {"temperature": 2, "seed": 5, "max_tokens": 12}
    greedy = text(vllm, max_tokens=12)
    assert text(vllm, extra, **hot) == greedy
    assert text(vllm, **hot) != greedy


def test_vllm_repeats_itself_less_under_a_repetition_penalty(vllm: OpenAI) -> None:
    # Far past its own end the model goes in circles.
    free = text(vllm, max_tokens=300).split()
    penalised = text(vllm, {"repetition_penalty": 2}, max_tokens=300).split()
    assert len(set(penalised)) / len(penalised) > len(set(free)) / len(free)


def test_vllm_ends_by_itself_unless_it_is_told_to_ignore_that(vllm: OpenAI) -> None:
    body = {**GREEDY, "max_tokens": 600}
    ended = vllm.chat.completions.create(**body)
    endless = vllm.chat.completions.create(**body, extra_body=ENDLESS)
    assert ended.usage is not None and endless.usage is not None
    assert ended.choices[0].finish_reason == "stop"
    assert endless.choices[0].finish_reason == "length"
    assert ended.usage.completion_tokens < endless.usage.completion_tokens == 600


def test_vllm_tells_how_much_of_a_prompt_it_had_in_its_cache(vllm: OpenAI) -> None:
    messages = [{"role": "user", "content": "Say these numbers again: " + "1 2 3 4 5 6 " * 60}]
    body = {**GREEDY, "messages": messages, "max_tokens": 1}
    cached = []
    for _ in range(2):
        usage = vllm.chat.completions.create(**body).usage
        assert usage is not None and usage.prompt_tokens_details is not None
        cached.append(usage.prompt_tokens_details.cached_tokens)
    assert cached[0] == 0
    assert cached[1]


def test_a_simulated_answer_goes_on_past_its_end_when_told_to(
    simulated_server: RunningServer,
) -> None:
    with OpenAI(base_url=f"{simulated_server.url}/v1", api_key="none", max_retries=0) as client:
        ended = client.chat.completions.create(**{**GREEDY, "max_tokens": 100})
        endless = client.chat.completions.create(
            **{**GREEDY, "max_tokens": 100}, extra_body=ENDLESS
        )
    assert ended.usage is not None and endless.usage is not None
    assert (ended.choices[0].finish_reason, ended.usage.completion_tokens) == ("stop", 32)
    assert (endless.choices[0].finish_reason, endless.usage.completion_tokens) == ("length", 100)
