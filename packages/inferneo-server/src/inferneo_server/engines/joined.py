"""Receives the deltas of several prompts; hands them on as one stream."""

import asyncio
from collections.abc import Awaitable, Iterable, Sequence

import msgspec

from inferneo_server.engines.base import Delta, DeltaStream, DetailedDelta


async def submit_all(submissions: Iterable[Awaitable[DeltaStream]], choices: int) -> DeltaStream:
    """Submit one after another and join the streams, each of which has so many choices.

    Where one is refused, or the caller is cancelled half-way, those before it are closed: nothing
    may go on running unread.
    """
    streams: list[DeltaStream] = []
    try:
        for submission in submissions:
            # Not extended at once: what has been submitted must be known when a later one fails.
            streams.append(await submission)  # noqa: PERF401
    except BaseException:
        await asyncio.gather(*(stream.aclose() for stream in streams))
        raise
    return streams[0] if len(streams) == 1 else JoinedStream(streams, choices)


class ShiftedDelta:
    """A delta whose choice is counted over several prompts."""

    __slots__ = ("finish_reason", "index", "stop_reason", "text", "token_ids")

    def __init__(self, delta: Delta, offset: int) -> None:
        self.index = delta.index + offset
        self.text = delta.text
        self.token_ids = delta.token_ids
        self.finish_reason = delta.finish_reason
        self.stop_reason = delta.stop_reason


class JoinedStream:
    """The deltas of several prompts as one stream; a step is given as soon as any prompt has one.

    Args:
        streams: one for each prompt.
        choices: how many choices each prompt has.
    """

    def __init__(self, streams: Sequence[DeltaStream], choices: int) -> None:
        self._streams = streams
        self._choices = choices
        self._waiting: dict[asyncio.Task[Sequence[Delta]], int] = {}
        self._started = False

    @property
    def cached_tokens(self) -> int:
        return sum(stream.cached_tokens for stream in self._streams)

    def __aiter__(self) -> "JoinedStream":
        return self

    async def __anext__(self) -> Sequence[Delta]:
        if not self._started:
            self._started = True
            for number in range(len(self._streams)):
                self._ask(number)
        while self._waiting:
            done, _ = await asyncio.wait(self._waiting, return_when=asyncio.FIRST_COMPLETED)
            if deltas := [delta for task in done for delta in self._collect(task)]:
                return deltas
        raise StopAsyncIteration

    def _ask(self, number: int) -> None:
        task = asyncio.ensure_future(_next(self._streams[number]))
        self._waiting[task] = number

    def _collect(self, task: asyncio.Task[Sequence[Delta]]) -> Sequence[Delta]:
        number = self._waiting.pop(task)
        deltas = task.result()
        if deltas:
            self._ask(number)
        return [_shifted(delta, number * self._choices) for delta in deltas]

    async def aclose(self) -> None:
        waiting, self._waiting = list(self._waiting), {}
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        await asyncio.gather(*(stream.aclose() for stream in self._streams))


def _shifted(delta: Delta, offset: int) -> Delta:
    if isinstance(delta, DetailedDelta):
        return msgspec.structs.replace(delta, index=delta.index + offset)
    return ShiftedDelta(delta, offset)


async def _next(stream: DeltaStream) -> Sequence[Delta]:
    """The next step, or nothing at the end."""
    async for deltas in stream:
        return deltas
    return ()
