"""Proves which events a log holds, and that it never gives some in place of others."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inferneo_core.errors import EventsDropped
from inferneo_server.generation import Log

STEPS = st.lists(st.lists(st.binary(max_size=40), max_size=4), max_size=40)


def filled(max_bytes: int, *steps: list[bytes]) -> Log:
    log = Log(max_bytes)
    for step in steps:
        log.append(step)
    return log


def test_events_are_numbered_from_0_in_their_order() -> None:
    log = filled(1000, [b"a", b"b"], [], [b"c"])

    assert (log.first, log.count, log.bytes) == (0, 3, 3)
    assert [log.since(number) for number in range(4)] == [
        [b"a", b"b", b"c"],
        [b"b", b"c"],
        [b"c"],
        [],
    ]


def test_the_oldest_events_go_when_there_are_too_many_bytes() -> None:
    log = filled(10, [b"aaaa", b"bbbb"], [b"cccc"])

    assert (log.first, log.count, log.bytes) == (1, 3, 8)
    assert log.since(1) == [b"bbbb", b"cccc"]


def test_what_fills_the_log_just_to_its_bound_stays() -> None:
    assert filled(8, [b"aaaa"], [b"bbbb"]).first == 0
    assert filled(7, [b"aaaa"], [b"bbbb"]).first == 1


@pytest.mark.parametrize("wanted", [0, 1])
def test_who_wants_a_dropped_event_is_told_which_are_there(wanted: int) -> None:
    log = filled(10, [b"a" * 6], [b"b" * 6], [b"c" * 6])

    with pytest.raises(EventsDropped, match=f"Event {wanted} .*oldest that is there is 2$") as told:
        log.since(wanted)
    assert (told.value.status, told.value.code) == (410, "stream_truncated")


def test_an_event_larger_than_the_log_is_kept_alone() -> None:
    log = filled(10, [b"a"], [b"b" * 50])

    assert (log.first, log.since(1)) == (1, [b"b" * 50])


def test_a_log_that_is_not_kept_holds_the_last_step() -> None:
    log = filled(0, [b"a"], [b"b", b"c"])

    assert (log.first, log.count, log.bytes) == (1, 3, 0)
    assert log.since(1) == [b"b", b"c"]
    assert log.since(3) == []
    with pytest.raises(EventsDropped):
        log.since(0)


@pytest.mark.parametrize("max_bytes", [0, 1000])
def test_what_was_read_does_not_change_when_more_is_written(max_bytes: int) -> None:
    log = filled(max_bytes, [b"a", b"b"])
    read = log.since(0)
    log.append([b"c"])

    assert read == [b"a", b"b"]


def test_what_was_read_does_not_change_when_it_is_dropped() -> None:
    log = filled(10, [b"aaaa", b"bbbb"])
    read = log.since(0)
    log.append([b"cccc"])

    assert read == [b"aaaa", b"bbbb"]


@given(STEPS, st.integers(1, 100))
def test_a_log_holds_an_unbroken_end_of_all_events_within_its_bound(
    steps: list[list[bytes]], max_bytes: int
) -> None:
    log = Log(max_bytes)
    written: list[bytes] = []
    for step in steps:
        before = log.first
        log.append(step)
        written += step
        kept = written[log.first :]

        assert log.count == len(written)
        assert log.bytes == sum(map(len, kept))
        assert log.bytes <= max_bytes or len(kept) == 1
        for number in range(log.first, log.count + 1):
            assert log.since(number) == written[number:]
        for number in range(log.first):
            with pytest.raises(EventsDropped):
                log.since(number)
        if log.first > before:
            # With one event fewer gone, it would hold more than it makes room for.
            assert log.bytes + len(written[log.first - 1]) > max_bytes * 7 // 8
