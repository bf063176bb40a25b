"""Sessions whose socket goes silent, or away: their requests go on on a new one, nothing stays."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import anyio
import pytest
import trio

from inferneo_client import AsyncInferneo, Inferneo, Retry, TimedOut, Timeout
from tests.client.flavours import MESSAGES, SESSIONS, Deed, Flavour
from tests.client.proxy import Fault, FaultyProxy, faulty_proxy
from tests.client.recorded import EVENTS
from tests.client.scripted import LoopThread, ScriptedServer, stop

RUNS: dict[str, Callable[..., Any]] = {
    "asyncio": lambda work: asyncio.run(work()),
    "trio": trio.run,
}
SHORT = Timeout(ttft=0.3, idle=0.3)
# Behind the handshake's answer and some frames of the first stream.
STALL = Fault("stall", at=1200)
# The handshake's answer has about 200 bytes.
WITHIN_FIRST_FRAME = 260
STREAMS = 5
BOUND = 20.0


@pytest.fixture
def stalled(ours: ScriptedServer) -> Iterator[FaultyProxy]:
    """A proxy whose first connection goes silent; threads and connections must not outlive it."""
    threads = set(threading.enumerate())
    with faulty_proxy(ours.port) as proxy:
        own = set(threading.enumerate()) - threads
        proxy.faults.append(STALL)
        yield proxy
        assert ours.wait(lambda: ours.open == 0), "a socket was left open"
        left = set(threading.enumerate()) - threads - own
        for thread in left:
            thread.join(BOUND)
        assert not [thread for thread in left if thread.is_alive()]


def test_all_streams_of_a_silent_socket_go_on_on_a_new_one(
    ours: ScriptedServer, stalled: FaultyProxy
) -> None:
    wholes: list[Any] = []

    with Inferneo(base_url=stalled.url, timeout=SHORT) as client, client.connect() as session:

        def ask() -> None:
            create = session.chat.completions.create
            wholes.append(create(messages=MESSAGES, stream=True).final())

        threads = [threading.Thread(target=ask) for _ in range(STREAMS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(BOUND)

    assert len(wholes) == STREAMS
    assert {whole.choices[0].finish_reason for whole in wholes} == {"tool_calls"}
    assert stalled.taken == 2
    assert ours.generations == STREAMS


@pytest.mark.parametrize("loop", RUNS)
def test_all_streams_of_a_silent_socket_go_on_on_a_new_one_async(
    ours: ScriptedServer, stalled: FaultyProxy, loop: str
) -> None:
    wholes: list[Any] = []

    async def main() -> None:
        async with (
            AsyncInferneo(base_url=stalled.url, timeout=SHORT) as client,
            client.connect() as session,
        ):

            async def ask() -> None:
                create = session.chat.completions.create
                async with await create(messages=MESSAGES, stream=True) as stream:
                    wholes.append(await stream.final())

            with anyio.fail_after(BOUND):
                async with anyio.create_task_group() as tasks:
                    for _ in range(STREAMS):
                        tasks.start_soon(ask)
        if loop == "asyncio":
            assert asyncio.all_tasks() == {asyncio.current_task()}

    RUNS[loop](main)
    assert len(wholes) == STREAMS
    assert {whole.choices[0].finish_reason for whole in wholes} == {"tool_calls"}
    assert stalled.taken == 2
    assert ours.generations == STREAMS


@pytest.mark.parametrize("flavour", SESSIONS, ids=lambda flavour: flavour.name)
def test_what_a_silent_socket_had_begun_is_not_cancelled(
    ours: ScriptedServer, stalled: FaultyProxy, flavour: Flavour
) -> None:
    outcome = flavour.run(stalled.url, {"timeout": SHORT}, Deed())

    assert outcome.error is None
    assert len(outcome.chunks) == len(EVENTS)
    assert ours.generations == 1
    assert ours.cancelled == []


def test_each_attempt_has_its_own_time_for_the_first_event(stalled: FaultyProxy) -> None:
    stalled.faults[0] = Fault("stall", at=WITHIN_FIRST_FRAME)
    with Inferneo(base_url=stalled.url, timeout=SHORT) as client, client.connect() as session:
        stream = session.chat.completions.create(messages=MESSAGES, stream=True)
        assert stream.final().choices

    assert stream.response.attempts == 2
    assert stream.response.resumes == 0


def test_a_silent_session_is_left_soon(stalled: FaultyProxy) -> None:
    with Inferneo(base_url=stalled.url) as client, client.connect() as session:
        next(session.chat.completions.create(messages=MESSAGES, stream=True))
        left = time.monotonic()

    assert time.monotonic() - left < BOUND


@pytest.mark.parametrize("loop", RUNS)
def test_a_silent_session_is_left_soon_async(stalled: FaultyProxy, loop: str) -> None:
    async def main() -> None:
        with anyio.fail_after(BOUND):
            async with (
                AsyncInferneo(base_url=stalled.url) as client,
                client.connect() as session,
            ):
                stream = await session.chat.completions.create(messages=MESSAGES, stream=True)
                await anext(stream)

    RUNS[loop](main)


def test_a_late_stream_goes_on_and_others_keep_their_socket(ours: ScriptedServer) -> None:
    ours.hold = 3
    late: list[Any] = []
    with Inferneo(base_url=ours.url, timeout=SHORT) as client, client.connect() as session:
        create = session.chat.completions.create
        reader = threading.Thread(
            target=lambda: late.append(create(messages=MESSAGES, stream=True).final())
        )
        reader.start()
        until = time.monotonic() + BOUND
        while reader.is_alive() and time.monotonic() < until:
            # As much life as the socket needs not to be taken for dead.
            assert create(messages=MESSAGES).choices
        reader.join(BOUND)

    assert late[0].choices[0].finish_reason == "tool_calls"
    assert ours.cancelled == []
    assert len(ours.requests) == 1, "one handshake"


@pytest.mark.parametrize("loop", RUNS)
def test_a_late_stream_goes_on_and_others_keep_their_socket_async(
    ours: ScriptedServer, loop: str
) -> None:
    ours.hold = 3
    late: list[Any] = []

    async def main() -> None:
        async with (
            AsyncInferneo(base_url=ours.url, timeout=SHORT) as client,
            client.connect() as session,
        ):
            create = session.chat.completions.create

            async def read() -> None:
                async with await create(messages=MESSAGES, stream=True) as stream:
                    late.append(await stream.final())

            with anyio.fail_after(BOUND):
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(read)
                    while not late:
                        assert (await create(messages=MESSAGES)).choices

    RUNS[loop](main)
    assert late[0].choices[0].finish_reason == "tool_calls"
    assert ours.cancelled == []
    assert len(ours.requests) == 1, "one handshake"


def test_a_deadline_says_nothing_of_the_socket(ours: ScriptedServer) -> None:
    ours.hold = 3
    with Inferneo(base_url=ours.url) as client, client.connect() as session:
        create = session.chat.completions.create
        with pytest.raises(TimedOut) as raised:
            create(messages=MESSAGES, stream=True, timeout=0.2).final()
        assert create(messages=MESSAGES).choices

    assert raised.value.phase == "total"
    assert len(ours.requests) == 1, "one handshake"


@pytest.mark.parametrize("loop", RUNS)
def test_a_deadline_says_nothing_of_the_socket_async(ours: ScriptedServer, loop: str) -> None:
    ours.hold = 3

    async def main() -> None:
        async with AsyncInferneo(base_url=ours.url) as client, client.connect() as session:
            create = session.chat.completions.create
            with pytest.raises(TimedOut) as raised:
                await (await create(messages=MESSAGES, stream=True, timeout=0.2)).final()
            assert raised.value.phase == "total"
            assert (await create(messages=MESSAGES)).choices

    RUNS[loop](main)
    assert len(ours.requests) == 1, "one handshake"


def test_a_session_outlives_its_server() -> None:
    server = ScriptedServer()
    with LoopThread() as first:
        listening = first.run(server.start())
        client = Inferneo(base_url=server.url, retry=Retry(attempts=2, delay=0.01))
        connected = client.connect()
        session = connected.__enter__()
        assert session.chat.completions.create(messages=MESSAGES).choices
        first.run(stop(listening))
    with LoopThread() as second:
        listening = second.run(server.start())
        chunks = list(session.chat.completions.create(messages=MESSAGES, stream=True))
        connected.__exit__(None, None, None)
        client.close()
        second.run(stop(listening))

    assert len(chunks) == len(EVENTS)
