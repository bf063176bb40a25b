"""Receives the bytes of one reply and their times; hands on the answer, each event checked."""

from bisect import bisect_left
from typing import Literal

import msgspec
from msgspec import Struct

from bench.answers import Answer, WrongAnswer
from bench.client import Reply


class _Usage(Struct):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class _Delta(Struct):
    content: str | None = None
    role: str | None = None


class _ChunkChoice(Struct):
    index: Literal[0]
    delta: _Delta
    finish_reason: str | None = None


class _Chunk(Struct):
    id: str
    object: Literal["chat.completion.chunk"]
    created: int
    model: str
    choices: list[_ChunkChoice]
    usage: _Usage | None = None


class _Message(Struct):
    role: Literal["assistant"]
    content: str


class _Choice(Struct):
    index: Literal[0]
    message: _Message
    finish_reason: str


class _Completion(Struct):
    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[_Choice]
    usage: _Usage


_DECODE_CHUNK = msgspec.json.Decoder(_Chunk).decode
_DECODE_COMPLETION = msgspec.json.Decoder(_Completion).decode


class _Body(Struct):
    """The body of a reply, and for each of its pieces (end in the body, end on the wire)."""

    data: bytes
    ends: list[tuple[int, int]]


def read_stream(reply: Reply) -> Answer:
    """Reads a stream of chat completion chunks.

    Raises:
        WrongAnswer: the status, the framing, an event or the end of the stream is wrong.
    """
    wire, body = _body(reply)
    clock = _Clock(reply)
    texts: list[str] = []
    arrivals: list[int] = []
    usage: _Usage | None = None
    finish_reason: str | None = None
    ids: set[str] = set()
    for end, data in _events(body.data):
        try:
            chunk = _DECODE_CHUNK(data)
        except msgspec.MsgspecError as error:
            raise WrongAnswer(f"Not a chunk ({error}): {data[:300]!r}") from error
        ids.add(chunk.id)
        usage = chunk.usage or usage
        for choice in chunk.choices:
            finish_reason = choice.finish_reason or finish_reason
            if choice.delta.content:
                texts.append(choice.delta.content)
                arrivals.append(clock.when(_on_wire(body, end)))
    if len(ids) != 1 or usage is None:
        raise WrongAnswer(f"A stream with {len(ids)} ids and usage {usage}: {wire[-300:]!r}")
    return Answer(
        prompt=reply.prompt,
        started=reply.started,
        ended=reply.reads[-1][0],
        arrivals=sorted(set(arrivals)),
        events=len(arrivals),
        tokens=usage.completion_tokens,
        prompt_tokens=usage.prompt_tokens,
        text="".join(texts),
        finish_reason=finish_reason,
    )


def read_unary(reply: Reply) -> Answer:
    """Reads one chat completion.

    Raises:
        WrongAnswer: the status, the framing or the object is wrong.
    """
    _, body = _body(reply)
    try:
        completion = _DECODE_COMPLETION(body.data)
    except msgspec.MsgspecError as error:
        raise WrongAnswer(f"Not a completion ({error}): {body.data[:300]!r}") from error
    if len(completion.choices) != 1:
        raise WrongAnswer(f"Not one choice: {body.data[:300]!r}")
    choice = completion.choices[0]
    ended = reply.reads[-1][0]
    return Answer(
        prompt=reply.prompt,
        started=reply.started,
        ended=ended,
        arrivals=[ended],
        events=1,
        tokens=completion.usage.completion_tokens,
        prompt_tokens=completion.usage.prompt_tokens,
        text=choice.message.content,
        finish_reason=choice.finish_reason,
    )


def _events(body: bytes) -> list[tuple[int, bytes]]:
    """Splits a body into its events, without the `[DONE]` that must end it: (end, data)."""
    events: list[tuple[int, bytes]] = []
    position = 0
    for event in body.split(b"\n\n"):
        position += len(event) + 2
        if event.startswith(b"data: "):
            events.append((position, event[6:]))
        elif event and not event.startswith(b":"):
            raise WrongAnswer(f"Not an event with data: {event[:300]!r}")
    if not events or events[-1][1] != b"[DONE]" or not body.endswith(b"\n\n"):
        raise WrongAnswer(f"A stream that does not end with [DONE]: {body[-300:]!r}")
    return events[:-1]


def _body(reply: Reply) -> tuple[bytes, _Body]:
    wire = b"".join(data for _, data in reply.reads)
    head, _, rest = wire.partition(b"\r\n\r\n")
    if head.split(b" ", 2)[1:2] != [b"200"]:
        raise WrongAnswer(f"Not a 200: {wire[:500]!r}")
    start = len(head) + 4
    if b"\r\ntransfer-encoding: chunked" in head.lower():
        try:
            return wire, _unchunk(wire, start)
        except ValueError as error:
            raise WrongAnswer(f"Not well chunked ({error}): {wire[:500]!r}") from error
    return wire, _Body(data=rest, ends=[(len(rest), len(wire))])


def _unchunk(wire: bytes, position: int) -> _Body:
    pieces: list[bytes] = []
    ends: list[tuple[int, int]] = []
    total = 0
    while True:
        line_end = wire.index(b"\r\n", position)
        size = int(wire[position:line_end], 16)
        position = line_end + 2 + size
        if size == 0:
            break
        pieces.append(wire[line_end + 2 : position])
        total += size
        ends.append((total, position))
        position += 2
    if wire[position:] != b"\r\n":
        raise WrongAnswer(f"Bytes after the last chunk: {wire[position:][:300]!r}")
    return _Body(data=b"".join(pieces), ends=ends)


def _on_wire(body: _Body, end: int) -> int:
    """Tells where on the wire an event ends that ends in the body at `end`."""
    piece_end, wire_end = body.ends[bisect_left(body.ends, (end, 0))]
    return wire_end - (piece_end - end)


class _Clock:
    """Tells when a byte of a reply had come."""

    def __init__(self, reply: Reply) -> None:
        self._times = [time for time, _ in reply.reads]
        self._ends: list[int] = []
        total = 0
        for _, data in reply.reads:
            total += len(data)
            self._ends.append(total)

    def when(self, position: int) -> int:
        return self._times[bisect_left(self._ends, position)]
