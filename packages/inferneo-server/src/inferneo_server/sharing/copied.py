"""Receives what another replica writes of its generation; hands it on to the readers here."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from inferneo_core import messages, native
from inferneo_core.codec import encode
from inferneo_core.errors import ApiError, EngineUnavailable, ServerError
from inferneo_core.usage import Usage
from inferneo_server.access.identity import Identity
from inferneo_server.answers.messages import MessagesForm
from inferneo_server.answers.native import NativeForm
from inferneo_server.answers.responses import ResponseForm
from inferneo_server.generation import Log, Terms
from inferneo_server.sharing.records import About, Ending

_ending = msgspec.msgpack.Decoder(Ending)


class Copy:
    """What a Generation is to its readers, of one that another replica works on.

    Args:
        about: which one.
        log_bytes: how much of its log is kept here.
        stop: has the other replica end it, for a reason.

    Attributes:
        lost: whether no end of it will ever come.
    """

    # It is charged where it is written.
    spend = None

    def __init__(self, about: About, log_bytes: int, stop: Callable[["Copy", str], None]) -> None:
        self.about = about
        self.log = Log(log_bytes)
        self.form = CopiedForm(about, self.log)
        self.terms = Terms(
            identity=Identity(owner=about.owner),
            resume_for=about.resume_for,
            idempotency_key=about.idempotency_key,
        )
        self.readers = 0
        self.ended = False
        self.error: ApiError | None = None
        self.lost = False
        self.usage_event: int | None = None
        self._stop = stop
        self._news = asyncio.Event()

    @property
    def id(self) -> str:
        """The id of the answer, and of the stream."""
        return self.about.id

    def take(self, entries: Sequence[tuple[bytes, Mapping[bytes, bytes]]]) -> None:
        """Add entries of its stream in Redis, which follow those that are here."""
        for name, fields in entries:
            number = int(name.partition(b"-")[2]) - 1
            ((kind, value),) = fields.items()
            if number > self.log.count:
                # Those in between were dropped before they came over.
                self.log.skip(number)
            if kind == b"end":
                self._end(_ending.decode(value))
                break
            if kind == b"usage":
                self.usage_event = number
            self.log.append([value])
        self._tell()

    def _end(self, ending: Ending) -> None:
        self.form.ending = ending
        self.error = self.form.error = ending.fault.error() if ending.fault else None
        self.ended = True

    def lose(self, why: str) -> None:
        """End it here, as far as it has come."""
        if not self.ended:
            self.ended = self.lost = True
            self.error = EngineUnavailable(why, retry_after=1)
            self._tell()

    def _tell(self) -> None:
        self._news.set()
        self._news = asyncio.Event()

    async def advance(self) -> None:
        """Wait until the log has grown, or the generation has ended."""
        await self._news.wait()

    async def settled(self) -> None:
        """Nothing to wait for: the end came over once it was settled."""

    async def stop(self, error: ApiError) -> None:
        """Have it ended for all its readers; they get the error once that is so."""
        if not self.ended:
            self._stop(self, error.message)

    def whole(self) -> bytes:
        """The whole answer, encoded; for a generation that has ended well.

        Raises:
            ServerError: the other replica could not tell it.
        """
        if self.form.ending is None or not self.form.ending.whole:
            raise ServerError("The server failed on this request")
        return self.form.ending.whole

    def usage(self) -> Usage:
        """Tokens read and written; zero where no end has come."""
        if self.form.ending is None:
            return Usage(prompt_tokens=0, completion_tokens=0, total_tokens=0)
        return self.form.ending.usage


class CopiedForm:
    """The form of a Copy. Its events are worded already, but for what goes wrong here."""

    def __init__(self, about: About, log: Log) -> None:
        self.id = about.id
        self.model = about.model
        self.named = about.named
        self.done = about.done
        self.ending: Ending | None = None
        self.error: ApiError | None = None
        self._kind = about.form
        self._log = log

    def end(self, error: ApiError | None) -> bytes:
        """What a stream ends with, behind its events."""
        if self.ending is not None and error is self.error:
            return self.ending.last
        assert error is not None
        return encode(self._words(error))

    def _words(self, error: ApiError) -> Any:
        match self._kind:
            case NativeForm.__name__:
                return native.error_body(error)
            case MessagesForm.__name__:
                return messages.error_body(error)
            case ResponseForm.__name__:
                told = {"code": error.code, "message": error.message, "param": None}
                return {"type": "error", "sequence_number": self._log.count, **told}
        return error.body()
