"""An application in this process, with no socket: ours, and a small one that misbehaves."""

import asyncio
from typing import Any

import pytest

from inferneo_client import (
    ApiError,
    AsgiTransport,
    AsyncAsgiTransport,
    AsyncInferneo,
    ConnectionFailed,
    Inferneo,
    Retry,
    TimedOut,
    Timeout,
)
from inferneo_server.app import make_app, make_service
from inferneo_server.settings import Settings
from tests.client.flavours import MESSAGES

URL = "http://app/v1"

# Of the server's own routes, where it is put together.
pytestmark = pytest.mark.filterwarnings(
    "ignore::litestar.exceptions.base_exceptions.LitestarDeprecationWarning"
)


class ServedModel:
    """Our application, whose model lives as long as its lifespan."""

    def __init__(self) -> None:
        settings = Settings(engine="simulated")  # type: ignore[call-arg]
        self._service = make_service(settings)
        self._app: Any = make_app(settings, self._service)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "lifespan":
            await self._app(scope, receive, send)
            return
        registry = self._service.registry
        running = asyncio.create_task(registry.run())
        await receive()
        await registry.wait_ready()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        running.cancel()
        await asyncio.wait([running])
        await send({"type": "lifespan.shutdown.complete"})


@pytest.fixture
def app() -> ServedModel:
    return ServedModel()


def test_our_server_answers_in_process(app: Any) -> None:
    with Inferneo(base_url=URL, http_client=AsgiTransport(app)) as client:
        whole = client.chat.completions.create(messages=MESSAGES).choices[0].message.content
        with client.chat.completions.create(messages=MESSAGES, stream=True) as stream:
            text = "".join(stream.text_deltas())
        assert client.health().status == "healthy"

    assert text == whole


def test_our_server_answers_in_process_async(app: Any) -> None:
    async def main() -> tuple[str | None, str]:
        async with AsyncInferneo(base_url=URL, http_client=AsyncAsgiTransport(app)) as client:
            whole = await client.chat.completions.create(messages=MESSAGES)
            async with await client.chat.completions.create(
                messages=MESSAGES, stream=True
            ) as stream:
                text = "".join([delta async for delta in stream.text_deltas()])
            async for _ in await client.chat.completions.create(messages=MESSAGES, stream=True):
                break
        # The server keeps what can be resumed for a while, and that is its own affair.
        assert [task for task in asyncio.all_tasks() if "inferneo_client" in repr(task)] == []
        return whole.choices[0].message.content, text

    whole, text = asyncio.run(main())
    assert text == whole


def test_errors_are_those_of_the_server(app: Any) -> None:
    with (
        Inferneo(base_url=URL, http_client=AsgiTransport(app)) as client,
        pytest.raises(ApiError) as raised,
    ):
        client.chat.completions.create(messages=MESSAGES, model="nobody")

    assert (raised.value.status, raised.value.code) == (404, "model_not_found")


async def fails(scope: Any, receive: Any, send: Any) -> None:
    """No lifespan, and an error in the middle of a stream."""
    assert scope["type"] == "http"
    await receive()
    headers = [(b"content-type", b"text/event-stream")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b'data: {"choices": []}\n\n'})
    raise RuntimeError("out of words")


async def hangs(scope: Any, receive: Any, send: Any) -> None:
    """Reads, and says nothing until its client leaves."""
    assert scope["type"] == "http"
    while (await receive())["type"] != "http.disconnect":
        pass


def test_an_application_that_fails_breaks_the_connection() -> None:
    with (
        Inferneo(base_url=URL, http_client=AsgiTransport(fails)) as client,
        pytest.raises(ConnectionFailed, match="out of words"),
    ):
        client.chat.completions.create(messages=MESSAGES, stream=True).final()


@pytest.mark.parametrize("stream", [True, False])
def test_an_application_that_hangs_is_not_waited_for(stream: bool) -> None:
    options: dict[str, Any] = {"timeout": Timeout(ttft=0.05), "retry": Retry(attempts=1)}
    with (
        Inferneo(base_url=URL, http_client=AsgiTransport(hangs), **options) as client,
        pytest.raises(TimedOut),
    ):
        client.chat.completions.create(messages=MESSAGES, stream=stream)
