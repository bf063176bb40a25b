"""Proves that a request leaves nothing behind that only the garbage collector would find."""

import asyncio
import gc
import json
import weakref
from pathlib import Path
from typing import Any

import pytest

from inferneo_server.app import make_app, make_service
from inferneo_server.generation import Generation
from inferneo_server.settings import Settings

# Of the server's own routes, where it is put together.
pytestmark = pytest.mark.filterwarnings(
    "ignore::litestar.exceptions.base_exceptions.LitestarDeprecationWarning"
)


class Scope(dict[str, Any]):
    """Of which one can tell whether it is still there."""


class Cycle:
    """One request as uvicorn holds it: its `send` leads back to the scope."""

    def __init__(self, scope: Scope, body: bytes) -> None:
        self._scope = scope
        self._body: bytes | None = body
        self._over = asyncio.Event()
        self.status = 0

    async def receive(self) -> dict[str, Any]:
        if self._body is None:
            await self._over.wait()
            return {"type": "http.disconnect"}
        body, self._body = self._body, None
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(self, message: Any) -> None:
        self.status = message.get("status", self.status)
        if not message.get("more_body", True):
            self._over.set()


async def ask(app: Any, body: dict[str, Any]) -> tuple[int, "weakref.ref[Scope]"]:
    """The status of an answer that was read to its end, and what is left of its scope."""
    scope = Scope(
        type="http",
        asgi={"version": "3.0"},
        http_version="1.1",
        method="POST",
        scheme="http",
        path="/v1/chat/completions",
        raw_path=b"/v1/chat/completions",
        root_path="",
        query_string=b"",
        headers=[(b"host", b"127.0.0.1")],
        client=("127.0.0.1", 1),
        server=("127.0.0.1", 2),
        state={},
    )
    cycle = Cycle(scope, json.dumps(body).encode())
    await asyncio.create_task(app(scope, cycle.receive, cycle.send))
    return cycle.status, weakref.ref(scope)


@pytest.mark.parametrize("stream", [False, True])
def test_all_of_a_request_goes_with_its_end(stream: bool, tmp_path: Path) -> None:
    async def work() -> None:
        settings = Settings(engine="simulated", state_dir=tmp_path)  # type: ignore[call-arg]
        service = make_service(settings)
        app: Any = make_app(settings, service)
        models = asyncio.create_task(service.registry.run())
        await service.registry.wait_ready()
        body = {"messages": [{"role": "user", "content": "hi"}], "stream": stream}
        await ask(app, body)
        gc.collect()
        gc.disable()
        try:
            status, scope = await ask(app, body)
            # The task that waited for the client's end learns that it need not.
            await asyncio.sleep(0)
            # By type: some libraries' objects warn where they are asked for their class.
            left = [each for each in gc.get_objects() if type(each) is Generation]
        finally:
            gc.enable()
        assert status == 200
        assert (scope(), left) == (None, [])
        models.cancel()
        await asyncio.gather(models, return_exceptions=True)
        await service.spending.aclose()

    asyncio.run(work())
