"""Many requests at once: order, bounds, errors, the file that a killed process goes on with."""

import asyncio
import json
import os
import pty
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import trio

from inferneo_client import ApiError, AsyncInferneo, Inferneo, NotFound
from inferneo_client._batch_file import BatchFile
from inferneo_client._transport import WholeResponse, WireRequest
from inferneo_client.transports.httpx import HttpxTransport
from tests.client.proxy import Fault, faulty_proxy
from tests.client.scripted import ScriptedServer
from tests.servers import RunningServer, running_server

SECONDS = 60.0
REQUESTS = [{"messages": [{"role": "user", "content": f"word {n}"}]} for n in range(12)]
WORDS = 32  # of an answer of the simulated engine


class Way(NamedTuple):
    """One way to run a batch."""

    name: str
    run: Callable[..., list[Any]]


def _sync(url: str, requests: Any, **options: Any) -> list[Any]:
    with Inferneo(base_url=url, max_retries=0) as client:
        answers: list[Any] = client.batch(requests, **options)
        return answers


async def _async(url: str, requests: Any, options: dict[str, Any]) -> list[Any]:
    async with AsyncInferneo(base_url=url, max_retries=0) as client:
        answers: list[Any] = await client.batch(requests, **options)
        return answers


WAYS = [
    Way("sync", _sync),
    Way("asyncio", lambda url, requests, **more: asyncio.run(_async(url, requests, more))),
    Way("trio", lambda url, requests, **more: trio.run(_async, url, requests, more)),
]


@pytest.fixture(params=WAYS, ids=lambda way: way.name)
def run(request: pytest.FixtureRequest) -> Callable[..., list[Any]]:
    """The same batch, sync, on asyncio and on trio."""
    way: Way = request.param
    return way.run


@pytest.fixture
def url(simulated_server: RunningServer) -> str:
    return f"{simulated_server.url}/v1"


def text(answer: Any) -> str:
    content: str = answer.choices[0].message.content
    return content


def test_answers_come_in_the_order_of_their_requests(
    run: Callable[..., list[Any]], url: str
) -> None:
    with Inferneo(base_url=url) as client:
        expected = [text(client.chat.completions.create(**given)) for given in REQUESTS]  # type: ignore[call-overload]

    answers = run(url, REQUESTS, concurrency=5)

    assert [text(answer) for answer in answers] == expected
    assert len(set(expected)) > 1
    assert all(answer.response.request_id for answer in answers)


def test_texts_and_chats_go_together(run: Callable[..., list[Any]], url: str) -> None:
    chat, completion = run(url, [REQUESTS[0], {"prompt": "word", "max_tokens": 3}])

    assert (chat.object, completion.object) == ("chat.completion", "text_completion")
    assert completion.usage.completion_tokens == 3


def test_no_requests_are_no_answers(run: Callable[..., list[Any]]) -> None:
    assert run("http://127.0.0.1:9/v1", []) == []


class Counting:
    """A transport that notes how many requests are under way at once, and lets them meet."""

    def __init__(self, url: str, meet: int) -> None:
        self._transport = HttpxTransport(url)
        self._barrier = threading.Barrier(meet)
        self._lock = threading.Lock()
        self.now = self.most = 0

    def exchange(self, request: WireRequest) -> WholeResponse:
        with self._lock:
            self.now += 1
            self.most = max(self.most, self.now)
        try:
            self._barrier.wait(SECONDS)
            return self._transport.exchange(request)
        finally:
            with self._lock:
                self.now -= 1

    def open(self, request: WireRequest) -> Any:
        return self._transport.open(request)

    def close(self) -> None:
        self._transport.close()


def test_just_as_many_are_under_way_as_allowed(url: str) -> None:
    transport = Counting(url, meet=4)
    with Inferneo(base_url=url, http_client=transport) as client:
        assert len(client.batch(REQUESTS, concurrency=4)) == len(REQUESTS)

    assert transport.most == 4


WITH_AN_ERROR = [*REQUESTS[:3], {**REQUESTS[3], "model": "nobody"}, *REQUESTS[4:]]


def test_an_error_takes_the_place_of_its_answer(run: Callable[..., list[Any]], url: str) -> None:
    answers = run(url, WITH_AN_ERROR, on_error="return")

    (error,) = [answer for answer in answers if isinstance(answer, ApiError)]
    assert answers.index(error) == 3
    assert isinstance(error, NotFound)
    assert text(answers[4])


def test_the_first_error_is_raised_and_names_its_request(
    run: Callable[..., list[Any]], url: str
) -> None:
    with pytest.raises(NotFound, match="nobody") as raised:
        run(url, WITH_AN_ERROR, concurrency=1)

    assert raised.value.__notes__ == ["It was request 3 of the batch."]


def test_nothing_is_sent_behind_the_first_error(
    run: Callable[..., list[Any]], url: str, tmp_path: Path
) -> None:
    file = tmp_path / "batch.jsonl"
    with pytest.raises(NotFound):
        run(url, WITH_AN_ERROR, concurrency=1, file=file)

    assert [line["index"] for line in answers_in(file)] == [0, 1, 2]


@pytest.mark.parametrize(
    ("requests", "options", "told"),
    [
        ([{}], {}, "Request 0 has neither"),
        ([REQUESTS[0], {**REQUESTS[1], "stream": True}], {}, "Request 1 asks for a stream"),
        ([{**REQUESTS[0], "temprature": 0}], {}, "temprature"),
        (REQUESTS, {"concurrency": 0}, "concurrency is 0"),
        (REQUESTS, {"on_error": "ignore"}, "on_error is 'ignore'"),
    ],
)
def test_what_makes_no_batch_is_refused_before_anything_is_sent(
    run: Callable[..., list[Any]],
    ours: ScriptedServer,
    requests: Any,
    options: dict[str, Any],
    told: str,
) -> None:
    with pytest.raises((TypeError, ValueError), match=told):
        run(ours.url, requests, **options)

    assert ours.requests == []


def answers_in(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()[1:]]


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
    first = _sync(ours.url, REQUESTS[:3], file=file)
    file.write_bytes(file.read_bytes()[:kept])
    whole = max(0, file.read_bytes().count(b"\n") - 1)
    ours.reset()

    again = _sync(ours.url, REQUESTS[:3], file=file)

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
        _sync("http://127.0.0.1:9/v1", REQUESTS, file=file)
    assert file.read_text() == content


def test_a_line_in_the_middle_that_is_no_answer_is_an_error(
    ours: ScriptedServer, tmp_path: Path
) -> None:
    file = tmp_path / "batch.jsonl"
    _sync(ours.url, REQUESTS[:2], file=file)
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join([lines[0], b"{}\n", lines[2]]))

    with pytest.raises(ValueError, match=f"no answer, at byte {len(lines[0])}"):
        _sync(ours.url, REQUESTS[:2], file=file)


def test_a_file_serves_one_batch_at_a_time(ours: ScriptedServer, tmp_path: Path) -> None:
    file = tmp_path / "batch.jsonl"
    other = BatchFile(file)
    with pytest.raises(BlockingIOError, match="Another batch"):
        _sync(ours.url, REQUESTS, file=file)
    other.close()

    assert len(_sync(ours.url, REQUESTS, file=file)) == len(REQUESTS)


def test_answers_over_several_lines_are_kept_on_one(ours: ScriptedServer, tmp_path: Path) -> None:
    body = json.dumps({"choices": [{"message": {"content": "a\n b"}}]}, indent=2).encode()
    ours.answer = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n" + body
    try:
        _sync(ours.url, REQUESTS[:2], file=tmp_path / "b")
    finally:
        ours.answer = None

    assert [text(answer) for answer in _sync(ours.url, REQUESTS[:2], file=tmp_path / "b")] == [
        "a\n b",
        "a\n b",
    ]


# Tells of each answer that came, so that it can be killed between two.
KILLED = r"""
import sys
from inferneo_client import Inferneo
from inferneo_client.transports.httpx import HttpxTransport

url, file = sys.argv[1:]
requests = [{"messages": [{"role": "user", "content": f"word {n}"}]} for n in range(12)]

class Telling(HttpxTransport):
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
            for _ in range(3):
                assert killed.stdout.readline() == "answer\n"
            killed.kill()
        assert killed.returncode == -9
    answered = len([line for line in file.read_bytes().splitlines(keepends=True)[1:]])
    assert 3 <= answered < len(REQUESTS)

    with start(paced_server, file) as last:
        told, _ = last.communicate(timeout=SECONDS)

    lines = told.splitlines()
    assert lines == ["answer"] * (len(lines) - 1) + [str(len(REQUESTS))]
    assert sorted(line["index"] for line in answers_in(file)) == list(range(len(REQUESTS)))
    # What was under way when the client was killed was joined, not written a second time.
    written = paced_server.metric("inferneo_completion_tokens_total") - before
    assert written == len(REQUESTS) * WORDS


PROGRESS = """
import sys
from inferneo_client import Inferneo

requests = [{"prompt": "a", "model": "nobody" if n == 1 else None} for n in range(4)]
with Inferneo(base_url=sys.argv[1]) as client:
    client.batch(requests, on_error="return", progress=sys.argv[2] == "1")
"""


def errors_on_a_terminal(url: str, wanted: str) -> str:
    """What the program writes to standard error, which is a terminal."""
    control, terminal = pty.openpty()
    process = subprocess.Popen([sys.executable, "-c", PROGRESS, url, wanted], stderr=terminal)
    os.close(terminal)
    pieces = []
    # A terminal that nobody has open any more ends with EIO.
    try:
        while piece := os.read(control, 4096):
            pieces.append(piece)
    except OSError:
        pass
    os.close(control)
    assert process.wait(SECONDS) == 0
    return b"".join(pieces).decode()


def test_a_terminal_shows_how_far_it_is(url: str) -> None:
    told = errors_on_a_terminal(url, "1")

    assert told.startswith("\r[------------------------------] 0/4")
    last = told.rstrip().rpartition("\r")[2]
    assert last.rstrip() == "[##############################] 4/4, 1 failed"
    assert told.endswith("\n")


def test_nothing_is_shown_where_it_is_not_wanted_or_no_terminal(url: str) -> None:
    piped = subprocess.run(
        [sys.executable, "-c", PROGRESS, url, "1"], capture_output=True, timeout=SECONDS
    )

    assert (piped.returncode, piped.stderr) == (0, b"")
    assert errors_on_a_terminal(url, "0") == ""


def test_cancelled_it_cancels_what_is_under_way(
    paced_server: RunningServer, tmp_path: Path
) -> None:
    async def leave() -> None:
        long = [
            {**given, "max_tokens": 4000, "extra_body": {"ignore_eos": True}} for given in REQUESTS
        ]
        async with AsyncInferneo(base_url=f"{paced_server.url}/v1") as client:
            await asyncio.wait_for(client.batch(long, file=tmp_path / "b"), 0.5)

    with pytest.raises(TimeoutError):
        asyncio.run(leave())
    assert answers_in(tmp_path / "b") == []
    BatchFile(tmp_path / "b").close()
