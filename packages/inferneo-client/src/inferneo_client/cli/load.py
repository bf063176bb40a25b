"""Receives a question and a level; hands on the samples of asking it so many times at once."""

import itertools
import time
from collections.abc import Iterator
from typing import Any

import anyio
from msgspec import Struct

from inferneo_client._async import AsyncInferneo
from inferneo_client._errors import ConnectionFailed, TimedOut
from inferneo_client._progress import ProgressLine
from inferneo_client.cli.figures import Level, Sample, level_of
from inferneo_client.types.chat import ChatCompletionChunk
from inferneo_core.errors import ApiError

_NUMBERS: Iterator[int] = itertools.count(1)
_PROMPT = "Tell a short story about a river, a lighthouse and a clock that runs backwards."


class Question(Struct, frozen=True, kw_only=True):
    """What each request asks."""

    model: str | None
    prompt: str | None
    max_tokens: int
    ignore_eos: bool

    def arguments(self, number: int) -> dict[str, Any]:
        """Of the SDK. The number comes first, so that no server has read the prompt before."""
        text = f"[{number}] {self.prompt or _PROMPT}"
        return {
            "messages": [{"role": "user", "content": text}],
            "model": self.model,
            "max_tokens": self.max_tokens,
            "ignore_eos": self.ignore_eos or None,
            "stream": True,
            "stream_options": {"include_usage": True},
        }


async def warm_up(client: AsyncInferneo, question: Question, seconds: float) -> None:
    """Ask once, so that what cannot work is told of before anything is measured.

    Raises:
        ApiError: it does not work.
    """
    with anyio.move_on_after(seconds):
        stream: Any = await client.chat.completions.create(**question.arguments(0))
        async with stream:
            await stream.final()
        return
    raise TimedOut(f"The server was silent for {seconds:g} s", phase="total")


async def run_level(
    client: AsyncInferneo,
    question: Question,
    *,
    concurrency: int,
    requests: int,
    seconds: float,
    progress: ProgressLine,
) -> Level:
    """Send so many requests, or those that so many seconds have room for."""
    samples: list[Sample] = []
    numbers = iter(range(1, requests + 1))
    began = time.perf_counter()

    async def work() -> None:
        for _ in numbers:
            sample = Sample(time.perf_counter())
            samples.append(sample)
            await _ask(client, question.arguments(next(_NUMBERS)), sample)
            progress.step(failed=bool(sample.error))

    with anyio.move_on_after(seconds):
        async with anyio.create_task_group() as group:
            for _ in range(concurrency):
                group.start_soon(work)
    return level_of(concurrency, samples, began, time.perf_counter())


async def _ask(client: AsyncInferneo, arguments: dict[str, Any], sample: Sample) -> None:
    try:
        stream: Any = await client.chat.completions.create(**arguments)
        async with stream:
            async for chunk in stream:
                if _has_text(chunk):
                    sample.texts.append(time.perf_counter())
                if chunk.usage is not None:
                    sample.tokens = chunk.usage.completion_tokens
    except ApiError as error:
        sample.error = _named(error)
    else:
        sample.ended = time.perf_counter()


def _has_text(chunk: ChatCompletionChunk) -> bool:
    for choice in chunk.choices:
        delta = choice.delta
        if delta.content or delta.reasoning_text or delta.tool_calls:
            return True
    return False


def _named(error: ApiError) -> str:
    """What errors of one kind have in common."""
    if isinstance(error, ConnectionFailed):
        return f"{error.code}: {type(error).__name__}"
    return f"{error.status} {error.code}"
