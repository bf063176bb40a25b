"""The file of a batch: what a later run goes on with, after errors, kills and cuts."""

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from inferneo_client import ApiError, AsyncInferneo, Retry
from inferneo_client._batch_file import BatchFile
from inferneo_client.transports.httpcore import AsyncHttpcoreTransport
from tests.client.batches import REQUESTS, SECONDS, WAYS, Way, answers_in, run_sync, text
from tests.client.proxy import Fault, faulty_proxy
from tests.client.scripted import ScriptedServer
from tests.integration.waiting import wait_running
from tests.servers import RunningServer, running_server

WORDS = 32  # of an answer of the simulated engine


@pytest.fixture(params=WAYS, ids=lambda way: way.name)
def run(request: pytest.FixtureRequest) -> Callable[..., list[Any]]:
    """The same batch, sync, on asyncio and on trio."""
    way: Way = request.param
    return way.run


def test_a_second_run_sends_nothing_and_gives_the_same(
    run: Callable[..., list[Any]], ours: ScriptedServer, tmp_path: Path
) -> None:
    file = tmp_path / "batch.jsonl"
    first = run(ours.url, REQUESTS, file=file)
    second = run(ours.url, REQUESTS, file=file)

    assert ours.generations == len(REQUESTS)
    assert [answer.to_dict() | {"response": None} for answer in first] == [
        answer.to_dict() for answer in second
    ]


def test_more_requests_may_be_added(
    run: Callable[..., list[Any]], ours: ScriptedServer, tmp_path: Path
) -> None:
    run(ours.url, REQUESTS[:5], file=tmp_path / "b")

    assert len(run(ours.url, REQUESTS, file=tmp_path / "b")) == len(REQUESTS)
    assert ours.generations == len(REQUESTS)


def test_failed_requests_are_sent_again_under_their_old_keys(
    run: Callable[..., list[Any]], ours: ScriptedServer, tmp_path: Path
) -> None:
    with faulty_proxy(ours.port) as proxy:
        proxy.faults.append(Fault("lose"))
        first = run(proxy.url, REQUESTS, concurrency=1, on_error="return", file=tmp_path / "b")
    second = run(ours.url, REQUESTS, file=tmp_path / "b")
    keys = [head.headers["idempotency-key"] for head, _ in ours.requests if head.method == "POST"]

    assert [isinstance(answer, ApiError) for answer in first] == [True] + [False] * 11
    assert not any(isinstance(answer, ApiError) for answer in second)
    assert len(keys) == len(set(keys)) == ours.generations == len(REQUESTS)
    assert len({key.split("-")[1] for key in keys}) == 1
    assert {key.split("-")[2] for key in keys} == {str(n) for n in range(12)}


def test_an_answer_that_was_swallowed_is_joined_and_not_begun_again(
    run: Callable[..., list[Any]], ours: ScriptedServer, tmp_path: Path
) -> None:
    with faulty_proxy(ours.port) as proxy:
        proxy.faults.append(Fault("swallow"))
        first = run(proxy.url, REQUESTS[:1], on_error="return", file=tmp_path / "b")
    assert isinstance(first[0], ApiError)
    assert ours.generations == 1

    assert text(run(ours.url, REQUESTS[:1], file=tmp_path / "b")[0])
    assert ours.generations == 1


@pytest.mark.parametrize("kept", [0, 1, 10, 40, 60, 100, 400, -1, -20])
def test_a_line_that_was_cut_is_asked_for_again(
    ours: ScriptedServer, tmp_path: Path, kept: int
) -> None:
    file = tmp_path / "batch.jsonl"
    first = run_sync(ours.url, REQUESTS[:3], file=file)
    file.write_bytes(file.read_bytes()[:kept])
    whole = max(0, file.read_bytes().count(b"\n") - 1)
    ours.reset()

    again = run_sync(ours.url, REQUESTS[:3], file=file)

    assert [text(answer) for answer in again] == [text(answer) for answer in first]
    assert ours.generations == 3 - whole
    assert sorted(line["index"] for line in answers_in(file)) == [0, 1, 2]


def test_other_requests_are_not_answered_from_the_file(
    run: Callable[..., list[Any]], ours: ScriptedServer, tmp_path: Path
) -> None:
    file = tmp_path / "batch.jsonl"
    run(ours.url, REQUESTS, file=file)
    before = file.read_bytes()
    changed = [*REQUESTS[:7], {**REQUESTS[7], "temperature": 1}, *REQUESTS[8:]]

    with pytest.raises(ValueError, match="Request 7 is not the one"):
        run(ours.url, changed, file=file)
    assert file.read_bytes() == before


@pytest.mark.parametrize(
    "content", ["something else", '{"a": 1}\n', '{"inferneo_batch":2,"id":""}\n']
)
def test_another_file_is_left_as_it_is(tmp_path: Path, content: str) -> None:
    file = tmp_path / "precious"
    file.write_text(content)

    with pytest.raises(ValueError, match="is not the file of a batch"):
        run_sync("http://127.0.0.1:9/v1", REQUESTS, file=file)
    assert file.read_text() == content


def test_a_line_in_the_middle_that_is_no_answer_is_an_error(
    ours: ScriptedServer, tmp_path: Path
) -> None:
    file = tmp_path / "batch.jsonl"
    run_sync(ours.url, REQUESTS[:2], file=file)
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join([lines[0], b"{}\n", lines[2]]))

    with pytest.raises(ValueError, match=f"no answer, at byte {len(lines[0])}"):
        run_sync(ours.url, REQUESTS[:2], file=file)


def test_a_file_serves_one_batch_at_a_time(ours: ScriptedServer, tmp_path: Path) -> None:
    file = tmp_path / "batch.jsonl"
    other = BatchFile(file)
    with pytest.raises(BlockingIOError, match="Another batch"):
        run_sync(ours.url, REQUESTS, file=file)
    other.close()

    assert len(run_sync(ours.url, REQUESTS, file=file)) == len(REQUESTS)


def test_answers_over_several_lines_are_kept_on_one(ours: ScriptedServer, tmp_path: Path) -> None:
    body = json.dumps({"choices": [{"message": {"content": "a\n b"}}]}, indent=2).encode()
    ours.answer = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n" + body
    try:
        run_sync(ours.url, REQUESTS[:2], file=tmp_path / "b")
    finally:
        ours.answer = None

    assert [text(answer) for answer in run_sync(ours.url, REQUESTS[:2], file=tmp_path / "b")] == [
        "a\n b",
        "a\n b",
    ]


# Tells of each answer that came, so that it can be killed between two.
KILLED = r"""
import sys
from inferneo_client import Inferneo
from inferneo_client.transports.httpcore import HttpcoreTransport

url, file = sys.argv[1:]
requests = [{"messages": [{"role": "user", "content": f"word {n}"}]} for n in range(12)]

class Telling(HttpcoreTransport):
    def exchange(self, request):
        response = super().exchange(request)
        sys.stdout.write("answer\n")
        sys.stdout.flush()
        return response

with Inferneo(base_url=url, http_client=Telling(url)) as client:
    answers = client.batch(requests, concurrency=3, file=file)
    print(len(answers), flush=True)
"""


@pytest.fixture(scope="module")
def paced_server() -> Iterator[RunningServer]:
    """Takes a moment for each answer, so that some are under way whenever a client is killed."""
    with running_server("--engine=simulated", "--engine-args=token_seconds=0.02") as server:
        yield server


def start(paced_server: RunningServer, file: Path) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", KILLED, f"{paced_server.url}/v1", str(file)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def test_a_killed_process_goes_on_where_it_was_and_nothing_is_done_twice(
    paced_server: RunningServer, tmp_path: Path
) -> None:
    file = tmp_path / "batch.jsonl"
    before = paced_server.metric("inferneo_completion_tokens_total")
    for _ in range(2):
        with start(paced_server, file) as killed:
            assert killed.stdout is not None
            # Of three at once: so at least one is in the file.
            for _ in range(4):
                assert killed.stdout.readline() == "answer\n"
            killed.kill()
        assert killed.returncode == -9
    answered = len([line for line in file.read_bytes().splitlines(keepends=True)[1:]])
    assert 2 <= answered < len(REQUESTS)

    with start(paced_server, file) as last:
        told, _ = last.communicate(timeout=SECONDS)

    lines = told.splitlines()
    assert lines == ["answer"] * (len(lines) - 1) + [str(len(REQUESTS))]
    assert sorted(line["index"] for line in answers_in(file)) == list(range(len(REQUESTS)))
    # What was under way when the client was killed was joined, not written a second time.
    written = paced_server.metric("inferneo_completion_tokens_total") - before
    assert written == len(REQUESTS) * WORDS


def test_ctrl_c_ends_a_sync_batch_at_once_and_leaves_a_sound_file(
    paced_server: RunningServer, tmp_path: Path
) -> None:
    file = tmp_path / "batch.jsonl"
    with start(paced_server, file) as stopped:
        assert stopped.stdout is not None
        for _ in range(4):
            assert stopped.stdout.readline() == "answer\n"
        stopped.send_signal(signal.SIGINT)
        assert stopped.wait(SECONDS) == -signal.SIGINT

    assert 0 < len(answers_in(file)) < len(REQUESTS)


def test_cancelled_it_cancels_what_is_under_way(
    paced_server: RunningServer, tmp_path: Path
) -> None:
    async def leave() -> None:
        long = [
            {**given, "max_tokens": 4000, "extra_body": {"ignore_eos": True}} for given in REQUESTS
        ]
        url, retry = f"{paced_server.url}/v1", Retry(resume_for=0)
        transport = AsyncHttpcoreTransport(url)
        async with AsyncInferneo(base_url=url, retry=retry, http_client=transport) as client:
            await asyncio.wait_for(client.batch(long, file=tmp_path / "b"), 0.5)

    with pytest.raises(TimeoutError):
        asyncio.run(leave())
    wait_running(paced_server, 0)
    assert answers_in(tmp_path / "b") == []
    BatchFile(tmp_path / "b").close()
