"""Receives the frames of a WebSocket at `/v1/responses`; hands on the events of its responses.

Source: https://platform.openai.com/docs/guides/websocket-mode
"""

import asyncio
from typing import Any, Final

import msgspec
from litestar.types import Receive
from msgspec import UNSET, Struct, UnsetType

from inferneo_core.codec import decode_known, decode_request, encode
from inferneo_core.errors import InvalidRequest, RequestError
from inferneo_core.frames import RequestId
from inferneo_core.limits import LimitsLeft
from inferneo_core.responses import ResponseRequest, response_request
from inferneo_server.answers.responses import ResponseForm
from inferneo_server.generation import Terms
from inferneo_server.response_store import ResponseStore
from inferneo_server.responses import Responses
from inferneo_server.service import Service
from inferneo_server.settings import Settings
from inferneo_server.transports.errors import to_api_error
from inferneo_server.transports.requests import refuse_or_name
from inferneo_server.transports.session import Running, Session, limits_left

# What a socket may go on from though it was not to be stored.
UNSTORED_COUNT = 64


class Create(Struct, frozen=True, kw_only=True):
    """What a frame says beside the body of the route.

    Frames of one `stream_id` are answered one after the other, those of several side by side.
    Without `generate` the input is kept for a later `previous_response_id`, and not answered.
    """

    type: str
    stream_id: str | None = None
    generate: bool | None = None


_FRAME_FIELDS: Final = frozenset(Create.__struct_fields__)
_create: Final = msgspec.json.Decoder(Create)


class ResponseError(Struct, frozen=True, kw_only=True, tag_field="type", tag="error"):
    """The end of a response that was refused, or of a frame that is none."""

    status: int
    error: Any
    stream_id: str | UnsetType = UNSET
    retry_after_ms: int | UnsetType = UNSET
    limits: LimitsLeft | UnsetType = UNSET


class ResponseSession(Session):
    """One WebSocket at `/v1/responses`.

    Args:
        receive: gives the socket's messages.
        send: takes messages for it; waits while the client is slow.
        service: answers the requests.
        settings: the limits.
        responses: the server's responses.
    """

    def __init__(
        self,
        receive: Receive,
        send: Any,
        service: Service,
        settings: Settings,
        responses: Responses,
    ) -> None:
        super().__init__(receive, send, service, settings, response_request, ResponseForm)
        self._responses = responses
        self._unstored = ResponseStore(
            max_count=UNSTORED_COUNT,
            max_bytes=settings.responses_bytes,
            seconds=settings.responses_seconds,
        )
        self._lanes: dict[str | None, asyncio.Task[None]] = {}

    async def _take(self, data: bytes) -> None:
        lane = None
        try:
            frame = decode_request(data, _create)
            if frame.type in ("ping", "auth"):
                await super()._take(data)
                return
            lane = frame.stream_id
            if frame.type != "response.create":
                raise InvalidRequest(
                    f"There is no frame of type '{frame.type}'; there is 'response.create'",
                    param="type",
                )
            request, unknown = decode_known(data, response_request)
            if ignored := [name for name in unknown if name not in _FRAME_FIELDS]:
                refuse_or_name(ignored, self._settings)
            if request.background:
                raise InvalidRequest(
                    "'background' is not served on a WebSocket", param="background"
                )
            # On a socket all answers are streamed.
            request = msgspec.structs.replace(request, stream=True)
            self._queue(lane, request, answered=frame.generate is not False)
        except RequestError as error:
            await self._refuse_on(lane, error)

    def _queue(self, lane: str | None, request: ResponseRequest, *, answered: bool) -> None:
        """Answer a request once those before it on its lane are answered.

        Raises:
            TooManyRequests: as many run or wait as may.
        """
        work = self._respond if answered else self._prepare
        task = self._start(None, work, request, lane, self._lanes.get(lane))
        self._lanes[lane] = task

        def free(done: asyncio.Task[None]) -> None:
            if self._lanes.get(lane) is done:
                del self._lanes[lane]

        task.add_done_callback(free)

    async def _respond(
        self,
        running: Running,
        request: ResponseRequest,
        lane: str | None,
        before: "asyncio.Task[None] | None",
    ) -> None:
        await self._enter(running, lane, before)
        try:
            terms = Terms(identity=self._identity)
            reader = await self._responses.begin(request, terms, self._unstored)
        except Exception as error:
            await self._refuse_on(lane, error)
            return
        running.reader = reader
        while events := await reader.read():
            for event in events:
                await self._send(running.head + event[1:])
        generation = reader.generation
        if generation.error is None:
            return
        told = to_api_error(generation.error)
        if isinstance(told, RequestError):
            await self._refuse_on(lane, told, limits_left(running))
        else:
            await self._send(running.head + generation.form.end(told)[1:])

    async def _prepare(
        self,
        running: Running,
        request: ResponseRequest,
        lane: str | None,
        before: "asyncio.Task[None] | None",
    ) -> None:
        await self._enter(running, lane, before)
        try:
            events = await self._responses.prepare(request, self._identity, self._unstored)
        except Exception as error:
            await self._refuse_on(lane, error)
            return
        for event in events:
            await self._send(running.head + event[1:])

    async def _enter(
        self, running: Running, lane: str | None, before: "asyncio.Task[None] | None"
    ) -> None:
        if lane is not None:
            running.head = b'{"stream_id":%b,' % encode(lane)
        if before is not None:
            await asyncio.wait([before])

    async def _refuse_on(
        self, lane: str | None, error: Exception, limits: LimitsLeft | None = None
    ) -> None:
        told = to_api_error(error)
        delay = told.headers.get("retry-after-ms")
        refusal = ResponseError(
            status=told.status,
            error=told.body().error,
            stream_id=UNSET if lane is None else lane,
            retry_after_ms=int(delay) if delay else UNSET,
            limits=told.limits or limits or UNSET,
        )
        await self._send(encode(refusal))

    async def _fail(
        self, request_id: RequestId | None, error: Exception, limits: LimitsLeft | None = None
    ) -> None:
        await self._refuse_on(None, error, limits)
