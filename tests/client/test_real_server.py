"""The client against our own server: over each transport, whole and cut."""

from collections.abc import Iterator
from typing import Any

import anyio
import anyio.to_thread
import pytest

from inferneo_client import ApiError, AsyncInferneo, Inferneo, NotFound, Retry
from inferneo_client.transports.httpcore import AsyncHttpcoreTransport, HttpcoreTransport
from inferneo_core.errors import ModelNotFound
from tests.client.campaign import plain
from tests.client.flavours import FLAVOURS, MESSAGES, QUICK, SESSIONS, Deed, Flavour
from tests.client.proxy import Fault, faulty_proxy
from tests.integration.waiting import wait_running
from tests.servers import RunningServer, running_server

LONG: dict[str, Any] = {"max_tokens": 4000, "extra_body": {"ignore_eos": True}}


@pytest.fixture(scope="module")
def paced_server() -> Iterator[RunningServer]:
    """Writes so slowly that a stream can be left in its middle."""
    with running_server("--engine=simulated", "--engine-args=token_seconds=0.02") as server:
        yield server


@pytest.fixture(params=["httpx", "fast"])
def client(request: pytest.FixtureRequest, simulated_server: RunningServer) -> Iterator[Inferneo]:
    url = f"{simulated_server.url}/v1"
    transport = HttpcoreTransport(url) if request.param == "httpx" else None
    with Inferneo(base_url=url, http_client=transport) as made:
        yield made


def test_models_and_health(client: Inferneo) -> None:
    listed = client.models.list()

    assert [model.id for model in listed] == [client.health().model]
    assert client.models.retrieve(listed.data[0].id) == listed.data[0]
    with pytest.raises(ModelNotFound):
        client.models.retrieve("nobody")


def test_a_stream_and_a_whole_answer_are_the_same(client: Inferneo) -> None:
    create = client.chat.completions.create
    whole = create(messages=MESSAGES)
    stream = create(messages=MESSAGES, stream=True, stream_options={"include_usage": True})
    streamed = stream.final()

    assert streamed.choices[0].message.content == whole.choices[0].message.content
    assert streamed.choices[0].finish_reason == whole.choices[0].finish_reason
    assert streamed.usage is not None and whole.usage is not None
    assert streamed.usage.completion_tokens == whole.usage.completion_tokens
    assert whole.response is not None and whole.response.request_id
    # The decoder of the whole standard is for others: ours must never need it.
    assert stream._reading._decoder._standard is None


def test_completions_of_several_prompts(client: Inferneo) -> None:
    whole = client.completions.create(prompt=["a", "b"], n=2, max_tokens=3)
    stream = client.completions.create(prompt=["a", "b"], n=2, max_tokens=3, stream=True)

    assert plain(stream.final().choices) == plain(whole.choices)


def test_a_stream_is_picked_up_by_its_id(client: Inferneo) -> None:
    stream = client.chat.completions.create(messages=MESSAGES, stream=True)
    chunks = list(stream)

    assert list(client.streams.resume(stream.id)) == chunks
    assert list(client.streams.resume(stream.id, after=9)) == chunks[10:]
    assert client.streams.retrieve(stream.id).choices == stream.final().choices
    with pytest.raises(NotFound):
        client.streams.resume("chatcmpl-0")


def test_the_same_key_joins_the_same_generation(client: Inferneo) -> None:
    create = client.chat.completions.create
    first = create(messages=MESSAGES, idempotency_key="once")
    again = create(messages=MESSAGES, idempotency_key="once")

    assert again.id == first.id
    with pytest.raises(ApiError) as raised:
        create(messages=MESSAGES, max_tokens=1, idempotency_key="once")
    assert raised.value.status == 409


def said(chunk: Any) -> tuple[str | None, str | None]:
    """What a chunk adds; a session's last one has the usage and no choice."""
    choice = chunk.choices[0] if chunk.choices else None
    return (choice.delta.content, choice.finish_reason) if choice else (None, None)


@pytest.mark.parametrize("flavour", FLAVOURS + SESSIONS, ids=lambda flavour: flavour.name)
def test_a_cut_stream_goes_on_where_it_stopped(
    simulated_server: RunningServer, flavour: Flavour
) -> None:
    port = int(simulated_server.url.rpartition(":")[2])
    uncut = flavour.run(f"{simulated_server.url}/v1", {}, Deed())
    texts = [said(chunk) for chunk in uncut.chunks]
    with faulty_proxy(port) as proxy:
        for at in range(0, 9000, 900):
            proxy.faults.extend([Fault("swallow"), Fault("cut", at=at), Fault("cut", at=at // 2)])
            outcome = flavour.run(proxy.url, {"retry": QUICK}, Deed())
            proxy.faults.clear()

            assert outcome.error is None
            assert [said(chunk) for chunk in outcome.chunks] == texts
            assert outcome.final.choices == uncut.final.choices


@pytest.mark.parametrize("flavour", FLAVOURS + SESSIONS, ids=lambda flavour: flavour.name)
@pytest.mark.parametrize("leave", ["break", "raise", "cancel"])
def test_a_stream_that_is_left_stops_the_engine(
    paced_server: RunningServer, flavour: Flavour, leave: str
) -> None:
    deed = Deed(leave=leave, after=2, block=leave != "break")
    outcome = flavour.run(f"{paced_server.url}/v1", {}, deed)

    assert len(outcome.chunks) == 2
    # The stream could be resumed for 30 seconds: it ends sooner because the server was told.
    wait_running(paced_server, 0, seconds=10)


@pytest.mark.parametrize("kind", ["httpx", "fast", "socket"])
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_cancelled_call_stops_the_engine_at_once(
    paced_server: RunningServer, backend: str, kind: str
) -> None:
    url = f"{paced_server.url}/v1"

    async def ask(client: AsyncInferneo) -> None:
        async with anyio.create_task_group() as tasks:
            create = client.chat.completions.create
            tasks.start_soon(lambda: create(messages=MESSAGES, **LONG))
            await anyio.to_thread.run_sync(wait_running, paced_server, 1)
            tasks.cancel_scope.cancel()

    async def main() -> None:
        transport = AsyncHttpcoreTransport(url) if kind == "httpx" else None
        async with AsyncInferneo(base_url=url, http_client=transport) as client:
            if kind == "socket":
                async with client.connect() as session:
                    await ask(session)
            else:
                await ask(client)
            # Its retry could have come for 10 seconds: it ends sooner because the server was told.
            await anyio.to_thread.run_sync(lambda: wait_running(paced_server, 0, seconds=4))

    anyio.run(main, backend=backend)


def test_a_generation_is_cancelled_by_its_id(paced_server: RunningServer) -> None:
    with (
        Inferneo(base_url=f"{paced_server.url}/v1", retry=Retry(attempts=1)) as client,
        client.chat.completions.create(messages=MESSAGES, stream=True, **LONG) as stream,
    ):
        next(stream)
        client.streams.cancel(stream.id)
        with pytest.raises(ApiError) as raised:
            list(stream)

    assert raised.value.code == "cancelled"


def test_nothing_more_is_given_once_a_stream_is_cancelled(simulated_server: RunningServer) -> None:
    # On a socket all chunks of a short answer arrive together.
    async def main() -> list[Any]:
        async with (
            AsyncInferneo(base_url=f"{simulated_server.url}/v1") as client,
            client.connect() as session,
        ):
            stream = await session.chat.completions.create(messages=MESSAGES, stream=True)
            seen = []
            async for chunk in stream:
                seen.append(chunk)
                await stream.cancel()
            return seen

    assert len(anyio.run(main)) == 1
    with Inferneo(base_url=f"{simulated_server.url}/v1") as sync:
        seen = []
        for chunk in (stream := sync.chat.completions.create(messages=MESSAGES, stream=True)):
            seen.append(chunk)
            stream.cancel()
    assert len(seen) == 1
