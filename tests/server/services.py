"""Receives an engine, or the steps of an answer; hands on a service, or a stream, to be tested."""

import asyncio
import contextlib
import gc
import json
import selectors
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from typing import Any

from inferneo_core.completions import CompletionRequest
from inferneo_server.answers.text import TextForm
from inferneo_server.engines.base import Delta, Engine
from inferneo_server.engines.simulated import SimulatedDelta
from inferneo_server.generation import Generation, Terms
from inferneo_server.hardware.device import Device
from inferneo_server.model_spec import ModelSpec
from inferneo_server.registry import Registry
from inferneo_server.service import Service
from inferneo_server.streams import Reader, Streams

MODEL = "words"
BOUND_SECONDS = 20.0
KEPT = Terms(resume_for=60)


CPU = Device(name="cpu", type="cpu", index=0, vendor="", model="")


def one_model(make_engine: Callable[[], Engine], name: str = MODEL) -> Registry:
    """A registry of one model, which runs on the engines that are made so."""
    spec = ModelSpec(name=name, model=name, engine="simulated")
    return Registry([spec], lambda *_: make_engine(), lambda *_: CPU)


@contextlib.asynccontextmanager
async def ready_service(engine: Engine) -> AsyncIterator[Service]:
    """A service whose only model runs on this engine. All that the block does is bounded."""
    registry = one_model(lambda: engine)
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


class FedStream:
    """A stream whose steps come when the test gives them.

    Attributes:
        asked: set while somebody waits for the next step.
        closed: how often it was closed.
    """

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.cached_tokens = 0
        self.closed = 0
        self._steps: asyncio.Queue[Sequence[Delta] | Exception] = asyncio.Queue()

    def give(self, *texts: str) -> None:
        """The next step: a delta for each text, all of the first choice."""
        self._steps.put_nowait([delta(text) for text in texts])

    def give_deltas(self, *deltas: Delta) -> None:
        """The next step."""
        self._steps.put_nowait(deltas)

    def fail(self, error: Exception) -> None:
        """The next step is an error; StopAsyncIteration is the end."""
        self._steps.put_nowait(error)

    def end(self) -> None:
        """There is no further step."""
        self.fail(StopAsyncIteration())

    def _demand(self, kept: bool, complaint: str) -> None:
        """Fail the test, even where nobody hears of the exception."""
        if not kept:
            asyncio.get_running_loop().call_exception_handler({"message": complaint})
            raise AssertionError(complaint)

    def __aiter__(self) -> "FedStream":
        return self

    async def __anext__(self) -> Sequence[Delta]:
        self._demand(not self.asked.is_set(), "two wait for the next step")
        self._demand(not self.closed, "somebody waits for a step of a closed stream")
        self.asked.set()
        try:
            step = await self._steps.get()
        finally:
            self.asked.clear()
        if isinstance(step, Exception):
            raise step
        return step

    async def aclose(self) -> None:
        self._demand(not self.asked.is_set(), "closed while somebody waits for its next step")
        # As an engine does, which tells another process.
        await asyncio.sleep(0)
        self.closed += 1


async def make(
    streams: Streams,
    stream: FedStream,
    *,
    form: type[Any] = TextForm,
    terms: Terms | None = None,
    **options: Any,
) -> Generation:
    """A generation over this stream, as a service makes one."""
    given = {"choices": 1, "prompt_tokens": 3, "streamed": True} | options
    return Generation(form(MODEL), stream, terms=terms, log_bytes=streams.log_bytes, **given)


async def begin(
    streams: Streams, stream: FedStream, *, terms: Terms | None = None, **options: Any
) -> Reader:
    """A reader of a new generation over this stream."""
    terms = terms or Terms()
    request = CompletionRequest(prompt="")
    return await streams.begin(
        request, terms, lambda: make(streams, stream, terms=terms, **options)
    )


def texts(events: Sequence[bytes]) -> list[str]:
    """What events of texts tell."""
    return [json.loads(event)["choices"][0]["text"] for event in events]


async def read_texts(reader: Reader) -> list[str]:
    """What a reader has not read yet, to the end. Leaves it open."""
    told: list[str] = []
    while events := await reader.read():
        told += texts(events)
    return told


class _Skipping(selectors.DefaultSelector):
    """Does not wait: it says that the time is over."""

    skipped = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        assert timeout is not None, "all wait, and nothing will ever come"
        self.skipped += timeout
        return super().select(0)


class QuickLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock leaps to the next timer when all tasks wait. It knows no sockets
    and no threads."""

    def __init__(self) -> None:
        self._leaps = _Skipping()
        super().__init__(self._leaps)

    def time(self) -> float:
        return super().time() + self._leaps.skipped


def run_quickly(work: Coroutine[Any, Any, None]) -> None:
    """Run to the end on a clock that leaps; neither a task nor an error may be left unseen."""
    unseen: list[Any] = []

    async def bounded() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: unseen.append(context))
        async with asyncio.timeout(3600):
            await work
        assert asyncio.all_tasks() == {asyncio.current_task()}
        gc.collect()

    with asyncio.Runner(loop_factory=QuickLoop) as runner:
        runner.run(bounded())
    assert unseen == []


@contextlib.asynccontextmanager
async def read_by(
    number: int,
    stream: FedStream,
    *,
    log_bytes: int = 4096,
    terms: Terms = KEPT,
    **options: Any,
) -> AsyncIterator[list[Reader]]:
    """So many readers of one generation, each at its beginning; all leave it behind the block."""
    streams = Streams(log_bytes=log_bytes)
    first = await begin(streams, stream, terms=terms, **options)
    name = first.generation.id
    readers = [first, *(streams.resume(name, terms.owner, -1) for _ in range(number - 1))]
    yield readers
    await leave(streams, *readers)
    assert stream.closed


async def leave(streams: Streams, *readers: Reader) -> None:
    """Close the readers, and what is kept without one."""
    for reader in readers:
        await reader.aclose()
    await streams.aclose()


async def settle() -> None:
    """Let every task go on until it waits for something from outside."""
    for _ in range(10):
        await asyncio.sleep(0)
