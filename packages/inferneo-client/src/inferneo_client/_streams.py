"""Receives a call's open answer; hands on the stream that a caller iterates: the sync flavour."""

import contextlib
from collections.abc import Callable, Iterator
from threading import Lock
from types import TracebackType
from typing import TYPE_CHECKING, Generic, Self, TypeVar

from msgspec.structs import replace

from inferneo_client._errors import ConnectionFailed, StreamTruncatedError
from inferneo_client._options import Timeout
from inferneo_client._reading import Reading, unfinished
from inferneo_client._transport import SyncResponse
from inferneo_client.types.answer import Answer
from inferneo_client.types.response import ResponseInfo
from inferneo_core.errors import ApiError

if TYPE_CHECKING:
    from inferneo_client._sync import Inferneo

C = TypeVar("C", bound=Answer)
W = TypeVar("W")

CANCEL_TIMEOUT = Timeout(connect=1.0, pool=1.0, ttft=2.0, total=2.0)


class Stream(Generic[C, W]):
    """A streamed answer: iterate it for its chunks.

    It resumes by itself where the server can. Leaving the loop or the `with` block frees the
    connection at once, and tells the server to stop.

    Attributes:
        response: how the answer came: headers, request id, attempts, times.
    """

    def __init__(
        self,
        client: "Inferneo",
        reading: Reading[C, W],
        response: SyncResponse,
        texts: Callable[[list[C]], list[str]],
    ) -> None:
        self._client = client
        self._reading = reading
        self._answer = response
        self._texts = texts
        self._chunks: Iterator[C] | None = None
        self._closed = False
        # Held while a thread receives: another one that cancels must not close what it reads.
        self._receiving = Lock()

    @property
    def response(self) -> ResponseInfo:
        """How the answer came."""
        return self._reading.info

    @property
    def id(self) -> str:
        """What `client.streams` knows the generation by; empty where it cannot be resumed."""
        return self._reading.id

    @property
    def cancelled(self) -> bool:
        """Whether `cancel` was called."""
        return self._reading.cancelled

    @property
    def partial(self) -> W:
        """The answer as far as it came."""
        return self._reading.partial()

    def __iter__(self) -> Iterator[C]:
        """Give the chunks as they come.

        Raises:
            StreamInterruptedError: the stream broke and could not be resumed.
            StreamTruncatedError: it ended without its end.
            ApiError: the server ended it with an error.
        """
        return self._each(lambda chunks: chunks)

    def __next__(self) -> C:
        self._chunks = self._chunks or iter(self)
        return next(self._chunks)

    def text_deltas(self) -> Iterator[str]:
        """Give the new text of the first choice, and nothing else. Raises as iteration does."""
        return self._each(self._texts)

    def _each(self, convert: "Callable[[list[C]], list[T]]") -> "Iterator[T]":
        try:
            while not self._over():
                for item in convert(self._receive()):
                    yield item
                    if self._reading.cancelled:
                        return
        finally:
            self.close()

    def _over(self) -> bool:
        return self._closed or self._reading.whole or self._reading.cancelled

    def _receive(self) -> list[C]:
        """Wait for the next chunks; none where the stream is over."""
        reading = self._reading
        while not reading.whole:
            try:
                reading.patience()
                with self._receiving:
                    data = self._answer.receive()
                if chunks := reading.feed(data):
                    return chunks
            except (ConnectionFailed, StreamTruncatedError) as cause:
                if reading.cancelled:
                    return []
                self._resume(cause)
            except ApiError:
                if reading.cancelled:
                    return []
                raise
        return []

    def _resume(self, cause: ConnectionFailed) -> None:
        reading = self._reading
        pause = reading.broke(cause)
        self._answer.close()
        self._client._pause(pause)
        try:
            self._answer = self._client._open(reading.resuming())
        except ApiError as error:
            raise reading.interrupted(error) from error
        reading.resumed(self._answer)

    def final(self) -> W:
        """Read to the end and give the whole answer, its tool calls joined.

        Raises:
            StreamInterruptedError: the stream was closed or cancelled before its end.
            ApiError: as iteration raises.
        """
        for _ in self:
            pass
        if not self._reading.whole:
            raise unfinished(None, self.partial)
        return self.partial

    def cancel(self) -> None:
        """Stop the generation, from any thread: the server is told, and iteration ends."""
        reading = self._reading
        if reading.cancelled or self._closed:
            return
        # All may have come, and not all been given.
        reading.cancelled = True
        if reading.whole:
            return
        self._answer.abort()
        self._tell()
        if self._receiving.acquire(blocking=False):
            try:
                self._finish()
            finally:
                self._receiving.release()

    def close(self) -> None:
        """Free the connection; where the stream has not ended, the server is told to stop."""
        if self._closed:
            return
        self._closed = True
        reading = self._reading
        if reading.whole:
            self._drain()
        self._finish()
        if reading.running and not reading.cancelled:
            self._tell()

    def _drain(self) -> None:
        """Read the body's own end too, so that the connection can be used again."""
        with contextlib.suppress(ConnectionFailed):
            while self._answer.receive():
                pass

    def _finish(self) -> None:
        self._reading.over()
        self._answer.close()

    def _tell(self) -> None:
        if self._reading.path:
            call = self._reading.cancelling()
            call.options = replace(call.options, timeout=CANCEL_TIMEOUT)
            with contextlib.suppress(ApiError):
                self._client._exchange(call)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


T = TypeVar("T")
