"""Proves that stored responses are bounded in count, size and time, and belong to their owner."""

import pytest

from inferneo_core.errors import ResponseNotFound
from inferneo_core.responses import ReasoningConfig, Response, TextConfig
from inferneo_server.response_store import ResponseStore, StoredResponse

OWNER = "one"


class Clock:
    """A time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def stored(size: int = 10, owner: str = OWNER) -> StoredResponse:
    response = Response(
        id="resp_1",
        created_at=0,
        status="completed",
        model="m",
        reasoning=ReasoningConfig(),
        text=TextConfig(),
    )
    return StoredResponse(owner=owner, items=(), items_bytes=size, response=lambda: response)


def kept(store: ResponseStore, *names: str) -> list[str]:
    return [name for name in names if store.peek(name, OWNER)]


def test_the_oldest_go_where_there_are_too_many() -> None:
    store = ResponseStore(max_count=2)
    for name in ("a", "b", "c"):
        store.put(name, stored())
    assert kept(store, "a", "b", "c") == ["b", "c"]
    assert (len(store), store.bytes) == (2, 20)


def test_the_oldest_go_where_they_are_too_large() -> None:
    store = ResponseStore(max_bytes=100)
    store.put("a", stored(40))
    store.put("b", stored(40))
    store.end("b", 30)
    assert kept(store, "a", "b") == ["b"]
    assert store.bytes == 70


def test_one_that_is_too_large_alone_is_not_kept() -> None:
    store = ResponseStore(max_bytes=100)
    store.put("a", stored(10))
    store.put("b", stored(101))
    assert (kept(store, "a", "b"), store.bytes) == ([], 0)


def test_the_end_of_one_that_is_gone_changes_nothing() -> None:
    store = ResponseStore()
    store.put("a", stored(10))
    store.remove("a", OWNER)
    store.end("a", 1000)
    assert (len(store), store.bytes) == (0, 0)


def test_its_time_is_over() -> None:
    clock = Clock()
    store = ResponseStore(seconds=10, clock=clock)
    store.put("a", stored())
    clock.now = 6
    store.put("b", stored())
    clock.now = 9.9
    assert kept(store, "a", "b") == ["a", "b"]
    clock.now = 10
    assert kept(store, "a", "b") == ["b"]
    clock.now = 16
    assert (kept(store, "a", "b"), store.bytes) == ([], 0)


def test_another_owner_finds_nothing() -> None:
    store = ResponseStore()
    store.put("a", stored())
    for look in (store.find, store.remove):
        with pytest.raises(ResponseNotFound) as error:
            look("a", "two")
        assert (error.value.status, error.value.code) == (404, "response_not_found")
    assert store.find("a", OWNER)
