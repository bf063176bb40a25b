"""Receives the bytes of a stream, split anywhere; hands on its chunks and its end."""

from collections.abc import Mapping
from typing import Generic, TypeVar

import msgspec

from inferneo_client._errors import InvalidAnswer, event_error, invalid_answer
from inferneo_client.types.answer import Answer, AnswerDecoder
from inferneo_core.errors import ApiError
from inferneo_core.sse import DONE, MAX_EVENT_BYTES, EventDecoder, EventTooLarge

C = TypeVar("C", bound=Answer)

_DATA = b"data: "


class ChunkDecoder(Generic[C]):
    """Turns the bytes of one HTTP answer into chunks.

    Most servers write `data: {...}`, perhaps a name and an `id` above it, and a blank line. That is
    decoded here, straight from the bytes; the first event of any other form hands the rest of the
    stream to the decoder of the whole standard.

    Attributes:
        last_id: the id of the last event, where the server gives ids.
        done: the stream has said that it is whole.
        error: what the stream ended with; chunks that came before it are given all the same.
    """

    def __init__(self, answers: AnswerDecoder[C], headers: Mapping[str, str]) -> None:
        self._answers = answers
        self._decode = answers.decode_exact
        self._headers = headers
        self._tail = b""
        self._standard: EventDecoder | None = None
        self.last_id = ""
        self.done = False
        self.error: ApiError | None = None

    def feed(self, data: bytes) -> list[C]:
        """Take the next bytes, and give the chunks that they complete."""
        if (
            data[:7] == b"data: {"
            and data.find(b"\n") == len(data) - 2
            and data[-1:] == b"\n"
            and not (self._tail or self.done or self._standard)
        ):
            # One event by itself, whose line ends are white space to a JSON decoder: the path of
            # every token of a server that writes them one by one.
            try:
                return [self._decode(data[6:])]
            except msgspec.MsgspecError:
                pass  # the end, an error, or a chunk that needs more patience
        if self._standard is not None:
            return self._feed_standard(self._standard, data)
        if self._tail:
            data = self._tail + data
        *events, self._tail = data.split(b"\n\n")
        chunks: list[C] = []
        for position, event in enumerate(events):
            if event[:7] == b"data: {" and b"\n" not in event and not self.done:
                try:
                    chunks.append(self._decode(event[6:]))
                    continue
                except msgspec.MsgspecError:
                    pass
            if not self._feed_usual(event, chunks):
                rest = b"".join([event + b"\n\n" for event in events[position:]]) + self._tail
                return chunks + self._change_over(rest)
        if len(self._tail) > MAX_EVENT_BYTES:
            self.error = InvalidAnswer("An event of the stream is too large")
        elif b"\r" in self._tail:
            chunks += self._change_over(self._tail)
        return chunks

    def _feed_usual(self, event: bytes, chunks: list[C]) -> bool:
        """Take an event of the usual form; False where it has another."""
        identity = b""
        if event[:7] == b"event: ":
            # The names of events are not needed here: their data says what they are.
            event = event.partition(b"\n")[2]
        if event[:4] == b"id: ":
            identity, _, event = event[4:].partition(b"\n")
        elif event[:1] == b":" and b"\n" not in event:
            return b"\r" not in event
        if event[:6] != _DATA or b"\n" in event or b"\r" in event:
            return False
        if identity:
            self.last_id = identity.decode("utf-8", "replace")
        if not self.done:
            self._take(event[6:], chunks)
        return True

    def _change_over(self, rest: bytes) -> list[C]:
        """Give what was not decoded yet, and all that comes, to the decoder of the standard."""
        self._standard = EventDecoder()
        self._tail = b""
        return self._feed_standard(self._standard, rest)

    def _feed_standard(self, standard: EventDecoder, data: bytes) -> list[C]:
        chunks: list[C] = []
        try:
            for event in standard.feed(data):
                self.last_id = event.id or self.last_id
                self._take(event.data.encode(), chunks)
        except EventTooLarge as error:
            self.error = InvalidAnswer(f"The stream is not readable: {error}")
        return chunks

    def _take(self, document: bytes, chunks: list[C]) -> None:
        try:
            chunks.append(self._answers.decode_exact(document))
        except msgspec.MsgspecError:
            self._take_unusual(document.strip(), chunks)

    def _take_unusual(self, document: bytes, chunks: list[C]) -> None:
        """Take the end, an error, or a chunk that needs more patience."""
        if self.done or self.error is not None or not document:
            return
        if document == DONE:
            self.done = True
            return
        try:
            value = msgspec.json.decode(document)
            if isinstance(value, dict):
                self.error = event_error(value, self._headers)
            if self.error is None:
                chunks.append(self._answers.convert(value))
        except (ValueError, RecursionError):
            self.error = invalid_answer(200, self._headers, document)
