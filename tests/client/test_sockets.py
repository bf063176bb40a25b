"""Sessions over a WebSocket of our own server: many requests on one socket, sync and async."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from typing import Any

import anyio
import pytest
import trio

from inferneo_client import (
    ApiError,
    AsyncInferneo,
    ConnectionFailed,
    Inferneo,
    Retry,
    TimedOut,
    Timeout,
)
from inferneo_client._frames import Inbox, ask_of
from inferneo_client._transport import WireRequest
from inferneo_core.errors import AuthenticationFailed, ModelNotFound
from tests.client.flavours import MESSAGES
from tests.integration.waiting import wait_running
from tests.servers import RunningServer, running_server

RUNS: dict[str, Callable[..., Any]] = {
    "asyncio": lambda work: asyncio.run(work()),
    "trio": trio.run,
}
LONG: dict[str, Any] = {"max_tokens": 4000, "extra_body": {"ignore_eos": True}}


@pytest.fixture(scope="module")
def paced_server() -> Iterator[RunningServer]:
    flags = ["--engine=simulated", "--engine-args=token_seconds=0.02", "--api-key=sk-1"]
    with running_server(*flags) as server:
        yield server


@pytest.fixture
def session(simulated_server: RunningServer) -> Iterator[Inferneo]:
    with (
        Inferneo(base_url=f"{simulated_server.url}/v1") as client,
        client.connect() as connected,
    ):
        yield connected


def test_answers_are_those_of_http(session: Inferneo, simulated_server: RunningServer) -> None:
    create = session.chat.completions.create
    with Inferneo(base_url=f"{simulated_server.url}/v1") as client:
        expected = client.chat.completions.create(messages=MESSAGES)
    whole = create(messages=MESSAGES)
    streamed = create(messages=MESSAGES, stream=True).final()

    assert whole.choices == expected.choices
    assert streamed.choices[0].message.content == expected.choices[0].message.content
    assert streamed.usage is not None and expected.usage is not None
    assert streamed.usage.total_tokens == expected.usage.total_tokens


def test_texts_have_a_socket_too(session: Inferneo) -> None:
    whole = session.completions.create(prompt="a", max_tokens=3)
    stream = session.completions.create(prompt="a", max_tokens=3, stream=True)

    assert stream.final().choices == whole.choices


def test_what_has_no_frame_goes_over_http(session: Inferneo) -> None:
    stream = session.chat.completions.create(messages=MESSAGES, stream=True)
    chunks = list(stream)

    assert session.models.list().data
    assert session.health().status == "healthy"
    assert session.streams.retrieve(stream.id).choices == stream.final().choices
    assert list(session.streams.resume(stream.id, after=9)) == chunks[10:]


def test_an_error_ends_its_request_and_not_the_session(session: Inferneo) -> None:
    for stream in (True, False):
        with pytest.raises(ModelNotFound):
            session.chat.completions.create(messages=MESSAGES, model="nobody", stream=stream)

    assert session.chat.completions.create(messages=MESSAGES).choices


def test_threads_share_a_session(session: Inferneo) -> None:
    texts: list[str | None] = []

    def ask() -> None:
        with session.chat.completions.create(messages=MESSAGES, stream=True) as stream:
            texts.append("".join(stream.text_deltas()))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert len(texts) == 8
    assert len(set(texts)) == 1


def test_two_streams_are_read_in_turn(session: Inferneo) -> None:
    create = session.chat.completions.create
    with (
        create(messages=MESSAGES, stream=True) as one,
        create(messages=MESSAGES, stream=True) as two,
    ):
        pairs = list(zip(one, two, strict=True))

    assert all(left.choices == right.choices for left, right in pairs[:-1])


def test_a_wrong_key_is_told(paced_server: RunningServer) -> None:
    with (
        Inferneo(base_url=f"{paced_server.url}/v1", api_key="wrong") as client,
        client.connect() as session,
        pytest.raises(AuthenticationFailed),
    ):
        session.chat.completions.create(messages=MESSAGES)


def test_a_server_that_is_not_there_was_sent_nothing() -> None:
    with (
        Inferneo(base_url="http://127.0.0.1:9/v1", retry=Retry(attempts=1)) as client,
        client.connect() as session,
        pytest.raises(ConnectionFailed) as raised,
    ):
        session.chat.completions.create(messages=MESSAGES)

    assert raised.value.sent is False


def test_cancel_from_another_thread_stops_the_engine(paced_server: RunningServer) -> None:
    with (
        Inferneo(base_url=f"{paced_server.url}/v1", api_key="sk-1") as client,
        client.connect() as session,
        session.chat.completions.create(messages=MESSAGES, stream=True, **LONG) as stream,
    ):
        canceller = threading.Thread(target=stream.cancel)
        next(stream)
        canceller.start()
        rest = list(stream)
        canceller.join(10)
        wait_running(paced_server, 0, seconds=10)

    assert stream.cancelled
    assert len(rest) < 3000


def test_a_silent_session_is_not_waited_for(paced_server: RunningServer) -> None:
    timeout = Timeout(ttft=0.2)
    with (
        Inferneo(
            base_url=f"{paced_server.url}/v1",
            api_key="sk-1",
            timeout=timeout,
            retry=Retry(attempts=1, resume_for=0.5),
        ) as client,
        client.connect() as session,
        pytest.raises(TimedOut),
    ):
        session.chat.completions.create(messages=MESSAGES, **LONG)
    wait_running(paced_server, 0, seconds=15)


@pytest.mark.parametrize("loop", RUNS)
def test_many_requests_run_side_by_side(simulated_server: RunningServer, loop: str) -> None:
    texts: list[str] = []

    async def main() -> None:
        async with (
            AsyncInferneo(base_url=f"{simulated_server.url}/v1") as client,
            client.connect() as session,
        ):

            async def ask() -> None:
                async with await session.chat.completions.create(
                    messages=MESSAGES, stream=True
                ) as stream:
                    texts.append("".join([delta async for delta in stream.text_deltas()]))

            with anyio.fail_after(30):
                async with anyio.create_task_group() as tasks:
                    for _ in range(40):
                        tasks.start_soon(ask)

    RUNS[loop](main)
    assert len(texts) == 40
    assert len(set(texts)) == 1


@pytest.mark.parametrize("loop", RUNS)
def test_cancel_from_another_task_stops_the_engine(paced_server: RunningServer, loop: str) -> None:
    async def main() -> None:
        async with (
            AsyncInferneo(base_url=f"{paced_server.url}/v1", api_key="sk-1") as client,
            client.connect() as session,
            await session.chat.completions.create(messages=MESSAGES, stream=True, **LONG) as stream,
            anyio.create_task_group() as tasks,
        ):
            seen = 0
            async for _ in stream:
                seen += 1
                if seen == 2:
                    tasks.start_soon(stream.cancel)
            assert seen < 3000
            await anyio.to_thread.run_sync(lambda: wait_running(paced_server, 0, seconds=10))

    RUNS[loop](main)


@pytest.mark.parametrize("loop", RUNS)
def test_an_error_of_the_caller_leaves_the_session_as_it_is(
    simulated_server: RunningServer, loop: str
) -> None:
    async def main() -> None:
        async with (
            AsyncInferneo(base_url=f"{simulated_server.url}/v1") as client,
            client.connect() as session,
        ):
            await session.chat.completions.create(messages=MESSAGES, model="nobody")

    with pytest.raises(ApiError):
        RUNS[loop](main)


def test_a_reader_too_far_behind_is_broken_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inferneo_client._frames.MAX_UNREAD_BYTES", 100)
    request = WireRequest(
        method="POST",
        url="http://x/v1/completions",
        headers={"idempotency-key": "1"},
        content=b'{"stream": true}',
    )
    ask = ask_of(request, "http://x/v1")
    assert ask is not None
    inbox = Inbox(ask, 1)
    for _ in range(9):
        inbox._put(b"x" * 20)

    assert inbox.ended
    assert len(inbox.take()) >= 100
    with pytest.raises(ConnectionFailed, match="too far behind"):
        inbox.take()
