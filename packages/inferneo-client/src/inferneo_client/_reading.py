"""Receives the bytes of a stream and its mishaps; hands on chunks, and how to pick it up again.

What a stream does is written here once, without I/O: `Stream` and `AsyncStream` carry it out.
"""

import random
import time
from typing import Any, Generic, TypeVar
from urllib.parse import quote

from inferneo_client._calls import Call, deadline_passed, least
from inferneo_client._errors import (
    ConnectionFailed,
    StreamInterruptedError,
    StreamTruncatedError,
    TimedOut,
)
from inferneo_client._events import ChunkDecoder
from inferneo_client._folds import Fold
from inferneo_client._transport import AsyncResponse, SyncResponse
from inferneo_client.types.answer import Answer, AnswerDecoder
from inferneo_client.types.response import ResponseInfo
from inferneo_core.errors import ApiError

C = TypeVar("C", bound=Answer)
E = TypeVar("E", bound=ApiError)
W = TypeVar("W")

# Chunks are joined some at a time: one by one would cost as much as decoding them.
_FOLD_AT = 256


class Reading(Generic[C, W]):
    """The state of one stream, over all the connections that it takes.

    Attributes:
        info: how the answer came.
        path: where the stream can be picked up; empty where it cannot.
        whole: it has come to its end.
        cancelled: its reader has cancelled it.
        running: the server may still be at work on it.
    """

    def __init__(
        self,
        call: Call,
        response: SyncResponse | AsyncResponse,
        answers: AnswerDecoder[C],
        fold: Fold[C, W],
    ) -> None:
        self.call = call
        self.info: ResponseInfo = call.info(response)
        self.path: str = response.headers.get("inferneo-stream", "").removeprefix("/v1")
        self.whole: bool = False
        self.cancelled: bool = False
        self.running: bool = True
        self._answers = answers
        self._decoder = ChunkDecoder(answers, response.headers)
        self._fold = fold
        self._unfolded: list[C] = []
        self._failures = 0
        self._begun = False
        # From its first event on, a stream without a deadline has the same patience with each.
        self._steady = False
        self._idle = call.options.timeout.idle
        # Each attempt has its own time for the first event, as for the head of its answer.
        self._since = call.sent

    @property
    def id(self) -> str:
        """The generation's id, where the server gives one."""
        return self.path.rpartition("/")[2]

    def feed(self, data: bytes) -> list[C]:
        """Take what was received, and give the chunks that it completes; empty is the body's end.

        Raises:
            ApiError: the server has ended the stream with an error, behind all its chunks.
            StreamTruncatedError: the body's end was not the end of the stream.
        """
        if not data:
            self._end()
            return []
        decoder, unfolded = self._decoder, self._unfolded
        chunks = decoder.feed(data)
        if chunks:
            unfolded += chunks
            self._failures = 0
            if not self._begun:
                self._begun, self._steady = True, self.call.deadline is None
                self.info.first_event_seconds = time.monotonic() - self.call.started
            if len(unfolded) >= _FOLD_AT:
                self._join()
        elif decoder.error is not None:
            raise self._told(decoder.error)
        if decoder.done:
            self.whole, self.running = True, False
        return chunks

    def patience(self) -> float | None:
        """Seconds that the next piece may take.

        Raises:
            TimedOut: there is no time left for it.
        """
        if self._steady:
            return self._idle
        call, timeout = self.call, self.call.options.timeout
        if call.deadline is None and timeout.ttft is None:
            return None
        now = time.monotonic()
        if call.deadline is not None and now >= call.deadline:
            raise deadline_passed(call)
        remaining = None if call.deadline is None else call.deadline - now
        if self._begun:
            return least(timeout.idle, remaining)
        if timeout.ttft is None:
            return remaining
        first = self._since + timeout.ttft - now
        if first <= 0:
            raise self._late()
        return least(first, remaining)

    def _late(self) -> TimedOut:
        ttft = self.call.options.timeout.ttft
        return TimedOut(
            f"The stream's first event took longer than {ttft:g} s. Give it more: "
            f"timeout=Timeout(ttft=...)",
            phase="ttft",
        )

    def _end(self) -> None:
        if self._decoder.error is not None:
            raise self._told(self._decoder.error)
        self._join()
        if not self.whole and not self._fold.finished(self.call.choices):
            raise self.marked(
                StreamTruncatedError(
                    "The stream ended without its end: no [DONE], and not all choices are finished."
                    " What came is in `partial`; ask again for a whole answer.",
                    partial=self.partial(),
                )
            )
        self.whole, self.running = True, False

    def _told(self, error: ApiError) -> ApiError:
        self.running = False
        return self.marked(error)

    def partial(self) -> W:
        """The answer as far as it came."""
        self._join()
        return self._fold.whole()

    def _join(self) -> None:
        self._fold.add(self._unfolded)
        self._unfolded = []

    def broke(self, cause: ConnectionFailed) -> float:
        """Seconds to wait before the stream is picked up again.

        Raises:
            TimedOut: the caller's time is up.
            StreamInterruptedError: it cannot be picked up.
            StreamTruncatedError: it ended without its end, and cannot be picked up.
        """
        remaining = self.call.remaining()
        if remaining is not None and remaining <= 0:
            raise deadline_passed(self.call) from cause
        self._failures += 1
        if not self.path or self._failures > self.call.options.retry.attempts:
            if isinstance(cause, TimedOut) and not self._begun:
                raise self._late() from cause
            raise self.interrupted(cause) from cause
        if self._failures == 1:
            return 0.0
        retry = self.call.options.retry
        return random.uniform(0, min(retry.delay * 2 ** (self._failures - 2), retry.max_delay))

    def interrupted(self, cause: ApiError) -> ApiError:
        """The error of a stream that is lost, or of a call whose time is up."""
        if isinstance(cause, TimedOut) and cause.phase == "total":
            return cause
        remaining = self.call.remaining()
        if remaining is not None and remaining <= 0:
            # A library may bound its wait by the same time, and be the first to see it pass.
            return deadline_passed(self.call)
        self.running = False
        if isinstance(cause, StreamInterruptedError):
            return cause
        advice = (
            f"It could not be picked up again: {cause.message}"
            if self.path
            else f"This server cannot pick streams up. {cause.message}"
        )
        return self.marked(
            StreamInterruptedError(
                f"The stream broke off. {advice} What came is in `partial`.",
                partial=self.partial(),
            )
        )

    def marked(self, error: E) -> E:
        """The error, with what is known of the request."""
        error.attempts = self.info.attempts + self.info.resumes
        error.request_id = error.request_id or self.info.request_id
        return error

    def resuming(self) -> Call:
        """The call that picks the stream up behind the last event that came."""
        identity = self._decoder.last_id
        call = Call(
            method="GET",
            path=self.path,
            options=self.call.options,
            headers={**self.call.headers, **({"last-event-id": identity} if identity else {})},
            streamed=True,
            safe=True,
        )
        call.deadline = self.call.deadline
        return call

    def resumed(self, response: SyncResponse | AsyncResponse) -> None:
        """Go on with another answer of the server."""
        self.info.resumes += 1
        self._since = time.monotonic()
        identity = self._decoder.last_id
        self._decoder = ChunkDecoder(self._answers, response.headers)
        self._decoder.last_id = identity

    def cancelling(self) -> Call:
        """The call that tells the server to stop."""
        return Call(
            method="DELETE",
            path=f"/streams/{quote(self.id)}",
            options=self.call.options,
            headers=self.call.headers,
            safe=True,
        )

    def over(self) -> None:
        """Note the time: the stream is closed."""
        if self.info.total_seconds is None:
            self.info.total_seconds = time.monotonic() - self.call.started


def unfinished(error: Exception | None, partial: Any) -> StreamInterruptedError:
    """The error of asking a stream for its whole answer when it was closed before its end."""
    failure = StreamInterruptedError(
        "The stream was closed before its end, so there is no whole answer. What came is in "
        "`partial`.",
        partial=partial,
    )
    failure.__cause__ = error
    return failure
