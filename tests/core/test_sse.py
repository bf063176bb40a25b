"""Proves that events survive their framing, however the bytes are split, and that bounds hold."""

import re
from collections.abc import Iterator

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inferneo_core.sse import (
    DONE,
    KEEP_ALIVE,
    Event,
    EventDecoder,
    EventTooLarge,
    encode_data,
    encode_event,
    encode_numbered,
)

BOM = b"\xef\xbb\xbf"

# What the format gives a meaning, and text around it, so that examples are dense in corner cases.
PIECES = st.sampled_from(
    [
        *(b"\r", b"\n", b"\r\n", b"\n\n", b"\r\n\r\n", b":", b" ", b"\0", BOM, b"\xff", b"\xc3"),
        *(b"data", b"data:", b"data: ", b"event: ", b"id: ", b"id:a\0b", b"retry: ", b"12"),
        *(b"x", "é€😀".encode(), b"comment", b"other: 1"),
    ]
)
STREAMS = st.lists(PIECES, max_size=40).map(b"".join)
TEXT = st.text(st.one_of(st.sampled_from("\n\r: \0\ufeff\x85"), st.characters(codec="utf-8")))
SENDABLE = st.text(st.characters(codec="utf-8", exclude_characters="\n\r\0"))


def decode(*pieces: bytes) -> list[Event]:
    decoder = EventDecoder()
    return [event for piece in pieces for event in decoder.feed(piece)]


def specified(stream: bytes) -> Iterator[Event]:
    """The source's algorithm on a whole stream, as plainly as it can be written."""
    *lines, _ = re.split(r"\r\n|\n|\r", stream.removeprefix(BOM).decode("utf-8", "replace"))
    data: list[str] = []
    event, last_id, retry = "", "", None
    for line in lines:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if not line:
            if data:
                yield Event(data="\n".join(data), event=event or "message", id=last_id, retry=retry)
            data, event, retry = [], "", None
        elif name == "data":
            data.append(value)
        elif name == "event":
            event = value
        elif name == "id" and "\0" not in value:
            last_id = value
        elif name == "retry" and re.fullmatch("[0-9]{1,18}", value):
            retry = int(value)


@settings(deadline=None, max_examples=300)
@given(STREAMS, st.data())
def test_any_split_of_the_bytes_gives_the_same_events(stream: bytes, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=12)))
    pieces = [
        stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)
    ]

    assert decode(*pieces) == decode(stream)


@settings(deadline=None, max_examples=300)
@given(STREAMS)
def test_bytes_fed_one_by_one_give_what_the_specification_says(stream: bytes) -> None:
    assert decode(*(bytes([byte]) for byte in stream)) == list(specified(stream))


@settings(deadline=None)
@given(
    st.builds(
        Event,
        data=TEXT,
        event=SENDABLE.filter(bool),
        id=SENDABLE,
        retry=st.none() | st.integers(0, 10**18 - 1),
    )
)
def test_an_event_arrives_as_sent_but_for_its_line_breaks(event: Event) -> None:
    arrived = Event(
        data=event.data.replace("\r\n", "\n").replace("\r", "\n"),
        event=event.event,
        id=event.id,
        retry=event.retry,
    )

    assert decode(encode_event(event)) == [arrived]


@settings(deadline=None)
@given(st.lists(TEXT, max_size=8))
def test_events_sent_one_after_another_arrive_in_order(texts: list[str]) -> None:
    events = [Event(data=text, id=str(number + 1)) for number, text in enumerate(texts)]
    stream = b"".join(encode_event(event) for event in events)

    assert [event.id for event in decode(stream)] == [event.id for event in events]


@settings(deadline=None)
@given(TEXT.filter(lambda text: not set("\n\r") & set(text)))
def test_a_payload_without_a_line_break_arrives_as_one_plain_event(text: str) -> None:
    framed = encode_data(text.encode())

    assert framed == encode_event(Event(data=text))
    assert decode(framed) == [Event(data=text)]


def test_the_constants_are_framed_as_the_protocol_wants_them() -> None:
    assert encode_data(DONE) == b"data: [DONE]\n\n"
    assert decode(KEEP_ALIVE) == []


@pytest.mark.parametrize("value", ["a\nb", "a\rb", "a\0b"])
@pytest.mark.parametrize("field", ["event", "id"])
def test_a_type_or_an_id_that_the_format_cannot_carry_is_refused(field: str, value: str) -> None:
    with pytest.raises(ValueError, match="no line break and no NUL"):
        encode_event(msgspec.structs.replace(Event(data=""), **{field: value}))


@pytest.mark.parametrize("end", [b"\n", b"\r", b"\r\n"])
def test_each_kind_of_line_end_ends_a_line(end: bytes) -> None:
    stream = end.join([b"event: a", b"data: 1", b"data: 2", b"", b""])

    assert decode(stream) == [Event(data="1\n2", event="a")]


def test_line_ends_may_be_mixed() -> None:
    assert decode(b"data: 1\rdata: 2\ndata: 3\r\n\r") == [Event(data="1\n2\n3")]


def test_a_crlf_that_is_split_between_two_feeds_is_one_line_end() -> None:
    assert decode(b"data: 1\r", b"\ndata: 2\r", b"", b"\n\r", b"\n") == [Event(data="1\n2")]


def test_an_event_is_given_with_the_byte_that_ends_it() -> None:
    decoder = EventDecoder()

    assert decoder.feed(b"data: 1\r") == []
    assert decoder.feed(b"\r") == [Event(data="1")]
    assert decoder.feed(b"\n") == []


def test_only_the_first_byte_order_mark_of_a_stream_is_dropped() -> None:
    assert decode(BOM + b"data: 1\n\n") == decode(b"\xef", b"\xbb", b"\xbfdata: 1\n\n")
    assert decode(BOM + b"data: 1\n\n") == [Event(data="1")]
    assert decode(BOM + BOM + b"data: 1\n\ndata: 2\n\n") == [Event(data="2")]
    assert decode(b"data: 1\n\n" + BOM + b"data: 2\n\n") == [Event(data="1")]


def test_comments_and_unknown_fields_are_passed_over() -> None:
    stream = b": hello\n:\nother: 1\nDATA: 2\ndata: 3\n:data: 4\n\n"

    assert decode(stream) == [Event(data="3")]


@pytest.mark.parametrize("rest", [b"", b"data: 2", b"data: 2\n", b"data: 2\r\n", b"event: x\n"])
def test_an_event_without_its_blank_line_is_dropped(rest: bytes) -> None:
    assert decode(b"data: 1\n\n" + rest) == [Event(data="1")]


def test_a_block_without_data_is_no_event_and_leaves_no_type_behind() -> None:
    assert decode(b"event: a\nretry: 5\n\ndata: 1\n\n") == [Event(data="1")]


def test_empty_data_is_an_event() -> None:
    assert decode(b"data\n\ndata:\n\ndata:\ndata:\n\n") == [
        Event(data=""),
        Event(data=""),
        Event(data="\n"),
    ]


def test_only_one_space_behind_the_colon_is_dropped() -> None:
    assert decode(b"data:  a \n\ndata:b\n\n") == [Event(data=" a "), Event(data="b")]


def test_an_id_stays_until_another_comes() -> None:
    stream = b"id: 7\ndata: 1\n\ndata: 2\n\nid: 8\n\ndata: 3\n\nid\ndata: 4\n\n"

    assert [event.id for event in decode(stream)] == ["7", "7", "8", ""]


def test_an_id_with_a_nul_is_ignored() -> None:
    assert decode(b"id: 1\nid: 2\x003\ndata: a\n\n") == [Event(data="a", id="1")]


@pytest.mark.parametrize("value", ["", "-1", "1.5", "x", "1 ", "²", "٣"])
def test_a_retry_that_is_not_all_digits_is_ignored(value: str) -> None:
    assert decode(f"retry: {value}\ndata: a\n\n".encode()) == [Event(data="a")]


def test_a_retry_of_absurd_length_breaks_nothing() -> None:
    events = decode(b"retry: " + b"9" * 5000 + b"\ndata: a\n\n")

    assert [event.data for event in events] == ["a"]


def test_invalid_utf_8_is_replaced_and_ends_nothing() -> None:
    assert decode(b"data: a\xffb\xc3\n\ndata: \xe2\x82", b"\xac\n\n") == [
        Event(data="a\ufffdb\ufffd"),
        Event(data="€"),
    ]


def test_an_event_of_just_the_allowed_size_passes() -> None:
    decoder = EventDecoder(max_event_bytes=20)
    line = b"data: " + b"x" * 14

    assert decoder.feed(line + b"\n\n" + line + b"\n\n") == [Event(data="x" * 14)] * 2


def test_a_line_that_is_too_long_is_refused_with_and_without_its_end() -> None:
    for end in (b"", b"\n", b"\n\n"):
        with pytest.raises(EventTooLarge, match="more than 20 bytes"):
            EventDecoder(max_event_bytes=20).feed(b"data: " + b"x" * 15 + end)


def test_many_short_lines_that_make_one_event_too_large_are_refused() -> None:
    decoder = EventDecoder(max_event_bytes=100)

    with pytest.raises(EventTooLarge):
        for _ in range(17):
            decoder.feed(b"data: 1\n")


def test_an_endless_line_in_small_pieces_is_refused_at_the_bound() -> None:
    decoder = EventDecoder(max_event_bytes=1000)
    for _ in range(100):
        assert decoder.feed(b"x" * 10) == []

    with pytest.raises(EventTooLarge):
        decoder.feed(b"x")


def test_a_long_stream_of_small_events_never_outgrows_the_bound() -> None:
    decoder = EventDecoder(max_event_bytes=40)

    assert sum(len(decoder.feed(KEEP_ALIVE + b"data: 1\r\n\r\n")) for _ in range(1000)) == 1000


def test_a_numbered_payload_is_framed_with_its_streams_name_and_its_number() -> None:
    assert encode_numbered(b"cmpl-1", 0, b"{}") == b"id: cmpl-1:0\ndata: {}\n\n"


@given(
    st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1),
    st.lists(st.dictionaries(st.text(), st.text(), max_size=3), max_size=5),
    st.integers(0, 10**12),
)
def test_numbered_payloads_are_decoded_with_the_id_that_a_client_goes_on_by(
    name: str, payloads: list[dict[str, str]], first: int
) -> None:
    encoded = [msgspec.json.encode(payload) for payload in payloads]
    stream = b"".join(
        encode_numbered(name.encode(), first + at, payload) for at, payload in enumerate(encoded)
    )

    assert decode(stream) == [
        Event(data=payload.decode(), id=f"{name}:{first + at}")
        for at, payload in enumerate(encoded)
    ]
