"""How a stream is left, cancelled and picked up, while its client stays open."""

import asyncio
import gc
import threading
from collections.abc import Callable
from typing import Any

import anyio
import pytest
import trio

from inferneo_client import AsyncInferneo, Inferneo, StreamInterruptedError
from inferneo_client.transports.httpcore import AsyncHttpcoreTransport, HttpcoreTransport
from tests.client.flavours import MESSAGES, Left
from tests.client.recorded import EVENTS, TEXT
from tests.client.scripted import ScriptedServer

HOLD = 5  # events that come before a stream falls silent

RUNS: dict[str, Callable[..., Any]] = {
    "asyncio": lambda work: asyncio.run(work()),
    "trio": trio.run,
}


@pytest.fixture(params=["httpx", "fast"])
def client(request: pytest.FixtureRequest, ours: ScriptedServer) -> Any:
    transport = HttpcoreTransport(ours.url) if request.param == "httpx" else None
    with Inferneo(base_url=ours.url, http_client=transport) as made:
        yield made


def freed(server: ScriptedServer) -> bool:
    """The server has lost the stream's connection, and was told why."""
    return server.wait(lambda: any(head.method == "DELETE" for head, _ in server.requests)) and (
        server.cancelled == ["chatcmpl-1"]
    )


def test_break_frees_the_connection_while_the_stream_is_still_known(
    ours: ScriptedServer, client: Inferneo
) -> None:
    ours.hold = HOLD
    stream = client.chat.completions.create(messages=MESSAGES, stream=True)
    for _ in stream:
        break

    assert freed(ours)
    assert ours.wait(lambda: ours.open <= 1)
    assert list(stream) == []
    with pytest.raises(StreamInterruptedError):
        stream.final()


def test_an_error_of_the_caller_frees_the_connection(
    ours: ScriptedServer, client: Inferneo
) -> None:
    ours.hold = HOLD
    with pytest.raises(Left):
        for _ in client.chat.completions.create(messages=MESSAGES, stream=True):
            raise Left

    assert freed(ours)


def test_cancel_from_another_thread_ends_the_iteration(
    ours: ScriptedServer, client: Inferneo
) -> None:
    ours.hold = HOLD
    stream = client.chat.completions.create(messages=MESSAGES, stream=True)
    seen = []
    canceller = threading.Thread(target=stream.cancel)
    for chunk in stream:
        seen.append(chunk)
        if len(seen) == HOLD:
            canceller.start()
    canceller.join()

    assert len(seen) == HOLD
    assert stream.cancelled
    assert freed(ours)


def test_text_deltas_then_final(ours: ScriptedServer, client: Inferneo) -> None:
    with client.chat.completions.create(messages=MESSAGES, stream=True) as stream:
        text = "".join(stream.text_deltas())
        final = stream.final()

    assert text == final.choices[0].message.content == TEXT
    assert final.choices[0].message.tool_calls is not None
    assert final.choices[0].message.tool_calls[0].function.arguments == '{"a": 1}'
    assert final.usage is not None and final.usage.total_tokens == 12
    assert stream.response.request_id == "req_1"
    assert stream.response.attempts == 1
    assert stream.response.total_seconds is not None
    assert ours.cancelled == []


def test_next_takes_one_chunk_after_the_other(ours: ScriptedServer, client: Inferneo) -> None:
    stream = client.chat.completions.create(messages=MESSAGES, stream=True)
    first = next(stream)
    rest = list(stream)

    assert len([first, *rest]) == len(EVENTS)


def test_events_are_typed(ours: ScriptedServer, client: Inferneo) -> None:
    with client.chat.completions.stream(messages=MESSAGES) as stream:
        events = list(stream)

    assert [event.type for event in events[-3:]] == ["tool_call", "usage", "done"]
    assert "".join(event.text for event in events if event.type == "text") == TEXT
    done = events[-1]
    assert done.type == "done" and done.completion.choices[0].message.content == TEXT


def test_a_connection_is_used_again_after_a_stream(ours: ScriptedServer, client: Inferneo) -> None:
    for _ in range(3):
        client.chat.completions.create(messages=MESSAGES, stream=True).final()

    assert ours.open == 1


def run_async(server: ScriptedServer, loop: str, work: Any) -> None:
    """Do something with an async client on a loop; on asyncio, with each transport."""

    async def main() -> None:
        for transport in [AsyncHttpcoreTransport(server.url), None][
            : 2 if loop == "asyncio" else 1
        ]:
            server.reset()
            async with AsyncInferneo(base_url=server.url, http_client=transport) as client:
                with anyio.fail_after(20):
                    await work(client)

    RUNS[loop](main)


async def is_freed(server: ScriptedServer) -> bool:
    return await anyio.to_thread.run_sync(freed, server)


@pytest.mark.parametrize("loop", RUNS)
@pytest.mark.parametrize("how", ["block", "no block", "held"])
def test_break_frees_the_connection_async(ours: ScriptedServer, loop: str, how: str) -> None:
    ours.hold = HOLD

    async def work(client: AsyncInferneo) -> None:
        stream = await client.chat.completions.create(messages=MESSAGES, stream=True)
        if how == "block":
            async with stream:
                async for _ in stream:
                    break
        else:
            async for _ in stream if how == "held" else stream.text_deltas():
                break
        assert await is_freed(ours)

    run_async(ours, loop, work)


@pytest.mark.parametrize("loop", RUNS)
def test_cancel_from_another_task_ends_the_iteration(ours: ScriptedServer, loop: str) -> None:
    ours.hold = HOLD

    async def work(client: AsyncInferneo) -> None:
        seen = []
        async with (
            await client.chat.completions.create(messages=MESSAGES, stream=True) as stream,
            anyio.create_task_group() as tasks,
        ):
            async for chunk in stream:
                seen.append(chunk)
                if len(seen) == HOLD:
                    tasks.start_soon(stream.cancel)
        assert len(seen) == HOLD
        assert await is_freed(ours)

    run_async(ours, loop, work)


@pytest.mark.parametrize("loop", RUNS)
def test_cancellation_frees_the_connection(ours: ScriptedServer, loop: str) -> None:
    ours.hold = HOLD

    async def work(client: AsyncInferneo) -> None:
        with anyio.CancelScope() as scope:
            stream = await client.chat.completions.create(messages=MESSAGES, stream=True)
            async for _ in stream:
                # Takes effect at the next wait: in the middle of the iteration, or of a receive.
                scope.cancel()
        assert scope.cancelled_caught
        assert await is_freed(ours)

    run_async(ours, loop, work)


@pytest.mark.parametrize("loop", RUNS)
def test_events_are_typed_async(ours: ScriptedServer, loop: str) -> None:
    async def work(client: AsyncInferneo) -> None:
        async with await client.chat.completions.stream(messages=MESSAGES) as stream:
            events = [event async for event in stream]
        assert [event.type for event in events[-3:]] == ["tool_call", "usage", "done"]

    run_async(ours, loop, work)


def test_a_client_outlives_its_event_loops(ours: ScriptedServer) -> None:
    client = AsyncInferneo(base_url=ours.url)

    async def ask() -> str | None:
        answer = await client.chat.completions.create(messages=MESSAGES)
        return answer.choices[0].message.content

    async def ask_and_close() -> str | None:
        async with client:
            return await ask()

    assert asyncio.run(ask()) == asyncio.run(ask_and_close()) == TEXT
    # What the first loop left open when it ended, nobody can close any more.
    gc.collect()
