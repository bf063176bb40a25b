"""Proves that of a prompt that is only read nothing is written, told or counted."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from inferneo_core import CompletionRequest
from inferneo_core.errors import ServerError
from inferneo_core.logprobs import TokenLogprob
from inferneo_core.sampling import StreamOptions
from inferneo_server.answers.base import finish_reason
from inferneo_server.engines.base import Delta, DetailedDelta
from inferneo_server.engines.simulated import SimulatedDelta, SimulatedEngine
from inferneo_server.service import Service
from inferneo_server.unwritten import UnwrittenStream
from tests.server.services import ScriptedStream, read_answer, read_events, ready_service

ECHO: dict[str, Any] = {"echo": True, "max_tokens": 0}


def on_words(work: Callable[[Service], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with ready_service(SimulatedEngine()) as service:
            await work(service)

    asyncio.run(bounded())


@pytest.mark.parametrize(
    "fields", [{}, {"return_token_ids": True}, {"stop": "a"}, {"ignore_eos": True}]
)
def test_the_prompt_is_all_that_is_answered(fields: dict[str, Any]) -> None:
    async def work(service: Service) -> None:
        request = CompletionRequest(prompt=["a b", "c"], n=2, **ECHO, **fields)
        answer = await read_answer(await service.begin(request))

        assert [choice["text"] for choice in answer["choices"]] == ["a b", "a b", "c", "c"]
        assert {choice["finish_reason"] for choice in answer["choices"]} == {"length"}
        assert all(not choice.get("token_ids") for choice in answer["choices"])
        assert answer["usage"]["completion_tokens"] == 0
        assert answer["usage"]["prompt_tokens"] == answer["usage"]["total_tokens"] == 3

    on_words(work)


def test_a_stream_tells_the_prompt_alone_too() -> None:
    async def work(service: Service) -> None:
        options = StreamOptions(include_usage=True, continuous_usage_stats=True)
        request = CompletionRequest(prompt="a b", stream=True, **ECHO)
        counted = CompletionRequest(
            prompt="a b",
            stream=True,
            stream_options=options,
            return_token_ids=True,
            **ECHO,
        )
        [only] = await read_events(await service.begin(request))
        first, usage = await read_events(await service.begin(counted))

        for chunk in (only, first):
            [choice] = chunk["choices"]
            assert (choice["text"], choice["finish_reason"]) == ("a b", "length")
        assert first["choices"][0]["token_ids"] == []
        assert first["usage"] == usage["usage"]
        assert usage["usage"]["completion_tokens"] == 0

    on_words(work)


def test_what_the_engine_wrote_is_left_out_and_what_it_read_is_kept() -> None:
    entry = TokenLogprob(token="x", logprob=-1.0, bytes=[120], top_logprobs=[])
    written: list[Delta] = [
        DetailedDelta(
            index=1,
            text="x",
            token_ids=[7],
            finish_reason="stop",
            stop_reason="x",
            logprobs=[entry],
            prompt_logprobs=[None],
        )
    ]

    async def work() -> None:
        inner = ScriptedStream(written, cached_tokens=2)
        stream = UnwrittenStream(inner)
        told = [delta async for step in stream for delta in step]
        await stream.aclose()

        assert told == [
            DetailedDelta(
                index=1, text="", token_ids=[], finish_reason="length", prompt_logprobs=[None]
            )
        ]
        assert (stream.cached_tokens, inner.closed) == (2, 1)

    asyncio.run(work())


def test_an_engine_that_gave_up_is_told() -> None:
    failed = SimulatedDelta(index=0, text="", token_ids=[], finish_reason="error")

    async def work() -> None:
        [step] = [step async for step in UnwrittenStream(ScriptedStream([failed]))]
        with pytest.raises(ServerError):
            finish_reason(step[0])

    asyncio.run(work())
