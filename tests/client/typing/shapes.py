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
from inferneo_client.types.devices import DeviceStatus, DeviceSwitch, GpuInfo
from inferneo_client.types.embeddings import EmbeddingList
from inferneo_client.types.events import DoneEvent
from inferneo_client.types.models import Health, Model, ModelList, ModelStatus
from inferneo_client.types.native import Generated, GeneratedToken, GenerateResults
from inferneo_client.types.response import Allowance
from inferneo_client.types.response_events import ResponseEvent, TextDeltaEvent
from inferneo_client.types.responses import DeletedResponse, InputTokens, ItemList, Response
from inferneo_client.types.scores import Reranking, ScoreList
from inferneo_client.types.tokens import AccessToken, Detokenized, Tokenized
from inferneo_client.types.usage import UsageReport

ChatStream = Stream[ChatCompletionChunk, ChatCompletion]
AsyncChatStream = AsyncStream[ChatCompletionChunk, ChatCompletion]
TextStream = Stream[Completion, Completion]
AsyncTextStream = AsyncStream[Completion, Completion]
EventsOfResponse = Stream[ResponseEvent, Response]
AsyncEventsOfResponse = AsyncStream[ResponseEvent, Response]
Tokens = Stream[GeneratedToken, Generated]
AsyncTokens = AsyncStream[GeneratedToken, Generated]
Progress = Stream[ModelStatus, ModelStatus]
AsyncProgress = AsyncStream[ModelStatus, ModelStatus]

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


def sync_texts(client: Inferneo, maybe: bool) -> None:
    vectors = client.embeddings.create(input=["a", "b"], dimensions=3)
    assert_type(vectors, EmbeddingList)
    assert_type(vectors.data[0].embedding, list[float])
    assert_type(vectors.data[0].buffer.tolist(), list[float])
    assert_type(client.score(text_1="a", text_2=["b"]), ScoreList)
    assert_type(client.rerank(query="a", documents=["b"], top_n=1), Reranking)
    assert_type(client.tokenize("a"), Tokenized)
    assert_type(client.tokenize(messages=MESSAGES), Tokenized)
    assert_type(client.detokenize([1, 2]), Detokenized)
    responses = client.responses
    assert_type(responses.create(input="a", seed=1), Response)
    assert_type(responses.create(input=MESSAGES, stream=False), Response)
    assert_type(responses.create(input="a", stream=True), EventsOfResponse)
    assert_type(responses.create(input="a", stream=maybe), Response | EventsOfResponse)
    assert_type(responses.stream(input="a"), EventsOfResponse)
    assert_type(responses.retrieve("id"), Response)
    assert_type(responses.retrieve("id", stream=True, starting_after=2), EventsOfResponse)
    assert_type(responses.retrieve("id", stream=maybe), Response | EventsOfResponse)
    assert_type(responses.delete("id"), DeletedResponse)
    assert_type(responses.cancel("id"), Response)
    assert_type(responses.input_items("id", limit=3), ItemList)
    assert_type(responses.input_tokens(input="a"), InputTokens)
    for event in responses.stream(input="a"):
        if event.type == "response.output_text.delta":
            assert_type(event, TextDeltaEvent)
            assert_type(event.delta, str)
        elif event.type == "response.completed":
            assert_type(event.response, Response)


async def asynchronous_texts(client: AsyncInferneo, maybe: bool) -> None:
    vectors = await client.embeddings.create(input=["a", "b"], dimensions=3)
    assert_type(vectors, EmbeddingList)
    assert_type(vectors.data[0].embedding, list[float])
    assert_type(vectors.data[0].buffer.tolist(), list[float])
    assert_type(await client.score(text_1="a", text_2=["b"]), ScoreList)
    assert_type(await client.rerank(query="a", documents=["b"], top_n=1), Reranking)
    assert_type(await client.tokenize("a"), Tokenized)
    assert_type(await client.tokenize(messages=MESSAGES), Tokenized)
    assert_type(await client.detokenize([1, 2]), Detokenized)
    responses = client.responses
    assert_type(await responses.create(input="a", seed=1), Response)
    assert_type(await responses.create(input=MESSAGES, stream=False), Response)
    assert_type(await responses.create(input="a", stream=True), AsyncEventsOfResponse)
    assert_type(await responses.create(input="a", stream=maybe), Response | AsyncEventsOfResponse)
    assert_type(await responses.stream(input="a"), AsyncEventsOfResponse)
    assert_type(await responses.retrieve("id"), Response)
    assert_type(
        await responses.retrieve("id", stream=True, starting_after=2), AsyncEventsOfResponse
    )
    assert_type(await responses.retrieve("id", stream=maybe), Response | AsyncEventsOfResponse)
    assert_type(await responses.delete("id"), DeletedResponse)
    assert_type(await responses.cancel("id"), Response)
    assert_type(await responses.input_items("id", limit=3), ItemList)
    assert_type(await responses.input_tokens(input="a"), InputTokens)
    async for event in await responses.stream(input="a"):
        if event.type == "response.output_text.delta":
            assert_type(event, TextDeltaEvent)
            assert_type(event.delta, str)
        elif event.type == "response.completed":
            assert_type(event.response, Response)


def sync_server(client: Inferneo, maybe: bool) -> None:
    models, generate = client.models, client.generate
    assert_type(models.load("m", device="cpu"), ModelStatus)
    assert_type(models.load("m", stream=False), ModelStatus)
    assert_type(models.load("m", stream=True), Progress)
    assert_type(models.load("m", stream=maybe), ModelStatus | Progress)
    assert_type(models.unload("m", force=True), ModelStatus)
    assert_type(models.sleep("m", level=2), ModelStatus)
    assert_type(models.wake("m"), ModelStatus)
    assert_type(client.devices.status(), DeviceStatus)
    assert_type(client.devices.switch("cpu", model="m"), DeviceSwitch)
    assert_type(client.devices.gpu_info(), GpuInfo)
    assert_type(generate.create(prompt="a", max_tokens=3), Generated)
    assert_type(generate.create(prompt="a", stream=False), Generated)
    assert_type(generate.create(prompt="a", stream=True), Tokens)
    assert_type(generate.create(prompt="a", stream=maybe), Generated | Tokens)
    assert_type(generate.batch([{"prompt": "a"}]), GenerateResults)
    assert_type(client.usage.retrieve(group_by=["day"]), UsageReport)
    assert_type(client.usage.all(owner="o"), UsageReport)
    token = client.tokens.create(seconds=60, scopes=["inference"])
    assert_type(token, AccessToken)
    assert token.response is not None
    assert_type(token.response.limits.requests, Allowance | None)


async def asynchronous_server(client: AsyncInferneo, maybe: bool) -> None:
    models, generate = client.models, client.generate
    assert_type(await models.load("m", device="cpu"), ModelStatus)
    assert_type(await models.load("m", stream=False), ModelStatus)
    assert_type(await models.load("m", stream=True), AsyncProgress)
    assert_type(await models.load("m", stream=maybe), ModelStatus | AsyncProgress)
    assert_type(await models.unload("m", force=True), ModelStatus)
    assert_type(await models.sleep("m", level=2), ModelStatus)
    assert_type(await models.wake("m"), ModelStatus)
    assert_type(await client.devices.status(), DeviceStatus)
    assert_type(await client.devices.switch("cpu", model="m"), DeviceSwitch)
    assert_type(await client.devices.gpu_info(), GpuInfo)
    assert_type(await generate.create(prompt="a", max_tokens=3), Generated)
    assert_type(await generate.create(prompt="a", stream=False), Generated)
    assert_type(await generate.create(prompt="a", stream=True), AsyncTokens)
    assert_type(await generate.create(prompt="a", stream=maybe), Generated | AsyncTokens)
    assert_type(await generate.batch([{"prompt": "a"}]), GenerateResults)
    assert_type(await client.usage.retrieve(group_by=["day"]), UsageReport)
    assert_type(await client.usage.all(owner="o"), UsageReport)
    token = await client.tokens.create(seconds=60, scopes=["inference"])
    assert_type(token, AccessToken)
    assert token.response is not None
    assert_type(token.response.limits.requests, Allowance | None)
