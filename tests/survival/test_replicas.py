"""Proves that a generation of one server can be read, repeated and ended at another one."""

import asyncio
import contextlib
import itertools
import os
import random
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from redis import Redis

from tests.integration.waiting import wait_running, wait_until
from tests.redis_server import running_redis
from tests.survival.clients import WAYS, Progress, receive_once
from tests.survival.counts import written
from tests.survival.proxy import Proxy, random_cuts
from tests.survival.replicas import (
    ANN,
    BOB,
    KEYED,
    SECONDS,
    Replicas,
    begin,
    events,
    frames,
    last_id,
    read,
    running_replicas,
)

CHAT = "/v1/chat/completions"
TEXT = "/v1/completions"
MESSAGE: dict[str, Any] = {"messages": [{"role": "user", "content": "Count the words again"}]}
PROMPT: dict[str, Any] = {"prompt": "Count the words"}
ROUTES: dict[str, tuple[str, dict[str, Any]]] = {
    "chat": (CHAT, {**MESSAGE, "max_tokens": 60, "stream_options": {"include_usage": True}}),
    "text": (TEXT, {**PROMPT, "max_tokens": 60}),
    "messages": ("/v1/messages", {**MESSAGE, "model": "inferneo-tiny", "max_tokens": 60}),
    "responses": ("/v1/responses", {"input": "Count the words", "max_output_tokens": 60}),
}
LONG = {**PROMPT, "max_tokens": 9000, "ignore_eos": True}
SHORT = {**PROMPT, "max_tokens": 30, "ignore_eos": True}
GENERATIONS = 80
CAMPAIGN_SECONDS = 120.0
NEVER = -1  # what Redis says of a key that does not expire
each_route = pytest.mark.parametrize(("path", "body"), ROUTES.values(), ids=ROUTES)
_names = itertools.count()


@pytest.fixture(scope="module")
def redis_url() -> Iterator[str]:
    """A Redis in which nobody else writes."""
    with running_redis() as url:
        yield url


@pytest.fixture(scope="module")
def replicas(redis_url: str) -> Iterator[Replicas]:
    """Two servers that have nothing to complain of."""
    with running_replicas(redis_url, "--repeat-seconds=60") as both:
        yield both
    assert not any("ERROR" in each.log for each in both), both


def key() -> str:
    return f"key-{next(_names)}"


def post(server: Any, body: dict[str, Any], key: str, who: dict[str, str] = ANN) -> httpx.Response:
    headers = {**who, "idempotency-key": key, "inferneo-resume-for": "20"}
    return httpx.post(f"{server.url}{TEXT}", json=body, headers=headers, timeout=SECONDS)


@each_route
def test_a_stream_that_was_cut_goes_on_at_another_replica(
    replicas: Replicas, path: str, body: dict[str, Any]
) -> None:
    stream, seen = begin(replicas.first, path, body, events=12, inferneo_resume_for="20")
    by_header = events(read(replicas.second, stream, last_event_id=last_id(seen)))
    by_query = events(read(replicas.second, f"{stream}?after={last_id(seen).rpartition(':')[2]}"))

    whole = events(read(replicas.first, stream))
    assert seen + by_header == seen + by_query == whole
    assert events(read(replicas.second, stream)) == whole
    # 204, but where the last event is the end itself.
    ends = [read(each, stream, last_event_id=last_id(whole)) for each in replicas]
    assert ends[0].status_code == ends[1].status_code == (200 if b"event:" in whole else 204)
    assert ends[0].content == ends[1].content


@each_route
def test_a_whole_answer_is_given_by_another_replica_once_it_is_there(
    replicas: Replicas, path: str, body: dict[str, Any]
) -> None:
    stream, _ = begin(replicas.first, path, body, events=3, inferneo_resume_for="20")
    answers = [
        read(each, stream, accept="application/json")
        for each in (replicas.second, replicas.first, replicas.second)
    ]
    assert [answer.status_code for answer in answers] == [200] * 3
    assert len({answer.content for answer in answers}) == 1
    assert answers[0].json()["id"] in stream


@pytest.mark.parametrize("route", ["chat", "text"])
def test_a_socket_of_another_replica_resumes_a_stream(replicas: Replicas, route: str) -> None:
    path, body = ROUTES[route]
    stream, seen = begin(replicas.first, path, body, events=12, inferneo_resume_for="20")
    after = int(last_id(seen).rpartition(":")[2])

    told = frames(replicas.second, path, stream, after=after)
    assert [frame["seq"] for frame in told[:-1]] == [*range(after + 1, after + len(told))]
    assert told == frames(replicas.first, path, stream, after=after)
    (whole,) = frames(replicas.second, path, stream, stream=False)
    assert [whole] == frames(replicas.first, path, stream, stream=False)
    assert told[-1]["usage"] == whole["usage"]


def test_an_event_that_has_not_been_yet_is_refused(replicas: Replicas) -> None:
    stream, _ = begin(replicas.first, TEXT, SHORT, inferneo_resume_for="20")
    assert read(replicas.second, stream, accept="application/json").status_code == 200
    assert read(replicas.second, f"{stream}?after=5000").status_code == 400


@pytest.mark.parametrize("by_key", [False, True], ids=["by its id", "by its key"])
def test_a_generation_is_ended_at_another_replica(replicas: Replicas, by_key: bool) -> None:
    name = key()
    terms = {"inferneo_resume_for": "20", "idempotency_key": name}
    stream, seen = begin(replicas.first, TEXT, LONG, events=5, **terms)
    wait_running(replicas.first, 1)

    path, headers = ("/v1/streams", {"idempotency-key": name}) if by_key else (stream, {})
    url = f"{replicas.second.url}{path}"
    ended = httpx.delete(url, headers={**ANN, **headers}, timeout=SECONDS)
    assert ended.status_code == 200
    assert ended.json() == {"id": stream.rpartition("/")[2], "object": "stream.cancelled"}

    wait_running(replicas.first, 0)
    for each in replicas:
        rest = events(read(each, stream, last_event_id=last_id(seen)))
        assert b'"code":"cancelled"' in rest and b"[DONE]" not in rest
        assert read(each, stream, accept="application/json").status_code == 499


def test_a_repeat_joins_the_generation_of_another_replica(replicas: Replicas) -> None:
    name, before = key(), written(replicas.second)
    terms = {"inferneo_resume_for": "20", "idempotency_key": name}
    begin(replicas.first, TEXT, SHORT, events=2, **terms)
    body = {**SHORT, "stream": True}

    running, finished = (post(replicas.second, body, name) for _ in range(2))
    here = post(replicas.first, body, name)
    assert running.content == finished.content == here.content
    assert running.headers["inferneo-replayed"] == "true"
    assert b"data: [DONE]" in running.content
    refused = post(replicas.second, {**SHORT, "max_tokens": 3}, name)
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "idempotency_conflict")
    assert written(replicas.second) == before


def test_replicas_that_are_asked_at_the_same_moment_begin_one_generation(
    replicas: Replicas,
) -> None:
    async def ask(http: httpx.AsyncClient, number: int, name: str) -> str:
        headers = {**ANN, "idempotency-key": name}
        url = f"{replicas[number % 2].url}{TEXT}"
        answer = await http.post(url, json={"prompt": "Count", "max_tokens": 8}, headers=headers)
        assert answer.status_code == 200, answer.text
        told: str = answer.json()["id"]
        return told

    async def work() -> list[set[str]]:
        async with httpx.AsyncClient(timeout=SECONDS) as http:
            return [
                set(await asyncio.gather(*(ask(http, number, name) for number in range(6))))
                for name in (key() for _ in range(20))
            ]

    begun = asyncio.run(work())
    assert [len(ids) for ids in begun] == [1] * 20
    assert len(set.union(*begun)) == 20


def test_a_generation_is_its_owners_alone_at_each_replica(redis_url: str) -> None:
    name = key()
    terms = {"inferneo_resume_for": "20", "idempotency_key": name}
    with running_replicas(redis_url, *KEYED) as replicas:
        stream, _ = begin(replicas.first, TEXT, SHORT, events=2, **terms)
        for method, each in itertools.product(("GET", "DELETE"), replicas):
            answer = httpx.request(method, f"{each.url}{stream}", headers=BOB)
            assert (answer.status_code, answer.json()["error"]["code"]) == (404, "stream_not_found")
        his = post(replicas.second, SHORT, name, BOB)
        assert his.status_code == 200 and his.json()["id"] not in stream
        assert "inferneo-replayed" not in his.headers
        assert events(read(replicas.second, stream)).endswith(b"[DONE]\n\n")


def test_the_work_goes_on_for_a_reader_elsewhere_and_ends_when_that_leaves(
    replicas: Replicas,
) -> None:
    stream, seen = begin(replicas.first, TEXT, LONG, events=2, inferneo_resume_for="1")
    url, headers = f"{replicas.second.url}{stream}", {**ANN, "last-event-id": last_id(seen)}
    with httpx.stream("GET", url, headers=headers, timeout=SECONDS) as answer:
        rest, parts = b"", answer.iter_raw()
        # Of a hundred in a second: it outlives its reader by one.
        while rest.count(b"id: ") < 400:
            rest += next(parts)
        assert replicas.first.metric("inferneo_choices_running") == 1
    wait_running(replicas.first, 0)
    wait_until(lambda: read(replicas.second, stream).status_code == 404)
    assert read(replicas.first, stream).status_code == 404


def test_what_is_neither_resumable_nor_keyed_is_in_no_store(
    replicas: Replicas, redis_url: str
) -> None:
    def names() -> set[bytes]:
        return {name for name in store.scan_iter() if b":replica:" not in name}

    store: Any = Redis.from_url(redis_url)
    with store:
        before = names()
        answer = httpx.post(f"{replicas.first.url}{TEXT}", json=SHORT, headers=ANN, timeout=SECONDS)
        assert answer.status_code == 200
        assert names() <= before


def test_what_is_stored_is_bounded_and_goes(replicas: Replicas, redis_url: str) -> None:
    answer = post(replicas.first, SHORT, key())
    stream = f"/v1/streams/{answer.json()['id']}"
    assert read(replicas.second, stream, accept="application/json").content == answer.content
    store: Any = Redis.from_url(redis_url)
    with store:
        names = [*store.scan_iter()]
        assert all(name.startswith(b"inferneo:streams:") for name in names)
        assert all(store.pttl(name) != NEVER for name in names)
        about = f"inferneo:streams:{answer.json()['id']}:about"
        assert 0 < store.pttl(about) <= 70_000


def test_a_reader_elsewhere_that_is_too_far_behind_is_told(redis_url: str) -> None:
    with running_replicas(redis_url, "--stream-log-bytes=4096") as replicas:
        body = {**SHORT, "max_tokens": 150}
        stream, _ = begin(replicas.first, TEXT, body, events=2, inferneo_resume_for="20")
        assert read(replicas.second, stream, accept="application/json").status_code == 200
        for each in replicas:
            gone = read(each, f"{stream}?after=0")
            assert (gone.status_code, gone.json()["error"]["code"]) == (410, "stream_truncated")
        store: Any = Redis.from_url(redis_url)
        with store:
            name = f"inferneo:streams:{stream.rpartition('/')[2]}:events"
            entries = store.xrange(name)
            kept = [fields[b"event"] for _, fields in entries if b"event" in fields]
        assert 0 < sum(map(len, kept)) <= 4096


def test_when_a_replica_dies_its_readers_are_told_and_what_it_finished_is_there(
    redis_url: str,
) -> None:
    with running_replicas(redis_url) as replicas:
        done = post(replicas.first, SHORT, key())
        finished = f"/v1/streams/{done.json()['id']}"
        assert read(replicas.second, finished, accept="application/json").content == done.content
        name = key()
        terms = {"inferneo_resume_for": "20", "idempotency_key": name}
        stream, seen = begin(replicas.first, TEXT, LONG, events=20, **terms)
        headers = {**ANN, "last-event-id": last_id(seen)}
        url = f"{replicas.second.url}{stream}"
        with httpx.stream("GET", url, headers=headers, timeout=SECONDS) as answer:
            parts = answer.iter_raw()
            rest = next(parts) + next(parts)
            replicas.first.process.kill()
            rest = b"".join([rest, *parts]).removeprefix(b"retry: 500\n\n")

        told = [
            int(line.rpartition(b":")[2])
            for line in (seen + rest).split(b"\n")
            if line[:2] == b"id"
        ]
        assert told == [*range(len(told))] and len(told) > 20
        assert b'"code":"engine_unavailable"' in rest and b"[DONE]" not in rest
        assert read(replicas.second, stream, accept="application/json").status_code == 503
        assert read(replicas.second, finished, accept="application/json").content == done.content
        # A repeat begins anew: what was lost is no answer.
        anew, _ = begin(replicas.second, TEXT, LONG, events=2, **terms)
        assert anew != stream
        httpx.delete(f"{replicas.second.url}{anew}", headers=ANN).raise_for_status()


def test_a_replica_that_stops_sees_what_is_read_elsewhere_to_its_end(redis_url: str) -> None:
    with running_replicas(redis_url) as replicas:
        body = {**SHORT, "max_tokens": 200}
        stream, seen = begin(replicas.first, TEXT, body, events=2, inferneo_resume_for="20")
        url, headers = f"{replicas.second.url}{stream}", {**ANN, "last-event-id": last_id(seen)}
        with httpx.stream("GET", url, headers=headers, timeout=SECONDS) as answer:
            parts = answer.iter_raw()
            rest = next(parts) + next(parts)
            replicas.first.process.terminate()
            rest = b"".join([rest, *parts])
        assert rest.endswith(b"data: [DONE]\n\n")
        assert replicas.first.process.wait(SECONDS) == 0
        whole = read(replicas.second, stream, accept="application/json")
        assert whole.json()["usage"]["completion_tokens"] == 200


def test_while_redis_is_away_each_replica_serves_by_itself() -> None:
    body = {**SHORT, "max_tokens": 200, "stream": True}
    with contextlib.ExitStack() as store:
        url = store.enter_context(running_redis())
        port = int(url.rpartition(":")[2].partition("/")[0])
        with running_replicas(url) as replicas:
            stream, seen = begin(replicas.first, TEXT, body, events=5, inferneo_resume_for="20")
            store.close()

            rest = events(read(replicas.first, stream, last_event_id=last_id(seen)))
            assert rest.endswith(b"data: [DONE]\n\n")
            name = key()
            answers = [post(replicas.first, body, name) for _ in range(2)]
            assert answers[0].content == answers[1].content
            assert answers[1].headers["inferneo-replayed"] == "true"
            elsewhere = read(replicas.second, stream)
            assert (elsewhere.status_code, elsewhere.headers["retry-after"]) == (503, "1")

            with running_redis(port):
                wait_until(lambda: all("streams_store is back" in each.log for each in replicas))
                # What was written meanwhile is there, too.
                known = answers[0].headers["inferneo-stream"]
                wait_until(lambda: read(replicas.second, known).status_code == 200)
                assert events(read(replicas.second, known)) == answers[0].content
                assert events(read(replicas.second, stream)) == seen + rest
                assert [each.log.count("ERROR") for each in replicas] == [1, 1]


async def _receive(both: Replicas, seed: int, number: int, body: dict[str, Any]) -> Progress:
    """Read a generation to its end, by connections to either replica that are cut."""
    chance = random.Random(f"{seed} {number}")
    progress = Progress(body, f"replicas-{seed}-{number}")
    cuts = iter(random_cuts(chance, chance.randint(3, 6), reach=1500))
    async with Proxy(both.first.url, cuts) as first, Proxy(both.second.url, cuts) as second:
        while not progress.ended:
            await receive_once(chance.choice((first, second)).url, progress, chance.choice(WAYS))
    return progress


def test_generations_are_whole_however_often_they_change_the_replica(redis_url: str) -> None:
    seed = int(os.environ.get("CHAOS_SEED", random.getrandbits(32)))
    print(f"CHAOS_SEED={seed}")  # pytest shows it where the test fails
    bodies = [
        {**(MESSAGE if number % 2 else PROMPT), "max_tokens": 20 + number % 7, "ignore_eos": True}
        for number in range(GENERATIONS)
    ]

    async def work(both: Replicas) -> list[Progress]:
        async with asyncio.timeout(CAMPAIGN_SECONDS):
            asked = (_receive(both, seed, number, body) for number, body in enumerate(bodies))
            return await asyncio.gather(*asked)

    with running_replicas(redis_url) as both:
        results = asyncio.run(work(both))
        # One generation for each request, and no token more.
        tokens = [sum(column) for column in zip(*map(written, both), strict=True)][1]
        assert tokens == sum(body["max_tokens"] for body in bodies)
        for body, progress in zip(bodies, results, strict=True):
            answer = httpx.post(f"{both.first.url}{progress.path}", json=body).json()
            choice = answer["choices"][0]
            assert progress.text == (choice.get("text") or choice["message"]["content"])
            assert progress.numbers == [*range(len(progress.numbers))]
            assert len(progress.finish_reasons) == 1
