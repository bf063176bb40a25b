"""Receives events or bytes; hands on bytes or events: server-sent events, incremental both ways.

Source: https://html.spec.whatwg.org/multipage/server-sent-events.html, section 9.2.6.
"""

import re
from typing import Final

from msgspec import Struct

DONE: Final = b"[DONE]"
KEEP_ALIVE: Final = b": keep-alive\n\n"
MAX_EVENT_BYTES: Final = 16 * 1024 * 1024

_END_OF_LINE = re.compile(rb"\r\n|\n|\r")
_NAME_AT = len(b'{"type":"')
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
# Longer than any time; int() itself refuses a few thousand digits.
_RETRY = re.compile(r"[0-9]{1,18}")


class Event(Struct, frozen=True, kw_only=True):
    """One server-sent event. `id` is the last one that the stream gave, `retry` is in ms."""

    data: str
    event: str = "message"
    id: str = ""
    retry: int | None = None


class EventTooLarge(ValueError):
    """An event outgrew the bound of its decoder."""


def encode_data(payload: bytes) -> bytes:
    """Frame one payload that has no line break, as JSON has none: the path of every token."""
    return b"data: " + payload + b"\n\n"


def encode_numbered(stream_id: bytes, number: int, payload: bytes) -> bytes:
    """Frame one payload as `encode_data` does, with the id `<stream id>:<number>`."""
    return b"id: %b:%d\ndata: %b\n\n" % (stream_id, number, payload)


def encode_name(payload: bytes) -> bytes:
    """The line that names an event by the type that its JSON begins with: `{"type":"<name>"`."""
    return b"event: " + payload[_NAME_AT : payload.index(b'"', _NAME_AT)] + b"\n"


def encode_named(payload: bytes) -> bytes:
    """Frame one payload as `encode_data` does, behind its name."""
    return encode_name(payload) + b"data: " + payload + b"\n\n"


def encode_event(event: Event) -> bytes:
    """Frame any event; a line break in the data (LF, CR or CRLF) arrives as LF.

    Raises:
        ValueError: the type or the id holds a line break or a NUL, which the format cannot carry.
    """
    if _unsendable(event.event) or _unsendable(event.id):
        raise ValueError("The type and the id of an event take no line break and no NUL")
    lines = []
    if event.event != "message":
        lines.append(f"event: {event.event}")
    if event.id:
        lines.append(f"id: {event.id}")
    if event.retry is not None:
        lines.append(f"retry: {event.retry}")
    lines += [f"data: {line}" for line in re.split(r"\r\n|\n|\r", event.data)]
    return ("\n".join(lines) + "\n\n").encode()


def _unsendable(value: str) -> bool:
    return any(character in value for character in "\n\r\0")


class EventDecoder:
    """Turns bytes, split anywhere, into events.

    An event is only given once its blank line has come: what a broken connection leaves behind is
    dropped, as the source demands.
    """

    def __init__(self, *, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self._max_event_bytes = max_event_bytes
        self._tail: list[bytes] = []
        self._tail_bytes = 0
        self._after_carriage_return = False
        self._at_start = True
        self._last_id = ""
        self._data: list[str] = []
        self._event = ""
        self._retry: int | None = None
        self._size = 0

    def feed(self, data: bytes) -> list[Event]:
        """Take the next bytes and give the events that they complete.

        Raises:
            EventTooLarge: an event, finished or not, has more bytes than allowed. The stream is
                lost with it, and what the same bytes completed before.
        """
        if self._after_carriage_return and data:
            # The line ended with the CR; an LF right behind it belongs to the same line end.
            data = data.removeprefix(b"\n")
            self._after_carriage_return = False
        if not data:
            return []
        self._after_carriage_return = data.endswith(b"\r")
        *ended, unended = _END_OF_LINE.split(data)
        events = []
        for line in ended:
            if self._tail:
                line = b"".join([*self._tail, line])
                self._tail, self._tail_bytes = [], 0
            if event := self._take(line):
                events.append(event)
        # Kept in pieces: joining on each feed would cost the square of a long line.
        self._tail.append(unended)
        self._tail_bytes += len(unended)
        self._check_size()
        return events

    def _take(self, line: bytes) -> Event | None:
        if self._at_start:
            self._at_start = False
            line = line.removeprefix(_BYTE_ORDER_MARK)
        if not line:
            return self._dispatch()
        self._size += len(line)
        self._check_size()
        name, _, value = line.decode("utf-8", "replace").partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            self._data.append(value)
        elif name == "event":
            self._event = value
        elif name == "id" and "\0" not in value:
            self._last_id = value
        elif name == "retry" and _RETRY.fullmatch(value):
            self._retry = int(value)
        return None

    def _dispatch(self) -> Event | None:
        data, event, retry = self._data, self._event, self._retry
        self._clear()
        if not data:
            return None
        return Event(data="\n".join(data), event=event or "message", id=self._last_id, retry=retry)

    def _clear(self) -> None:
        self._data = []
        self._event = ""
        self._retry = None
        self._size = 0

    def _check_size(self) -> None:
        if self._size + self._tail_bytes > self._max_event_bytes:
            raise EventTooLarge(f"An event has more than {self._max_event_bytes} bytes")
