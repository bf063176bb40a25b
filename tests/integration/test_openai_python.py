"""OpenAI's client for Python, as its users have it: what it gets, whole and streamed."""

import asyncio
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from openai import AsyncOpenAI, OpenAI
from openai.types import Completion
from openai.types.chat import ChatCompletion, ChatCompletionChunk, ChatCompletionMessageParam

from tests.servers import RunningServer

MODEL = "inferneo-tiny"
MAX_TOKENS = 8
MESSAGES: list[ChatCompletionMessageParam] = [{"role": "user", "content": "What is Inferneo?"}]
# No answer ends by itself here: the tokens can be counted.
ENDLESS = {"ignore_eos": True}
CHAT: dict[str, Any] = {
    "model": MODEL,
    "messages": MESSAGES,
    "max_tokens": MAX_TOKENS,
    "temperature": 0,
    "extra_body": ENDLESS,
}
TEXT: dict[str, Any] = {
    "model": MODEL,
    "prompt": "Inferneo is",
    "max_tokens": MAX_TOKENS,
    "temperature": 0,
    "extra_body": ENDLESS,
}
WITH_USAGE: dict[str, Any] = {"stream": True, "stream_options": {"include_usage": True}}


@pytest.fixture(scope="module")
def client(server: RunningServer) -> Iterator[OpenAI]:
    """A client that tries nothing twice."""
    with OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0, timeout=60) as client:
        yield client


def answer_text(client: OpenAI, **fields: Any) -> str:
    answer: ChatCompletion = client.chat.completions.create(**{**CHAT, **fields})
    assert answer.choices[0].message.content is not None
    return answer.choices[0].message.content


def streamed_chat(client: OpenAI, **fields: Any) -> list[ChatCompletionChunk]:
    with client.chat.completions.create(**{**CHAT, "stream": True, **fields}) as stream:
        return list(stream)


def streamed_text(client: OpenAI, **fields: Any) -> list[Completion]:
    with client.completions.create(**{**TEXT, "stream": True, **fields}) as stream:
        return list(stream)


def joined(chunks: list[ChatCompletionChunk]) -> dict[int, str]:
    """The text of each choice."""
    texts: dict[int, str] = defaultdict(str)
    for choice in (choice for chunk in chunks for choice in chunk.choices):
        texts[choice.index] += choice.delta.content or ""
    return dict(texts)


@pytest.mark.parametrize("field", ["max_tokens", "max_completion_tokens"])
def test_a_chat_answer_is_whole_and_ends_where_it_was_told_to(client: OpenAI, field: str) -> None:
    given = {name: value for name, value in CHAT.items() if name != "max_tokens"}
    answer = client.chat.completions.create(**{**given, field: MAX_TOKENS})
    (choice,) = answer.choices
    assert answer.id.startswith("chatcmpl-")
    assert (answer.object, answer.model) == ("chat.completion", MODEL)
    assert (choice.index, choice.message.role, choice.finish_reason) == (0, "assistant", "length")
    assert choice.message.content
    assert answer.usage is not None
    assert answer.usage.prompt_tokens > 0
    assert answer.usage.completion_tokens == MAX_TOKENS
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + MAX_TOKENS


def test_max_completion_tokens_wins_over_max_tokens(client: OpenAI) -> None:
    answer = client.chat.completions.create(**{**CHAT, "max_completion_tokens": 3})
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 3


def test_a_message_in_parts_reads_as_one(client: OpenAI) -> None:
    parts = [{"type": "text", "text": "What is Inferneo?"}]
    assert answer_text(client, messages=[{"role": "user", "content": parts}]) == answer_text(client)


def test_a_streamed_chat_answer_is_role_then_content_then_finish_reason(client: OpenAI) -> None:
    chunks = streamed_chat(client)
    first, *middle, last = [choice for chunk in chunks for choice in chunk.choices]
    assert len(chunks) == len(middle) + 2
    assert (first.delta.role, first.delta.content) == ("assistant", "")
    assert middle and all(choice.delta.content for choice in middle)
    assert all(choice.delta.role is None for choice in middle)
    assert [choice.finish_reason for choice in (first, *middle)] == [None] * (len(middle) + 1)
    assert (last.delta.content, last.finish_reason) == (None, "length")
    assert len({chunk.id for chunk in chunks}) == 1
    assert all(chunk.object == "chat.completion.chunk" for chunk in chunks)
    assert all(chunk.usage is None for chunk in chunks)


def test_a_streamed_chat_answer_joins_to_the_whole_one(client: OpenAI) -> None:
    assert joined(streamed_chat(client)) == {0: answer_text(client)}


@pytest.mark.parametrize("asked", [None, {"include_usage": False}])
def test_a_stream_has_no_usage_that_was_not_asked_for(client: OpenAI, asked: Any) -> None:
    options = {} if asked is None else {"stream_options": asked}
    assert all(chunk.usage is None and chunk.choices for chunk in streamed_chat(client, **options))
    assert all(chunk.usage is None and chunk.choices for chunk in streamed_text(client, **options))


def test_a_stream_ends_with_the_usage_that_was_asked_for(client: OpenAI) -> None:
    *chunks, last = streamed_chat(client, **WITH_USAGE)
    whole = client.chat.completions.create(**CHAT).usage
    assert whole is not None and last.usage is not None
    assert last.choices == []
    assert last.usage.completion_tokens == whole.completion_tokens == MAX_TOKENS
    assert last.usage.prompt_tokens == whole.prompt_tokens
    assert last.usage.total_tokens == whole.total_tokens
    assert all(chunk.usage is None for chunk in chunks)


def test_an_async_client_gets_the_same_answers(server: RunningServer, client: OpenAI) -> None:
    async def ask() -> tuple[str | None, str, str, list[str]]:
        async with AsyncOpenAI(
            base_url=f"{server.url}/v1", api_key="none", max_retries=0, timeout=60
        ) as both:
            whole = await both.chat.completions.create(**CHAT)
            async with await both.chat.completions.create(**CHAT, stream=True) as stream:
                chunks = [chunk async for chunk in stream]
            completion = await both.completions.create(**TEXT)
            models = [model.id async for model in both.models.list()]
        text = completion.choices[0].text
        return whole.choices[0].message.content, joined(chunks)[0], text, models

    whole, streamed, text, models = asyncio.run(ask())
    assert whole == streamed == answer_text(client)
    assert text == client.completions.create(**TEXT).choices[0].text
    assert models == [MODEL]


def test_many_async_requests_at_once_are_each_answered(server: RunningServer) -> None:
    async def ask() -> list[int]:
        async with AsyncOpenAI(
            base_url=f"{server.url}/v1", api_key="none", max_retries=0, timeout=100
        ) as client:
            answers = await asyncio.gather(
                *(client.chat.completions.create(**{**CHAT, "max_tokens": n}) for n in range(1, 25))
            )
        return [answer.usage.completion_tokens for answer in answers]

    assert asyncio.run(ask()) == list(range(1, 25))


@pytest.mark.parametrize("temperature", [0, 1])
def test_n_choices_are_given_in_order(client: OpenAI, temperature: float) -> None:
    answer = client.chat.completions.create(**{**CHAT, "n": 2, "temperature": temperature})
    assert [choice.index for choice in answer.choices] == [0, 1]
    assert [choice.finish_reason for choice in answer.choices] == ["length"] * 2
    assert all(choice.message.content for choice in answer.choices)
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 2 * MAX_TOKENS


@pytest.mark.parametrize("temperature", [0, 1])
def test_n_choices_are_streamed_each_under_its_index(client: OpenAI, temperature: float) -> None:
    *chunks, last = streamed_chat(client, n=2, temperature=temperature, **WITH_USAGE)
    assert last.usage is not None
    assert last.usage.completion_tokens == 2 * MAX_TOKENS
    for index in (0, 1):
        choices = [c for chunk in chunks for c in chunk.choices if c.index == index]
        assert choices[0].delta.role == "assistant"
        assert [choice.finish_reason for choice in choices if choice.finish_reason] == ["length"]
        assert choices[-1].finish_reason == "length"
    assert all(joined(chunks).values())


PROMPTS: list[tuple[Any, int, int | None]] = [
    ("Inferneo is", 1, None),
    (["Inferneo is"], 1, None),
    (["Inferneo is", "A server", "Once"], 3, None),
    ([5, 6, 7], 1, 3),
    ([[5, 6, 7]], 1, 3),
    ([[5, 6, 7], [8, 9]], 2, 5),
]


@pytest.mark.parametrize(("prompt", "count", "tokens"), PROMPTS)
@pytest.mark.parametrize("n", [1, 2])
def test_every_form_of_a_prompt_is_answered(
    client: OpenAI, prompt: Any, count: int, tokens: int | None, n: int
) -> None:
    answer = client.completions.create(**{**TEXT, "prompt": prompt, "n": n, "temperature": 1})
    assert answer.id.startswith("cmpl-")
    assert (answer.object, answer.model) == ("text_completion", MODEL)
    assert [choice.index for choice in answer.choices] == list(range(count * n))
    assert all(choice.finish_reason == "length" for choice in answer.choices)
    assert answer.usage is not None
    assert answer.usage.completion_tokens == count * n * MAX_TOKENS
    if tokens:
        assert answer.usage.prompt_tokens == tokens


def test_choices_come_in_the_order_of_their_prompts(client: OpenAI) -> None:
    prompts = ["Inferneo is", "A server listens", "Once upon a time there was"]
    each = [client.completions.create(**{**TEXT, "prompt": p}).choices[0].text for p in prompts]
    together = client.completions.create(**{**TEXT, "prompt": prompts}).choices
    assert [choice.text for choice in together] == each
    assert len(set(each)) > 1


def test_a_streamed_text_completion_joins_to_the_whole_one(client: OpenAI) -> None:
    *chunks, last = streamed_text(client, **WITH_USAGE)
    whole = client.completions.create(**TEXT)
    assert "".join(chunk.choices[0].text for chunk in chunks) == whole.choices[0].text
    assert [c.choices[0].finish_reason for c in chunks] == [None] * (len(chunks) - 1) + ["length"]
    assert last.choices == []
    assert last.usage is not None and whole.usage is not None
    assert last.usage.total_tokens == whole.usage.total_tokens


def test_several_prompts_are_streamed_each_under_its_index(client: OpenAI) -> None:
    chunks = streamed_text(client, prompt=["Inferneo is", "A server"])
    ends = [choice for chunk in chunks for choice in chunk.choices if choice.finish_reason]
    assert sorted(choice.index for choice in ends) == [0, 1]


def test_a_text_completion_has_16_tokens_where_none_are_asked_for(client: OpenAI) -> None:
    answer = client.completions.create(model=MODEL, prompt="Inferneo is", extra_body=ENDLESS)
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 16


def test_the_models_are_listed_and_each_is_found_by_name(client: OpenAI) -> None:
    (listed,) = client.models.list()
    assert (listed.id, listed.object, listed.owned_by) == (MODEL, "model", "inferneo")
    assert client.models.retrieve(MODEL) == listed


def test_the_model_may_be_left_out(server: RunningServer) -> None:
    body = {"messages": MESSAGES, "max_tokens": 1}
    answer = httpx.post(f"{server.url}/v1/chat/completions", json=body, timeout=60)
    assert answer.status_code == 200
    assert answer.json()["model"] == MODEL


def test_a_raw_answer_has_the_id_of_its_request(client: OpenAI) -> None:
    raw = client.chat.completions.with_raw_response.create(**CHAT)
    completion = raw.parse()
    assert raw.headers["x-request-id"].startswith("req_")
    assert completion._request_id == raw.headers["x-request-id"]
    assert completion.choices[0].message.content


def test_an_answer_can_be_read_as_lines_while_it_comes(client: OpenAI) -> None:
    with client.chat.completions.with_streaming_response.create(**CHAT, stream=True) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        lines = [line for line in answer.iter_lines() if line]
    assert all(line.startswith("data: ") for line in lines)
    assert lines[-1] == "data: [DONE]"
    assert lines.count("data: [DONE]") == 1
