"""Many requests at once: their order, bounds, errors, and the line that tells how far they are."""

import os
import pty
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from inferneo_client import ApiError, Inferneo, NotFound
from inferneo_client._transport import WholeResponse, WireRequest
from inferneo_client.transports.httpcore import HttpcoreTransport
from tests.client.batches import REQUESTS, SECONDS, WAYS, Way, answers_in, text
from tests.client.scripted import ScriptedServer
from tests.servers import RunningServer


@pytest.fixture(params=WAYS, ids=lambda way: way.name)
def run(request: pytest.FixtureRequest) -> Callable[..., list[Any]]:
    """The same batch, sync, on asyncio and on trio."""
    way: Way = request.param
    return way.run


@pytest.fixture
def url(simulated_server: RunningServer) -> str:
    return f"{simulated_server.url}/v1"


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
        self._transport = HttpcoreTransport(url)
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
