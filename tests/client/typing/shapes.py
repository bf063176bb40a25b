"""What a type checker must find for each overload; it is checked, and never run."""

# pyright: strict

from dataclasses import dataclass
from typing import assert_type

from inferneo_client import (
    ApiError,
    AsyncEventStream,
    AsyncInferneo,
    AsyncStream,
    EventStream,
    Inferneo,
    Stream,
)
from inferneo_client._parsed import ParsedCompletion
from inferneo_client.types.chat import ChatCompletion, ChatCompletionChunk
from inferneo_client.types.completions import Completion
from inferneo_client.types.events import DoneEvent
from inferneo_client.types.models import Health, Model, ModelList

ChatStream = Stream[ChatCompletionChunk, ChatCompletion]
AsyncChatStream = AsyncStream[ChatCompletionChunk, ChatCompletion]
TextStream = Stream[Completion, Completion]
AsyncTextStream = AsyncStream[Completion, Completion]

MESSAGES = [{"role": "user", "content": "Hi"}]


@dataclass
class City:
    name: str


def sync(client: Inferneo, maybe: bool) -> None:
    chat, texts = client.chat.completions, client.completions
    assert_type(chat.create(messages=MESSAGES), ChatCompletion)
    assert_type(chat.create(messages=MESSAGES, stream=False), ChatCompletion)
    assert_type(chat.create(messages=MESSAGES, stream=True, temperature=0.5), ChatStream)
    assert_type(chat.create(messages=MESSAGES, stream=maybe), ChatCompletion | ChatStream)
    assert_type(chat.stream(messages=MESSAGES), EventStream)
    parsed = chat.parse(messages=MESSAGES, response_format=City)
    assert_type(parsed, ParsedCompletion[City])
    assert_type(parsed.parsed, City)
    assert_type(texts.create(prompt="a"), Completion)
    assert_type(texts.create(prompt=["a"], stream=True, max_tokens=1), TextStream)
    assert_type(texts.create(prompt=[1, 2], stream=maybe), Completion | TextStream)
    assert_type(client.models.list(), ModelList)
    assert_type(client.models.retrieve("m"), Model)
    assert_type(client.health(), Health)
    assert_type(client.batch([{"messages": MESSAGES}]), list[ChatCompletion])
    assert_type(
        client.batch([{"messages": MESSAGES}], on_error="return"),
        list[ChatCompletion | ApiError],
    )
    assert_type(client.batch([{"prompt": "a", "seed": 1}]), list[Completion])
    assert_type(client.batch([{"prompt": "a"}], on_error="return"), list[Completion | ApiError])
    assert_type(client.streams.resume("id", after=3), ChatStream)
    assert_type(client.streams.retrieve("id"), ChatCompletion)
    assert_type(client.with_options(timeout=3), Inferneo)
    with client.connect() as session:
        assert_type(session, Inferneo)
    with chat.create(messages=MESSAGES, stream=True) as stream:
        for chunk in stream:
            assert_type(chunk.choices[0].delta.content, str | None)
        for text in stream.text_deltas():
            assert_type(text, str)
        assert_type(stream.final(), ChatCompletion)
    for event in chat.stream(messages=MESSAGES):
        if event.type == "text":
            assert_type(event.text, str)
        elif event.type == "done":
            assert_type(event, DoneEvent)


async def asynchronous(client: AsyncInferneo, maybe: bool) -> None:
    chat, texts = client.chat.completions, client.completions
    assert_type(await chat.create(messages=MESSAGES), ChatCompletion)
    assert_type(await chat.create(messages=MESSAGES, stream=False), ChatCompletion)
    assert_type(await chat.create(messages=MESSAGES, stream=True, seed=1), AsyncChatStream)
    assert_type(
        await chat.create(messages=MESSAGES, stream=maybe), ChatCompletion | AsyncChatStream
    )
    assert_type(await chat.stream(messages=MESSAGES), AsyncEventStream)
    parsed = await chat.parse(messages=MESSAGES, response_format=City)
    assert_type(parsed.parsed, City)
    assert_type(await texts.create(prompt="a"), Completion)
    assert_type(await texts.create(prompt="a", stream=True), AsyncTextStream)
    assert_type(await texts.create(prompt="a", stream=maybe), Completion | AsyncTextStream)
    assert_type(await client.models.list(), ModelList)
    assert_type(await client.health(), Health)
    assert_type(await client.batch([{"messages": MESSAGES}]), list[ChatCompletion])
    assert_type(
        await client.batch([{"messages": MESSAGES}], on_error="return"),
        list[ChatCompletion | ApiError],
    )
    assert_type(await client.batch([{"prompt": "a", "seed": 1}]), list[Completion])
    assert_type(
        await client.batch([{"prompt": "a"}], on_error="return"), list[Completion | ApiError]
    )
    assert_type(await client.streams.resume("id"), AsyncChatStream)
    async with client.connect() as session:
        assert_type(session, AsyncInferneo)
    async with await chat.create(messages=MESSAGES, stream=True) as stream:
        async for chunk in stream:
            assert_type(chunk, ChatCompletionChunk)
        assert_type(await stream.final(), ChatCompletion)
