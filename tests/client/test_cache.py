"""What is answered from a cache, what never is, and how several processes share a directory."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trio

from inferneo_client import (
    ApiError,
    AsyncInferneo,
    Cache,
    DirectoryCache,
    Inferneo,
    MemoryCache,
    StreamTruncatedError,
)
from inferneo_client._transport import WireRequest
from inferneo_client.transports.cached import cache_key
from tests.client.proxy import Fault, faulty_proxy
from tests.client.recorded import EVENTS, TEXT, WHOLE, delta
from tests.client.recorded import chunk as chunk_of
from tests.client.scripted import ScriptedServer, sse, whole

SECONDS = 60.0
MESSAGES = [{"role": "user", "content": "hi"}]
Ask = Callable[..., Any]
KEY = "ab" * 32


@pytest.fixture(params=["memory", "directory"])
def cache(request: pytest.FixtureRequest, tmp_path: Path) -> Cache:
    return MemoryCache() if request.param == "memory" else DirectoryCache(tmp_path / "kept")


def _sync(url: str, cache: Cache, **params: Any) -> Any:
    with Inferneo(base_url=url, cache=cache, max_retries=0) as client:
        answer = client.chat.completions.create(messages=MESSAGES, **params)
        return answer.final() if params.get("stream") else answer


async def _async(url: str, cache: Cache, params: dict[str, Any]) -> Any:
    async with AsyncInferneo(base_url=url, cache=cache, max_retries=0) as client:
        answer: Any = await client.chat.completions.create(messages=MESSAGES, **params)
        return await answer.final() if params.get("stream") else answer


@pytest.fixture(params=["sync", "asyncio", "trio"])
def ask(request: pytest.FixtureRequest) -> Ask:
    """One question, sync, on asyncio or on trio."""
    if request.param == "sync":
        return _sync
    if request.param == "trio":
        return lambda url, cache, **params: trio.run(_async, url, cache, params)
    return lambda url, cache, **params: asyncio.run(_async(url, cache, params))


@pytest.fixture
def answering(ours: ScriptedServer) -> Iterator[Callable[[bytes], ScriptedServer]]:
    """A server that answers every question with the same bytes."""

    def answer(raw: bytes) -> ScriptedServer:
        ours.answer = raw
        return ours

    yield answer
    ours.answer = None


@pytest.mark.parametrize("fixed", [{"temperature": 0}, {"temperature": 0.0}, {"seed": 7}])
@pytest.mark.parametrize("stream", [False, True])
def test_the_same_question_is_asked_once(
    ask: Ask, ours: ScriptedServer, cache: Cache, fixed: dict[str, Any], stream: bool
) -> None:
    first = ask(ours.url, cache, stream=stream, **fixed)
    second = ask(ours.url, cache, stream=stream, **fixed)

    assert ours.generations == 1
    assert second.choices == first.choices
    assert second.choices[0].message.content == TEXT
    assert second.usage == first.usage


def test_an_answer_tells_that_it_was_kept(ours: ScriptedServer, cache: Cache) -> None:
    told = [_sync(ours.url, cache, seed=1).response.headers.get("inferneo-cache") for _ in range(2)]

    assert told == [None, "hit"]


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"temperature": 0.7},
        {"seed": None},
        {"temperature": 0, "extra_headers": {"Cache-Control": "no-store"}},
    ],
)
def test_what_may_be_another_answer_each_time_is_asked_each_time(
    ask: Ask, ours: ScriptedServer, cache: Cache, params: dict[str, Any]
) -> None:
    for _ in range(2):
        ask(ours.url, cache, **params)

    assert ours.generations == 2


@pytest.mark.parametrize(
    "other",
    [
        {"temperature": 0, "max_tokens": 5},
        {"temperature": 0, "model": "b"},
        {"temperature": 0, "seed": 1},
        {"temperature": 0, "stream": True},
        {"temperature": 0, "extra_headers": {"x-tenant": "b"}},
    ],
)
def test_another_question_is_asked(
    ask: Ask, ours: ScriptedServer, cache: Cache, other: dict[str, Any]
) -> None:
    ask(ours.url, cache, temperature=0)
    ask(ours.url, cache, **other)

    assert ours.generations == 2


def test_what_one_key_was_answered_is_not_given_to_another(
    ours: ScriptedServer, cache: Cache
) -> None:
    for key in ("a", "b", "a"):
        with Inferneo(base_url=ours.url, api_key=key, cache=cache) as client:
            client.chat.completions.create(messages=MESSAGES, seed=1)

    assert ours.generations == 2


def test_embeddings_are_always_the_same() -> None:
    request = WireRequest(method="POST", url="http://h/v1/embeddings", headers={}, content=b"{}")
    assert cache_key(request)
    assert cache_key(WireRequest(method="GET", url=request.url, headers={}, content=b"{}")) is None


def choice_that_ended(reason: str) -> bytes:
    return WHOLE.replace(b'"finish_reason": "tool_calls"', f'"finish_reason": "{reason}"'.encode())


@pytest.mark.parametrize(
    "raw",
    [
        whole(500, b'{"error": {"message": "no"}}'),
        whole(429, b'{"error": {"message": "later"}}'),
        whole(200, b'{"error": {"message": "no"}}'),
        whole(200, b'{"choices": []}'),
        whole(200, choice_that_ended("error")),
        whole(200, choice_that_ended("abort")),
        whole(200, b"<html>welcome</html>", content_type="text/html"),
        whole(200, WHOLE)[:-10],
    ],
    ids=["500", "429", "error in 200", "no choices", "error", "abort", "html", "cut"],
)
def test_what_is_no_sound_answer_is_never_kept(
    ask: Ask, answering: Callable[[bytes], ScriptedServer], cache: Cache, raw: bytes
) -> None:
    server = answering(raw)
    for _ in range(2):
        try:
            ask(server.url, cache, seed=1)
        except ApiError:
            continue

    assert server.generations == 2


def stream_of(*events: bytes) -> bytes:
    return sse(b"".join(b"data: " + event + b"\n\n" for event in events))


ERROR = b'{"error": {"message": "no", "code": "server_error"}}'


@pytest.mark.parametrize(
    "raw",
    [
        stream_of(*EVENTS),
        stream_of(*EVENTS[:5]),
        stream_of(*EVENTS[:5], b"[DONE]"),
        stream_of(*EVENTS[:5], ERROR),
        stream_of(*EVENTS[:5], ERROR, b"[DONE]"),
        stream_of(*EVENTS[:5], chunk_of([delta(finish_reason="abort")]), b"[DONE]"),
    ],
    ids=["no DONE", "cut", "no finish reason", "error", "error and DONE", "abort"],
)
def test_a_stream_that_broke_or_failed_is_never_kept(
    ask: Ask, answering: Callable[[bytes], ScriptedServer], cache: Cache, raw: bytes
) -> None:
    server = answering(raw)
    for _ in range(2):
        try:
            ask(server.url, cache, seed=1, stream=True)
        except ApiError:
            continue

    assert server.generations == 2


def test_a_stream_that_was_left_or_resumed_is_not_kept(ours: ScriptedServer, cache: Cache) -> None:
    with (
        Inferneo(base_url=ours.url, cache=cache) as client,
        client.chat.completions.create(messages=MESSAGES, seed=1, stream=True) as stream,
    ):
        next(stream)
    with faulty_proxy(ours.port) as proxy:
        for _ in range(2):
            proxy.faults.append(Fault("cut", at=900))
            with Inferneo(base_url=proxy.url, cache=cache) as client:
                created = client.chat.completions.create(messages=MESSAGES, seed=1, stream=True)
                assert created.final().choices[0].message.content == TEXT
                assert created.response.resumes == 1

    assert ours.generations == 3


def test_a_truncated_stream_says_so_with_a_cache_too(other: ScriptedServer, cache: Cache) -> None:
    other.answer = stream_of(*EVENTS[:5])
    try:
        with pytest.raises(StreamTruncatedError):
            _sync(other.url, cache, seed=1, stream=True)
    finally:
        other.answer = None


def test_memory_keeps_what_was_used_last_within_its_bound() -> None:
    cache = MemoryCache(max_bytes=30)
    for name in ("a", "b", "c"):
        cache.put(name, name.encode() * 10)
    assert cache.get("a") == b"a" * 10
    cache.put("d", b"d" * 10)

    assert [cache.get(name) is not None for name in "abcd"] == [True, False, True, True]
    assert (len(cache), cache.bytes) == (3, 30)
    cache.put("d", b"d")
    cache.put("e", b"e" * 31)
    assert (len(cache), cache.bytes, cache.get("e")) == (3, 21, None)


@pytest.mark.parametrize("kind", [MemoryCache, lambda max_bytes: DirectoryCache("x", max_bytes)])
def test_a_cache_without_room_is_refused(kind: Any) -> None:
    with pytest.raises(ValueError, match="max_bytes is 0"):
        kind(max_bytes=0)


def test_a_directory_is_read_by_other_objects_and_is_its_owners_alone(tmp_path: Path) -> None:
    DirectoryCache(tmp_path / "a" / "b").put(KEY, b"value")

    assert DirectoryCache(tmp_path / "a" / "b").get(KEY) == b"value"
    assert (tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o700
    assert {file.stat().st_mode & 0o777 for file in (tmp_path / "a" / "b").iterdir()} == {0o600}


@pytest.mark.parametrize("kept", [0, 10, 32, 36])
def test_a_file_that_is_not_sound_counts_as_none(tmp_path: Path, kept: int) -> None:
    cache = DirectoryCache(tmp_path)
    cache.put(KEY, b"value")
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:kept])

    assert cache.get(KEY) is None
    cache.put(KEY, b"value")
    assert cache.get(KEY) == b"value"


def test_a_directory_that_is_gone_breaks_no_call(ours: ScriptedServer, tmp_path: Path) -> None:
    cache = DirectoryCache(tmp_path / "kept")
    (tmp_path / "kept").rmdir()

    assert _sync(ours.url, cache, seed=1).choices
    assert _sync(ours.url, cache, seed=1).choices
    assert ours.generations == 2


def test_a_directory_loses_what_was_not_used_for_longest(tmp_path: Path) -> None:
    cache = DirectoryCache(tmp_path, max_bytes=1000)
    for number in range(20):
        cache.put(f"{number:02}", bytes(100))
        os.utime(tmp_path / f"{number:02}.answer", (number, number))
    (tmp_path / "old.part").write_bytes(bytes(10))
    os.utime(tmp_path / "old.part", (1, 1))
    (tmp_path / "other").write_bytes(bytes(5000))
    cache.put("last", bytes(100))

    names = sorted(file.name for file in tmp_path.iterdir())
    assert names == [*(f"{number}.answer" for number in range(14, 20)), "last.answer", "other"]


HAMMER = """
import sys
from inferneo_client import DirectoryCache

cache = DirectoryCache(sys.argv[1], max_bytes=10_000)
for turn in range(300):
    key = f"{turn % 7:064x}"
    value = key.encode() * 40
    found = cache.get(key)
    assert found in (None, value), (key, found)
    cache.put(key, value)
"""


def test_several_processes_share_a_directory(tmp_path: Path) -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", HAMMER, str(tmp_path)], stderr=subprocess.PIPE, text=True
        )
        for _ in range(4)
    ]
    told = [process.communicate(timeout=SECONDS)[1] for process in processes]

    assert told == [""] * 4
    assert [process.returncode for process in processes] == [0] * 4
    assert not list(tmp_path.glob("*.part"))


def test_the_answers_of_a_batch_are_kept_too(ours: ScriptedServer, cache: Cache) -> None:
    requests = [{"messages": MESSAGES, "seed": number % 2} for number in range(6)]
    with Inferneo(base_url=ours.url, cache=cache) as client:
        client.batch(requests, concurrency=1)

    assert ours.generations == 2
