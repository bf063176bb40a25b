"""Receives requests; hands on answers of an ASGI application in this process, with no socket.

Source: https://asgi.readthedocs.io/en/latest/specs/www.html, and `lifespan.html` beside it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any, Self
from urllib.parse import unquote, urlsplit

from anyio.from_thread import BlockingPortal, start_blocking_portal

from inferneo_client._errors import ConnectionFailed, TimedOut
from inferneo_client._transport import AsyncResponse, SyncResponse, WholeResponse, WireRequest

Message = MutableMapping[str, Any]
Application = Callable[
    [Any, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]
]

# Pieces of a body that the application may be ahead of its reader.
_AHEAD = 16


class AsyncAsgiResponse:
    """See `AsyncResponse`; also the application's other end: what it receives, and sends."""

    def __init__(self, request: WireRequest) -> None:
        self.status: int = 0
        self.headers: Mapping[str, str] = {}
        self._request: bytes | None = request.content
        self._pieces: asyncio.Queue[bytes | Exception] = asyncio.Queue(_AHEAD)
        self._begun = asyncio.Event()
        self._left = asyncio.Event()
        self._ended = False
        self.task: asyncio.Task[None] | None = None

    async def serve(self, app: Application, scope: dict[str, Any]) -> None:
        """Run the application for this request."""
        try:
            await app(scope, self._give, self._take)
            end: bytes | Exception = b""
        except Exception as error:
            end = error
        self._begun.set()
        await self._pieces.put(end)

    async def _give(self) -> Message:
        if self._request is not None:
            body, self._request = self._request, None
            return {"type": "http.request", "body": body, "more_body": False}
        await self._left.wait()
        return {"type": "http.disconnect"}

    async def _take(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            pairs = message.get("headers", ())
            self.headers = {name.decode("latin-1"): text.decode("latin-1") for name, text in pairs}
            self._begun.set()
        elif message["type"] == "http.response.body" and message.get("body"):
            await self._pieces.put(bytes(message["body"]))

    async def begin(self, timeout: float | None) -> None:
        """Wait for the answer's head."""
        try:
            async with asyncio.timeout(timeout):
                await self._begun.wait()
        except TimeoutError:
            await self.aclose()
            raise TimedOut("The application was silent for too long", phase="ttft") from None
        except asyncio.CancelledError:
            await self.aclose()
            raise
        if not self.status:
            await self.receive(None)
            raise ConnectionFailed("The application ended without an answer")

    async def receive(self, timeout: float | None) -> bytes:
        if self._ended:
            return b""
        try:
            async with asyncio.timeout(timeout):
                piece = await self._pieces.get()
        except TimeoutError:
            raise TimedOut("The application was silent for too long", phase="idle") from None
        if isinstance(piece, Exception):
            self._ended = True
            raise ConnectionFailed(f"The application failed: {piece!r}") from piece
        self._ended = not piece
        return piece

    async def aclose(self) -> None:
        self._left.set()
        if self.task is not None and not self._ended:
            self.task.cancel()
            await asyncio.wait([self.task])
        self._ended = True

    def abort(self) -> None:
        self._left.set()
        error = ConnectionFailed("The stream was aborted")
        if self._pieces.full():
            self._pieces.get_nowait()
        self._pieces.put_nowait(error)


class AsyncAsgiTransport:
    """Carries requests to an ASGI application, on asyncio; see `AsyncTransport`.

    The application's lifespan begins with the first request and ends with the client.
    """

    def __init__(self, app: Application) -> None:
        self._app = app
        self._tasks: set[asyncio.Task[None]] = set()
        self._life: _Lifespan | None = None

    async def exchange(self, request: WireRequest) -> WholeResponse:
        response = await self._open(request)
        pieces = []
        try:
            while piece := await response.receive(request.head):
                pieces.append(piece)
        finally:
            await response.aclose()
        return WholeResponse(response.status, response.headers, b"".join(pieces))

    async def open(self, request: WireRequest) -> AsyncResponse:
        return await self._open(request)

    async def _open(self, request: WireRequest) -> AsyncAsgiResponse:
        if self._life is None:
            self._life = _Lifespan(self._app)
        await self._life.begin()
        response = AsyncAsgiResponse(request)
        task = asyncio.create_task(response.serve(self._app, _scope(request)))
        response.task = task
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        await response.begin(request.head)
        return response

    async def aclose(self) -> None:
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        if self._life is not None:
            life, self._life = self._life, None
            await life.end()


def _scope(request: WireRequest) -> dict[str, Any]:
    address = urlsplit(request.url)
    headers = {"host": address.netloc, "content-length": str(len(request.content))}
    headers |= request.headers
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": request.method,
        "scheme": address.scheme,
        "path": unquote(address.path),
        "raw_path": address.path.encode(),
        "query_string": address.query.encode(),
        "root_path": "",
        "headers": [(name.encode(), text.encode("latin-1")) for name, text in headers.items()],
        "client": ("127.0.0.1", 0),
        "server": (address.hostname, address.port or 80),
        "state": {},
    }


class _Lifespan:
    """The application's start and end."""

    def __init__(self, app: Application) -> None:
        self._app = app
        self._asked: asyncio.Queue[Message] = asyncio.Queue()
        self._told: asyncio.Queue[Message] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None
        self._lock = asyncio.Lock()
        self._known = True

    async def begin(self) -> None:
        async with self._lock:
            if self._task is None:
                self._task = asyncio.create_task(self._run())
                await self._ask("startup")

    async def _run(self) -> None:
        scope = {"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}
        try:
            await self._app(scope, self._asked.get, self._told.put)
        except Exception:
            # The specification's way to say that the application has no lifespan.
            self._known = False
        await self._told.put({"type": "lifespan.over"})

    async def _ask(self, phase: str) -> None:
        await self._asked.put({"type": f"lifespan.{phase}"})
        told = await self._told.get()
        if told["type"] == f"lifespan.{phase}.failed":
            raise ConnectionFailed(f"The application's {phase} failed: {told.get('message', '')}")

    async def end(self) -> None:
        if self._task is not None and not self._task.done():
            await self._ask("shutdown")
            await self._task


class AsgiResponse:
    """See `SyncResponse`."""

    def __init__(self, portal: BlockingPortal, response: AsyncResponse, silence: float | None):
        self.status: int = response.status
        self.headers: Mapping[str, str] = response.headers
        self._portal = portal
        self._response = response
        self._silence = silence

    def receive(self) -> bytes:
        return self._portal.call(self._response.receive, self._silence)

    def close(self) -> None:
        self._portal.call(self._response.aclose)

    def abort(self) -> None:
        self._portal.call(self._response.abort)


class AsgiTransport:
    """Carries requests to an ASGI application; see `SyncTransport`.

    The application runs on an event loop in a thread of this transport's, from its first request
    until the client is closed.
    """

    def __init__(self, app: Application) -> None:
        self._transport = AsyncAsgiTransport(app)
        self._owner = start_blocking_portal()
        self._portal: BlockingPortal | None = None

    def _running(self) -> BlockingPortal:
        if self._portal is None:
            self._portal = self._owner.__enter__()
        return self._portal

    def exchange(self, request: WireRequest) -> WholeResponse:
        return self._running().call(self._transport.exchange, request)

    def open(self, request: WireRequest) -> SyncResponse:
        portal = self._running()
        response = portal.call(self._transport.open, request)
        return AsgiResponse(portal, response, request.silence)

    def close(self) -> None:
        if self._portal is not None:
            self._portal.call(self._transport.aclose)
            self._portal = None
            self._owner.__exit__(None, None, None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
