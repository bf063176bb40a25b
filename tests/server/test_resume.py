"""Proves that a generation is found again by its id, and gone on with behind any event of it."""

import pytest

from inferneo_core.errors import Cancelled, EventsDropped, InvalidRequest, StreamNotFound
from inferneo_server.access.identity import Identity
from inferneo_server.generation import Terms
from inferneo_server.streams import Reader, Streams
from tests.server.services import (
    KEPT,
    FedStream,
    begin,
    leave,
    read_texts,
    run_quickly,
    settle,
    texts,
)


async def written(streams: Streams, stream: FedStream, *, owner: str = "") -> Reader:
    """A reader that has read four events, 0 to 3."""
    reader = await begin(
        streams, stream, terms=Terms(identity=Identity(owner=owner), resume_for=60)
    )
    for text in "0123":
        stream.give(text)
        assert texts(await reader.read()) == [text]
    return reader


@pytest.mark.parametrize("after", range(-1, 5))
def test_a_finished_generation_is_gone_on_with_behind_any_event_and_its_end(after: int) -> None:
    async def work() -> None:
        stream, streams = FedStream(), Streams()
        reader = await written(streams, stream)
        stream.end()
        assert await reader.read() == []
        again = streams.resume(reader.generation.id, "", after)

        assert await read_texts(again) == [*"0123"][after + 1 :]
        assert again.position == 4
        assert again.generation.error is None
        await leave(streams, reader, again)

    run_quickly(work())


@pytest.mark.parametrize("after", range(-1, 4))
def test_a_running_generation_is_gone_on_with_behind_any_event(after: int) -> None:
    async def work() -> None:
        stream, streams = FedStream(), Streams()
        reader = await written(streams, stream)
        again = streams.resume(reader.generation.id, "", after)
        stream.give("4")
        stream.end()

        assert await read_texts(again) == [*"01234"][after + 1 :]
        await leave(streams, reader, again)

    run_quickly(work())


@pytest.mark.parametrize(
    ("ended", "after"),
    [(False, 4), (False, 5), (False, -2), (True, 5), (True, 10**17), (True, -2)],
)
def test_an_event_that_has_not_been_yet_is_refused(ended: bool, after: int) -> None:
    async def work() -> None:
        stream, streams = FedStream(), Streams()
        reader = await written(streams, stream)
        if ended:
            stream.end()
            await reader.read()
        with pytest.raises(InvalidRequest, match="There is no event") as told:
            streams.resume(reader.generation.id, "", after)

        assert (told.value.status, told.value.param) == (400, "after")
        assert reader.generation.readers == 1
        await leave(streams, reader)

    run_quickly(work())


def test_who_wants_what_is_no_longer_kept_is_told_so_and_others_are_not_disturbed() -> None:
    async def work() -> None:
        stream, streams = FedStream(), Streams(log_bytes=1024)
        reader = await begin(streams, stream, terms=KEPT)
        for number in range(40):
            stream.give(str(number))
            await reader.read()
        name, first = reader.generation.id, reader.generation.log.first
        await reader.aclose()
        await stream.asked.wait()
        for after in (-1, 0, first - 2):
            with pytest.raises(EventsDropped):
                streams.resume(name, "", after)
        stream.give("on")  # its keeper goes on
        await settle()
        again = streams.resume(name, "", first - 1)

        assert texts(await again.read()) == [str(number) for number in range(first, 40)] + ["on"]
        await leave(streams, again)

    run_quickly(work())


def test_only_its_owner_finds_a_generation_or_ends_it() -> None:
    async def work() -> None:
        stream, streams = FedStream(), Streams()
        reader = await written(streams, stream, owner="ann")
        name = reader.generation.id
        for stream_id, owner in ((name, "bob"), (name, ""), ("cmpl-0", "ann"), ("", "ann")):
            with pytest.raises(StreamNotFound):
                streams.find(stream_id, owner)
            with pytest.raises(StreamNotFound):
                streams.resume(stream_id, owner, -1)
            with pytest.raises(StreamNotFound):
                await streams.cancel(stream_id, owner)
        assert not reader.generation.ended

        assert streams.find(name, "ann") is reader.generation
        await streams.cancel(name, "ann")
        assert stream.closed
        assert isinstance(reader.generation.error, Cancelled)
        await leave(streams, reader)

    run_quickly(work())


def test_a_generation_that_is_not_kept_is_found_by_nobody() -> None:
    async def work() -> None:
        stream, streams = FedStream(), Streams()
        reader = await begin(streams, stream)
        with pytest.raises(StreamNotFound):
            streams.find(reader.generation.id, "")
        await leave(streams, reader)

    run_quickly(work())


def test_a_cancelled_generation_can_be_read_to_where_it_was_ended() -> None:
    async def work() -> None:
        stream, streams = FedStream(), Streams()
        reader = await written(streams, stream)
        await streams.cancel(reader.generation.id, "")
        late = streams.resume(reader.generation.id, "", 1)

        assert await read_texts(late) == ["2", "3"]
        assert isinstance(late.generation.error, Cancelled)
        await leave(streams, reader, late)

    run_quickly(work())
