"""Receives an engine's deltas; hands on one request's numbered events, or its whole answer."""

import asyncio
import time
from collections.abc import Callable, Sequence

from msgspec import UNSET, Struct

from inferneo_core.errors import Cancelled, DeadlineExceeded, EventsDropped
from inferneo_core.usage import CompletionTokensDetails, PromptTokensDetails, Usage
from inferneo_server.access.identity import ANYONE, Identity
from inferneo_server.answers.base import AnswerForm, Choice
from inferneo_server.engines.base import Delta, DeltaStream
from inferneo_server.metrics import FIRST_TOKEN_SECONDS, INFERENCE_SECONDS, token_series
from inferneo_server.spending import Spend

# Steps have fewer events; of a long log a reader takes so many, as fast as its client does.
EVENTS_AT_ONCE = 256


class Terms(Struct, frozen=True, kw_only=True):
    """What a request asks for beside its answer.

    Attributes:
        identity: who asks; nobody else can read the generation.
        resume_for: seconds that the generation outlives its last reader.
        deadline: when the work ends, done or not, on the event loop's clock; or None.
        idempotency_key: repeats with this key share one generation; or None.
    """

    identity: Identity = ANYONE
    resume_for: float = 0.0
    deadline: float | None = None
    idempotency_key: str | None = None

    @property
    def owner(self) -> str:
        """The id of who asks."""
        return self.identity.owner

    @property
    def kept(self) -> bool:
        """Whether the events must be there for later readers."""
        return self.resume_for > 0 or self.idempotency_key is not None


class Log:
    """Encoded events, numbered from 0, of which the oldest are dropped when there are too many.

    Args:
        max_bytes: what is kept; 0 keeps the last step, which is all that its only reader needs.

    Attributes:
        first: number of the oldest event that is there.
        count: how many events there have been, dropped ones included.
        bytes: size of those that are there, where they are bounded by it.
    """

    __slots__ = ("_events", "_max_bytes", "bytes", "count", "first")

    def __init__(self, max_bytes: int) -> None:
        self.first = 0
        self.count = 0
        self.bytes = 0
        self._max_bytes = max_bytes
        self._events: list[bytes] = []

    def append(self, events: list[bytes]) -> None:
        """Add the events of one step."""
        if not self._max_bytes:
            self.first = self.count
            self.count += len(events)
            self._events = events
            return
        self.count += len(events)
        self._events += events
        self.bytes += sum(map(len, events))
        if self.bytes > self._max_bytes:
            self._drop()

    def _drop(self) -> None:
        """Make an eighth of the room, so that this is seldom."""
        dropped = 0
        while self.bytes > self._max_bytes * 7 // 8 and dropped < len(self._events) - 1:
            self.bytes -= len(self._events[dropped])
            dropped += 1
        del self._events[:dropped]
        self.first += dropped

    def skip(self, number: int) -> None:
        """Go on with a later event than the next one; what came before it is gone."""
        self._events = []
        self.bytes = 0
        self.first = self.count = number

    def since(self, number: int) -> list[bytes]:
        """The events from this number on, so many as are handed on at once.

        Raises:
            EventsDropped: some of them are gone.
        """
        if number < self.first:
            raise EventsDropped(
                f"Event {number} is no longer kept; the oldest that is there is {self.first}"
            )
        # A copy: a reader that is slow to hand it on must not find later events in it.
        start = number - self.first
        return self._events[start : start + EVENTS_AT_ONCE]


class Generation:
    """One request's work and the log of its events, which any number of readers share.

    No task drives it: the reader that first wants more waits for the engine itself, and the others
    wait for that reader. So a reader that keeps up costs no task switch.

    Args:
        form: how the answer is worded.
        stream: the deltas of all choices.
        choices: how many there are.
        prompt_tokens: tokens of all prompts.
        streamed: whether its reader wants events; else it wants the whole answer.
        include_usage: whether the events end with the usage.
        terms: what was asked for beside the answer.
        log_bytes: how much of the log is kept, where it is.
        spend: is told at the end what was used; None where nobody asks.

    Attributes:
        settling: what the end must wait for, once there has been one; None where for nothing.
    """

    def __init__(
        self,
        form: AnswerForm,
        stream: DeltaStream,
        *,
        choices: int,
        prompt_tokens: int,
        streamed: bool,
        include_usage: bool = False,
        terms: Terms | None = None,
        log_bytes: int = 0,
        spend: Spend | None = None,
    ) -> None:
        self.form = form
        self.spend = spend
        self.settling: asyncio.Task[None] | None = None
        form.usage = self.usage
        self.terms = terms or Terms()
        self.readers = 0
        self.ended = False
        self.error: Exception | None = None
        self.usage_event: int | None = None
        self.completion_tokens = 0
        self.prompt_tokens = prompt_tokens
        self.log = Log(log_bytes if self.terms.kept else 0)
        self._stream = stream
        self._include_usage = include_usage
        self._tells = streamed or self.terms.kept
        self._choices = (
            [Choice() for _ in range(choices)] if self.terms.kept or not streamed else []
        )
        self._reading: asyncio.Task[None] | None = None
        self._waiting: list[asyncio.Future[None]] = []
        self._began = time.perf_counter()
        self._loop = asyncio.get_running_loop()
        self._when_ended: list[Callable[[Exception | None], None]] = []
        self._stopping: asyncio.Task[None] | None = None
        self._deadline: asyncio.TimerHandle | None = None
        if self._tells:
            self.log.append([event for index in range(choices) for event in form.opening(index)])
        if self.terms.deadline is not None:
            self._deadline = self._loop.call_at(self.terms.deadline, self._expire)

    @property
    def id(self) -> str:
        """The id of the answer, and of the stream."""
        return self.form.id

    async def advance(self) -> None:
        """Wait until the log has grown, or the generation has ended."""
        if self._reading is not None:
            await self._others_news()
            return
        # To find the loop would cost four times what the task does.
        self._reading = task = asyncio.current_task(self._loop)
        try:
            self._take(await self._stream.__anext__())
        except StopAsyncIteration:
            self._end_well()
        except asyncio.CancelledError:
            # By `stop`, which leaves the closing to us; or by who owns this task.
            if task is None or not self.ended:
                raise
            await self._stream.aclose()
            if task.uncancel():
                raise
        except Exception as error:
            self._end(error)
        finally:
            self._reading = None
            if self._waiting:
                self._wake()

    def _take(self, deltas: Sequence[Delta]) -> None:
        if not self.completion_tokens and self._tells:
            FIRST_TOKEN_SECONDS.observe(time.perf_counter() - self._began)
        events: list[bytes] = []
        for delta in deltas:
            self.completion_tokens += len(delta.token_ids)
            if self._choices:
                self._choices[delta.index].add(delta)
            if self._tells:
                events += self.form.chunks(delta)
        self.log.append(events)

    def _end_well(self) -> None:
        if self._include_usage and self._tells:
            self.usage_event = self.log.count
            self.log.append([self.form.usage_chunk(self.usage())])
        self._end(None)

    def _end(self, error: Exception | None) -> None:
        if self.ended:
            return
        self.ended, self.error = True, error
        # A circle of references would leave all this to the collector, which holds everybody up.
        self.form.usage = None
        if self._deadline is not None:
            self._deadline.cancel()
        read, written = token_series(self.form.model)
        read.inc(self.prompt_tokens)
        written.inc(self.completion_tokens)
        if error is None:
            INFERENCE_SECONDS.observe(time.perf_counter() - self._began)
        if self.spend is not None:
            self.settling = self.spend.end(
                prompt_tokens=self.prompt_tokens,
                completion_tokens=self.completion_tokens,
                cached_tokens=self._stream.cached_tokens,
                aborted=error is not None,
            )
        for tell in self._when_ended:
            tell(error)
        self._wake()

    async def settled(self) -> None:
        """Wait until what was used is written down, so that no end is told before; for one that has
        ended."""
        if self.settling is not None:
            # Who waits may be cancelled; the settlement is not.
            await asyncio.wait([self.settling])

    def when_ended(self, tell: Callable[[Exception | None], None]) -> None:
        """Have somebody told, with the error if there was one, once no more will come."""
        if self.ended:
            tell(self.error)
        else:
            self._when_ended.append(tell)

    def _others_news(self) -> asyncio.Future[None]:
        future: asyncio.Future[None] = self._loop.create_future()
        self._waiting.append(future)
        return future

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(None)

    def _expire(self) -> None:
        self._stopping = asyncio.create_task(self.stop(DeadlineExceeded()))

    async def stop(self, error: Exception) -> None:
        """End the work at once; readers get the error. Does nothing after the end."""
        if self.ended:
            return
        self._end(error)
        if self._reading is not None:
            self._reading.cancel()
        else:
            await self._stream.aclose()

    async def close(self) -> None:
        """Abort what the engine still does for it. Idempotent; no reader may be waiting."""
        self._end(Cancelled("Its last reader left"))
        await self._stream.aclose()

    def whole(self) -> bytes:
        """The whole answer, encoded; for a generation that has ended well."""
        return self.form.whole(self._choices, self.usage)

    def usage(self) -> Usage:
        """Tokens read and written so far."""
        reasoning = self.form.reasoning_tokens
        return Usage(
            prompt_tokens=self.prompt_tokens,
            completion_tokens=self.completion_tokens,
            total_tokens=self.prompt_tokens + self.completion_tokens,
            prompt_tokens_details=PromptTokensDetails(cached_tokens=self._stream.cached_tokens),
            completion_tokens_details=UNSET
            if reasoning is None
            else CompletionTokensDetails(reasoning_tokens=reasoning),
        )
