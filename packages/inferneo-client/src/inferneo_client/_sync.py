"""Receives what a caller asks; hands on answers: the sync client, and the driver of its calls."""

import contextlib
import time
from collections.abc import Mapping
from functools import cached_property
from threading import Lock
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast

from msgspec.structs import replace

from inferneo_client._answers import is_stream, not_a_stream
from inferneo_client._calls import (
    Call,
    Knowledge,
    Pause,
    Send,
    cancelling,
    decode_whole,
    perform,
)
from inferneo_client._options import Options, Retry, Timeout, changed_options, first_options
from inferneo_client._plain_calls import PlainCalls
from inferneo_client._reading import Reading
from inferneo_client._requests import Request, StreamRequest, with_response
from inferneo_client._streams import CANCEL_TIMEOUT, Stream
from inferneo_client._transport import SyncResponse, SyncTransport, WholeResponse
from inferneo_client._transports import new_transport
from inferneo_client.types.answer import Answer, decoder
from inferneo_core.errors import ApiError

if TYPE_CHECKING:
    from inferneo_client._cache import Cache
    from inferneo_client._sockets import Connection
    from inferneo_client.resources.accounts import Tokens, UsageCalls
    from inferneo_client.resources.batch import Batch
    from inferneo_client.resources.chat import Chat
    from inferneo_client.resources.completions import Completions
    from inferneo_client.resources.devices import Devices
    from inferneo_client.resources.embeddings import Embeddings
    from inferneo_client.resources.generate import Generate
    from inferneo_client.resources.models import Models
    from inferneo_client.resources.responses import Responses
    from inferneo_client.resources.streams import Streams

C = TypeVar("C", bound=Answer)
W = TypeVar("W")


class _Connections:
    """The transports and the knowledge that a client shares with its variants, by `base_url`."""

    def __init__(self, client: Any, cache: "Cache | None" = None) -> None:
        self._client = client
        self._cache = cache
        self._transports: dict[str, SyncTransport] = {}
        self._knowledge: dict[str, Knowledge] = {}
        self._lock = Lock()

    def to(self, base_url: str) -> SyncTransport:
        found = self._transports.get(base_url)
        if found is None:
            with self._lock:
                found = self._transports.get(base_url) or new_transport(
                    base_url, self._client, self._cache
                )
                self._transports[base_url] = found
        return found

    def of(self, base_url: str) -> Knowledge:
        return self._knowledge.setdefault(base_url, Knowledge())

    def close(self) -> None:
        with self._lock:
            transports, self._transports = self._transports, {}
        for transport in transports.values():
            transport.close()


class Inferneo(PlainCalls):
    """A client of an Inferneo server, or of another OpenAI-compatible one. Safe across threads.

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
        return f"Inferneo(base_url={self.base_url!r})"

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

    def connect(self) -> "Connection":
        """Open a session: a `with` block whose client sends its requests over one WebSocket.

        Many requests run side by side on it, streams and whole answers; a broken socket is opened
        again, and its streams go on where they stopped. What has no frame goes over HTTP.
        """
        from inferneo_client._sockets import Connection

        return Connection(self, self._options, self._with_transport)

    def _with_transport(self, transport: Any) -> Self:
        other = object.__new__(type(self))
        other._connections = _Connections(transport)
        other._options = self._options
        # Only our server has such sessions, and it joins requests of one key.
        other._connections.of(self._options.base_url).joins = True
        return other

    @cached_property
    def chat(self) -> "Chat":
        """`/v1/chat/completions`."""
        from inferneo_client.resources.chat import Chat

        return Chat(self)

    @cached_property
    def completions(self) -> "Completions":
        """`/v1/completions`."""
        from inferneo_client.resources.completions import Completions

        return Completions(self)

    @cached_property
    def embeddings(self) -> "Embeddings":
        """`/v1/embeddings`."""
        from inferneo_client.resources.embeddings import Embeddings

        return Embeddings(self)

    @cached_property
    def responses(self) -> "Responses":
        """`/v1/responses`."""
        from inferneo_client.resources.responses import Responses

        return Responses(self)

    @cached_property
    def batch(self) -> "Batch":
        """Many requests at once: `client.batch([...])`."""
        from inferneo_client.resources.batch import Batch

        return Batch(self)

    @cached_property
    def models(self) -> "Models":
        """`/v1/models`."""
        from inferneo_client.resources.models import Models

        return Models(self)

    @cached_property
    def devices(self) -> "Devices":
        """`/v1/devices`: what the server runs models on."""
        from inferneo_client.resources.devices import Devices

        return Devices(self)

    @cached_property
    def usage(self) -> "UsageCalls":
        """`/v1/usage`: what keys have used."""
        from inferneo_client.resources.accounts import UsageCalls

        return UsageCalls(self)

    @cached_property
    def tokens(self) -> "Tokens":
        """`/v1/tokens`: short-lived ones."""
        from inferneo_client.resources.accounts import Tokens

        return Tokens(self)

    @cached_property
    def generate(self) -> "Generate":
        """`/api/v1/generate`: the custom interface."""
        from inferneo_client.resources.generate import Generate

        return Generate(self)

    @cached_property
    def streams(self) -> "Streams":
        """`/v1/streams`: generations that can be picked up."""
        from inferneo_client.resources.streams import Streams

        return Streams(self)

    def close(self) -> None:
        """Close the connections."""
        self._connections.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _ask(self, request: Request[W]) -> W:
        """Send a request, and give its answer."""
        response = self._exchange(request.call)
        answer = decode_whole(response, request.kind)
        return cast("W", with_response(answer, request.call.info(response)))

    def _begin(self, request: StreamRequest[C, W]) -> Stream[C, W]:
        """Send a request, and give the stream that answers it."""
        call = request.call
        response = self._open(call)
        reading = Reading(call, response, request.answers or decoder(request.kind), request.fold())
        return Stream(self, reading, response, request.texts)

    def _exchange(self, call: Call) -> WholeResponse:
        return cast("WholeResponse", self._drive(call))

    def _open(self, call: Call) -> SyncResponse:
        response = self._drive(call)
        if isinstance(response, WholeResponse):
            raise not_a_stream(response)
        return cast("SyncResponse", response)

    def _drive(self, call: Call) -> Any:
        """Carry out the steps of a call."""
        base_url = call.options.base_url
        transport = self._connections.to(base_url)
        steps = perform(call, self._connections.of(base_url))
        try:
            step = next(steps)
            while True:
                if isinstance(step, Pause):
                    self._pause(step.seconds)
                    step = next(steps)
                    continue
                try:
                    response = _send(transport, step)
                except ApiError as error:
                    step = steps.throw(error)
                except KeyboardInterrupt:
                    self._tell(transport, call)
                    raise
                else:
                    step = steps.send(response)
        except StopIteration as stop:
            return stop.value

    def _tell(self, transport: SyncTransport, call: Call) -> None:
        """Have the server end what an interrupted call began: it would wait for a retry."""
        ending = cancelling(call)
        if ending is not None and self._connections.of(call.options.base_url).joins is not False:
            ending.options = replace(ending.options, timeout=CANCEL_TIMEOUT)
            with contextlib.suppress(ApiError):
                transport.exchange(ending.wire())

    def _pause(self, seconds: float) -> None:
        if seconds:
            time.sleep(seconds)


def _send(transport: SyncTransport, step: Send) -> WholeResponse | SyncResponse:
    if not step.opened:
        return transport.exchange(step.request)
    response = transport.open(step.request)
    if is_stream(response):
        return response
    try:
        body = b"".join(iter(response.receive, b""))
    finally:
        response.close()
    return WholeResponse(response.status, response.headers, body)
