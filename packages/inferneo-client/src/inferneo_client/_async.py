"""Receives what a caller asks; hands on answers: the async client, and the driver of its calls."""

import contextlib
from collections.abc import Mapping
from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast
from weakref import WeakKeyDictionary

import anyio

from inferneo_client._answers import is_stream, not_a_stream
from inferneo_client._async_streams import AsyncStream
from inferneo_client._calls import (
    Call,
    Knowledge,
    Pause,
    Send,
    cancelling,
    deadline_passed,
    decode_whole,
    perform,
)
from inferneo_client._options import Options, Retry, Timeout, changed_options, first_options
from inferneo_client._plain_calls import AsyncPlainCalls
from inferneo_client._reading import Reading
from inferneo_client._reaping import Reapers, Spawn, running_loop
from inferneo_client._requests import Request, StreamRequest, with_response
from inferneo_client._transport import AsyncResponse, AsyncTransport, WholeResponse
from inferneo_client._transports import new_async_transport
from inferneo_client.types.answer import Answer, decoder
from inferneo_core.errors import ApiError

if TYPE_CHECKING:
    from inferneo_client._async_sockets import AsyncConnection
    from inferneo_client._cache import Cache
    from inferneo_client.resources.accounts import AsyncTokens, AsyncUsageCalls
    from inferneo_client.resources.batch import AsyncBatch
    from inferneo_client.resources.chat import AsyncChat
    from inferneo_client.resources.completions import AsyncCompletions
    from inferneo_client.resources.devices import AsyncDevices
    from inferneo_client.resources.embeddings import AsyncEmbeddings
    from inferneo_client.resources.generate import AsyncGenerate
    from inferneo_client.resources.models import AsyncModels
    from inferneo_client.resources.responses import AsyncResponses
    from inferneo_client.resources.streams import AsyncStreams

C = TypeVar("C", bound=Answer)
W = TypeVar("W")

_CANCEL_SECONDS = 2.0


class _Connections:
    """The transports and the knowledge that a client shares with its variants.

    Connections belong to the event loop that made them: each loop has its own, and those of a loop
    that has ended are dropped and never waited for.
    """

    def __init__(self, client: Any, cache: "Cache | None" = None) -> None:
        self._client = client
        self._cache = cache
        self._transports: WeakKeyDictionary[Any, dict[str, AsyncTransport]] = WeakKeyDictionary()
        self._knowledge: dict[str, Knowledge] = {}
        self.reapers = Reapers()

    def to(self, base_url: str) -> AsyncTransport:
        transports = self._transports.setdefault(running_loop(), {})
        found = transports.get(base_url)
        if found is None:
            found = new_async_transport(base_url, self._client, self._cache)
            transports[base_url] = found
        return found

    def of(self, base_url: str) -> Knowledge:
        return self._knowledge.setdefault(base_url, Knowledge())

    async def aclose(self) -> None:
        await self.reapers.wait()
        for transport in self._transports.pop(running_loop(), {}).values():
            await transport.aclose()


class AsyncInferneo(AsyncPlainCalls):
    """A client of an Inferneo server, or of another OpenAI-compatible one. For one event
    loop at a time.

    Args:
        base_url: usually ends in `/v1`; else `INFERNEO_BASE_URL`, `OPENAI_BASE_URL`, or this host's
            port 8000.
        api_key: else `INFERNEO_API_KEY`, or `OPENAI_API_KEY`.
        timeout: a number of seconds bounds each call as a whole.
        retry: when to try again.
        max_retries: short for `Retry(attempts=max_retries + 1)`.
        headers: sent with each request.
        http_client: a client of httpx or httpx2 to send requests by, which stays the caller's to
            close; or a transport.
        cache: keeps the answers to requests of temperature 0, or with a seed: a `MemoryCache`, a
            `DirectoryCache`, or another `Cache`.
    """

    def __init__(
        self,
        *,
        base_url: str | None = None,
        api_key: str | None = None,
        timeout: Timeout | float | None = None,
        retry: Retry | None = None,
        max_retries: int | None = None,
        headers: Mapping[str, str] | None = None,
        http_client: Any = None,
        cache: "Cache | None" = None,
    ) -> None:
        self._connections = _Connections(http_client, cache)
        self._options: Options = first_options(
            base_url=base_url,
            api_key=api_key,
            timeout=timeout,
            retry=retry,
            max_retries=max_retries,
            headers=headers,
        )

    @property
    def base_url(self) -> str:
        """Where requests go, without a slash at its end."""
        return self._options.base_url

    def __repr__(self) -> str:
        # Without the key, since it ends up in logs.
        return f"AsyncInferneo(base_url={self.base_url!r})"

    def with_options(
        self,
        *,
        base_url: str | None = None,
        api_key: str | None = None,
        timeout: Timeout | float | None = None,
        retry: Retry | None = None,
        max_retries: int | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Self:
        """The same client with other options; it shares the connections, and needs no closing."""
        other = object.__new__(type(self))
        other._connections = self._connections
        other._options = changed_options(
            self._options,
            base_url=base_url,
            api_key=api_key,
            timeout=timeout,
            retry=retry,
            max_retries=max_retries,
            headers=headers,
        )
        return other

    def connect(self) -> "AsyncConnection":
        """Open a session: an `async with` block whose client sends its requests over one WebSocket.

        Many requests run side by side on it, streams and whole answers; a broken socket is opened
        again, and its streams go on where they stopped. What has no frame goes over HTTP.
        """
        from inferneo_client._async_sockets import AsyncConnection

        return AsyncConnection(self, self._options, self._with_transport)

    def _with_transport(self, transport: Any) -> Self:
        other = object.__new__(type(self))
        other._connections = _Connections(transport)
        other._options = self._options
        # Only our server has such sessions, and it joins requests of one key.
        other._connections.of(self._options.base_url).joins = True
        return other

    @cached_property
    def chat(self) -> "AsyncChat":
        """`/v1/chat/completions`."""
        from inferneo_client.resources.chat import AsyncChat

        return AsyncChat(self)

    @cached_property
    def completions(self) -> "AsyncCompletions":
        """`/v1/completions`."""
        from inferneo_client.resources.completions import AsyncCompletions

        return AsyncCompletions(self)

    @cached_property
    def embeddings(self) -> "AsyncEmbeddings":
        """`/v1/embeddings`."""
        from inferneo_client.resources.embeddings import AsyncEmbeddings

        return AsyncEmbeddings(self)

    @cached_property
    def responses(self) -> "AsyncResponses":
        """`/v1/responses`."""
        from inferneo_client.resources.responses import AsyncResponses

        return AsyncResponses(self)

    @cached_property
    def batch(self) -> "AsyncBatch":
        """Many requests at once: `client.batch([...])`."""
        from inferneo_client.resources.batch import AsyncBatch

        return AsyncBatch(self)

    @cached_property
    def models(self) -> "AsyncModels":
        """`/v1/models`."""
        from inferneo_client.resources.models import AsyncModels

        return AsyncModels(self)

    @cached_property
    def devices(self) -> "AsyncDevices":
        """`/v1/devices`: what the server runs models on."""
        from inferneo_client.resources.devices import AsyncDevices

        return AsyncDevices(self)

    @cached_property
    def usage(self) -> "AsyncUsageCalls":
        """`/v1/usage`: what keys have used."""
        from inferneo_client.resources.accounts import AsyncUsageCalls

        return AsyncUsageCalls(self)

    @cached_property
    def tokens(self) -> "AsyncTokens":
        """`/v1/tokens`: short-lived ones."""
        from inferneo_client.resources.accounts import AsyncTokens

        return AsyncTokens(self)

    @cached_property
    def generate(self) -> "AsyncGenerate":
        """`/api/v1/generate`: the custom interface."""
        from inferneo_client.resources.generate import AsyncGenerate

        return AsyncGenerate(self)

    @cached_property
    def streams(self) -> "AsyncStreams":
        """`/v1/streams`: generations that can be picked up."""
        from inferneo_client.resources.streams import AsyncStreams

        return AsyncStreams(self)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._connections.aclose()

    async def close(self) -> None:
        """The same as `aclose`."""
        await self.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def _ask(self, request: Request[W]) -> W:
        """Send a request, and give its answer."""
        response = await self._exchange(request.call)
        answer = decode_whole(response, request.kind)
        return cast("W", with_response(answer, request.call.info(response)))

    async def _begin(self, request: StreamRequest[C, W]) -> AsyncStream[C, W]:
        """Send a request, and give the stream that answers it."""
        call = request.call
        response = await self._open(call)
        reading = Reading(call, response, request.answers or decoder(request.kind), request.fold())
        return AsyncStream(self, reading, response, request.texts)

    async def _exchange(self, call: Call) -> WholeResponse:
        return cast("WholeResponse", await self._drive(call))

    async def _open(self, call: Call) -> AsyncResponse:
        response = await self._drive(call)
        if isinstance(response, WholeResponse):
            raise not_a_stream(response)
        return cast("AsyncResponse", response)

    async def _drive(self, call: Call) -> Any:
        """Carry out the steps of a call, within its total time."""
        remaining = call.remaining()
        if remaining is None:
            return await self._carry_out(call)
        with anyio.move_on_after(max(remaining, 0.0)):
            return await self._carry_out(call)
        raise deadline_passed(call)

    async def _carry_out(self, call: Call) -> Any:
        base_url = call.options.base_url
        transport = self._connections.to(base_url)
        steps = perform(call, self._connections.of(base_url))
        try:
            step = next(steps)
            while True:
                if isinstance(step, Pause):
                    await self._pause(step.seconds)
                    step = next(steps)
                    continue
                try:
                    response = await _send(transport, step)
                except ApiError as error:
                    step = steps.throw(error)
                except anyio.get_cancelled_exc_class():
                    await self._tell(transport, call)
                    raise
                else:
                    step = steps.send(response)
        except StopIteration as stop:
            return stop.value

    async def _tell(self, transport: AsyncTransport, call: Call) -> None:
        """Have the server end what a cancelled call began: it would wait for a retry.

        A hang-up alone would not say whether the call was left or cut, and not every transport
        can hang up before the answer's head.
        """
        ending = cancelling(call)
        if ending is not None and self._connections.of(call.options.base_url).joins is not False:
            with anyio.move_on_after(_CANCEL_SECONDS, shield=True), contextlib.suppress(ApiError):
                await transport.exchange(ending.wire())

    async def _pause(self, seconds: float) -> None:
        if seconds:
            await anyio.sleep(seconds)

    def _spawner(self) -> Spawn:
        return self._connections.reapers.spawner()


async def _send(transport: AsyncTransport, step: Send) -> WholeResponse | AsyncResponse:
    if not step.opened:
        return await transport.exchange(step.request)
    response = await transport.open(step.request)
    if is_stream(response):
        return response
    pieces = []
    try:
        while piece := await response.receive(step.request.silence):
            pieces.append(piece)
    finally:
        await response.aclose()
    return WholeResponse(response.status, response.headers, b"".join(pieces))
