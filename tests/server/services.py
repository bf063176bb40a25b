"""Receives an engine, or the steps of an answer; hands on a service, or a stream, to be tested."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Sequence
from typing import Any

from inferneo_server.engines.base import Delta, Engine
from inferneo_server.engines.simulated import SimulatedDelta
from inferneo_server.registry import Registry
from inferneo_server.service import Service
from inferneo_server.streams import Reader

MODEL = "words"
BOUND_SECONDS = 20.0


@contextlib.asynccontextmanager
async def ready_service(engine: Engine) -> AsyncIterator[Service]:
    """A service whose only model runs on this engine. All that the block does is bounded."""
    registry = Registry(MODEL, lambda: engine)
    running = asyncio.create_task(registry.run())
    try:
        async with asyncio.timeout(BOUND_SECONDS):
            await registry.wait_ready()
            yield Service(registry)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def read_answer(reader: Reader) -> Any:
    """The whole answer, as JSON is read."""
    try:
        return json.loads(await reader.answer())
    finally:
        await reader.aclose()


async def read_steps(reader: Reader) -> list[list[Any]]:
    """All events, those of a step together.

    Raises:
        ApiError: the generation failed.
    """
    steps = []
    try:
        while events := await reader.read():
            steps.append([json.loads(event) for event in events])
        if reader.generation.error is not None:
            raise reader.generation.error
        return steps
    finally:
        await reader.aclose()


async def read_events(reader: Reader) -> list[Any]:
    """All events, one after another."""
    return [event for step in await read_steps(reader) for event in step]


def delta(text: str, *, index: int = 0, reason: str | None = None) -> SimulatedDelta:
    """A delta of one token, whatever its text."""
    return SimulatedDelta(index=index, text=text, token_ids=[0], finish_reason=reason)


class ScriptedStream:
    """A stream that gives the steps that it is told to give, and raises those that are errors.

    Args:
        steps: what it gives.
        cached_tokens: what it says of the prefix cache.
        gate: set when the first step may come; None lets it come at once.
        close_error: what `aclose` raises, after it has closed.
    """

    def __init__(
        self,
        *steps: Sequence[Delta] | Exception,
        cached_tokens: int = 0,
        gate: asyncio.Event | None = None,
        close_error: Exception | None = None,
    ) -> None:
        self.cached_tokens = cached_tokens
        self.closed = 0
        self._reading = False
        self._steps = list(steps)
        self._gate = gate
        self._close_error = close_error

    def __aiter__(self) -> "ScriptedStream":
        return self

    async def __anext__(self) -> Sequence[Delta]:
        self._reading = True
        try:
            await asyncio.sleep(0)
            if self._gate is not None:
                await self._gate.wait()
        finally:
            self._reading = False
        if not self._steps:
            raise StopAsyncIteration
        step = self._steps.pop(0)
        if isinstance(step, Exception):
            raise step
        return step

    async def aclose(self) -> None:
        assert not self._reading, "closed while somebody waits for its next step"
        self.closed += 1
        if self._close_error is not None:
            raise self._close_error
