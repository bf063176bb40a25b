"""Receives the frames of one WebSocket; hands on those of its requests, which run side by side."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from litestar.types import Receive

from inferneo_core.chat import ChatCompletionRequest
from inferneo_core.codec import decode_known, encode
from inferneo_core.completions import CompletionRequest
from inferneo_core.errors import (
    ApiError,
    AuthenticationFailed,
    Cancelled,
    Conflict,
    InvalidRequest,
    RequestError,
    RequestNotFound,
    TooManyRequests,
)
from inferneo_core.frames import (
    Auth,
    Call,
    Cancel,
    Done,
    Failure,
    Frame,
    Notice,
    Ping,
    RequestId,
    Resume,
    decode_frame,
    frame_request_id,
)
from inferneo_core.limits import LimitsLeft
from inferneo_server.access.check import check_scope
from inferneo_server.access.identity import ANYONE, Identity
from inferneo_server.access.keys import Keys
from inferneo_server.answers.base import AnswerForm
from inferneo_server.service import Service
from inferneo_server.settings import Settings
from inferneo_server.streams import Reader
from inferneo_server.transports.errors import to_api_error
from inferneo_server.transports.requests import make_terms, refuse_or_name

CLOSE_NORMAL = 1000
CLOSE_UNSUPPORTED = 1003
_CALL_FIELDS = frozenset(Call.__struct_fields__)


class Disconnected(Exception):
    """The socket is closed."""


class Running:
    """A request of the socket that runs, and its reader once it has begun."""

    def __init__(self, request_id: RequestId | None) -> None:
        self.request_id = request_id
        self.reader: Reader | None = None
        self.cancelled = False
        self.working = False
        self.task: asyncio.Task[None] | None = None
        # What each of its frames begins with.
        self.head = b"{" if request_id is None else b'{"request_id":%b,' % encode(request_id)


class Session:
    """One WebSocket.

    Args:
        receive: gives the socket's messages.
        send: takes messages for it; waits while the client is slow.
        service: answers the requests.
        settings: the limits.
        decoder: of the route's requests.
        form: words the route's answers.
    """

    def __init__(
        self,
        receive: Receive,
        send: Any,
        service: Service,
        settings: Settings,
        decoder: msgspec.json.Decoder[Any],
        form: type[AnswerForm],
    ) -> None:
        self._receive = receive
        self._send_message = send
        self._service = service
        self._settings = settings
        self._decoder = decoder
        self._form = form
        self._identity = ANYONE
        self._keys: Keys | None = None
        self._needed = ""
        self._requests: dict[object, Running] = {}

    async def authenticate(self, keys: Keys, needed: str) -> Identity:
        """Wait for the first frame, which must hold credentials, and say whose they are.

        Raises:
            AuthenticationFailed: it holds none, wrong ones, or does not come.
            PermissionDenied: they have not the scope that is needed.
            Disconnected: the socket is closed.
        """
        frame = None
        with contextlib.suppress(TimeoutError, InvalidRequest):
            frame = decode_frame(await self._next_text(self._settings.websocket_auth_seconds))
        credential = (frame.token or frame.api_key) if isinstance(frame, Auth) else None
        if not isinstance(frame, Auth) or not credential:
            raise AuthenticationFailed("The first frame must hold your key: see docs/protocol.md")
        identity = await keys.identify(credential)
        check_scope(identity, needed)
        await self._notify("authenticated", frame)
        return identity

    async def run(self, identity: Identity, keys: Keys, needed: str) -> None:
        """Serve their requests until the socket is closed, as long as the keys know them, with the
        scope that is needed."""
        self._identity, self._keys, self._needed = identity, keys, needed
        try:
            while True:
                try:
                    data = await self._next_text(self._settings.websocket_idle_seconds)
                except TimeoutError:
                    if self._requests:
                        continue
                    await self.close(CLOSE_NORMAL, "Idle")
                    return
                await self._take(data)
        except (Disconnected, OSError):
            return
        finally:
            tasks = [running.task for running in self._requests.values() if running.task]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _next_text(self, seconds: float) -> bytes:
        """Wait for the next text frame.

        Raises:
            TimeoutError: none has come in that time.
            Disconnected: the socket is closed.
        """
        async with asyncio.timeout(seconds):
            message = await self._receive()
        if message["type"] != "websocket.receive":
            raise Disconnected
        text: str | None = message.get("text")
        if text is None:
            await self.close(CLOSE_UNSUPPORTED, "Frames are JSON text")
            raise Disconnected
        return text.encode()

    async def close(self, code: int, reason: str) -> None:
        """Close the socket; the reason is cut to what a close frame holds."""
        reason = reason.encode()[:123].decode(errors="ignore")
        await self._send_message({"type": "websocket.close", "code": code, "reason": reason})

    async def _take(self, data: bytes) -> None:
        try:
            frame = decode_frame(data)
            match frame:
                case Ping():
                    await self._notify("pong", frame)
                case Auth():
                    await self._authenticate_again(frame)
                case Cancel():
                    await self._cancel(frame)
                case Resume():
                    self._start(frame.request_id, self._resume, frame)
                case Call():
                    request, unknown = decode_known(data, self._decoder)
                    if ignored := [name for name in unknown if name not in _CALL_FIELDS]:
                        refuse_or_name(ignored, self._settings)
                    self._start(frame.request_id, self._answer, frame, request)
        except InvalidRequest as error:
            await self._fail(frame_request_id(data), error)
        except RequestError as error:
            await self._fail(frame.request_id, error)

    async def _authenticate_again(self, frame: Auth) -> None:
        """Take newer credentials of the same owner, where those of before come to their end.

        Raises:
            AuthenticationFailed: they are wrong, or another's.
            PermissionDenied: they have not the scope that is needed.
        """
        credential = frame.token or frame.api_key
        if self._keys is not None and self._keys.required and credential:
            identity = await self._keys.identify(credential)
            check_scope(identity, self._needed)
            if self._identity.owner not in ("", identity.owner):
                raise AuthenticationFailed("These credentials are another's; open another socket")
            self._identity = identity
        await self._notify("authenticated", frame)

    def _renew(self) -> None:
        """See to it that who opened the socket may still use it: a key may have been revoked.

        Raises:
            AuthenticationFailed: their time is over.
            PermissionDenied: they have lost the scope.
        """
        assert self._keys is not None
        self._identity = self._keys.renewed(self._identity)
        check_scope(self._identity, self._needed)

    def _start(
        self, request_id: RequestId | None, work: Any, *arguments: Any
    ) -> asyncio.Task[None]:
        """Run a request in a task of its own.

        Raises:
            Conflict: a request of that id is running.
            TooManyRequests: as many run as may.
        """
        limit = self._settings.websocket_requests
        if len(self._requests) >= limit:
            raise TooManyRequests(f"{limit} requests run on this socket, which is all that may")
        running = Running(request_id)
        key: object = running if request_id is None else request_id
        if key in self._requests:
            raise Conflict(
                f"A request with the request_id {request_id!r} is running; it goes on",
                code="duplicate_request_id",
            )
        self._requests[key] = running
        running.task = asyncio.create_task(self._run(running, lambda: work(running, *arguments)))
        running.task.add_done_callback(lambda _: self._requests.pop(key, None))
        return running.task

    async def _run(self, running: Running, work: Callable[[], Awaitable[None]]) -> None:
        """See one request to its end, whatever that is."""
        running.working = True
        try:
            if running.cancelled:
                await self._done(running)
            else:
                self._renew()
                await work()
        except (Disconnected, OSError):
            return
        except asyncio.CancelledError:
            if not running.cancelled:
                raise
            # Before it had begun: there is nothing to tell of it but this.
            await self._done(running)
        except Exception as error:
            if isinstance(error, Cancelled):
                await self._done(running)
            else:
                await self._fail(running.request_id, error, limits_left(running))
        finally:
            if running.reader is not None:
                await running.reader.aclose()

    async def _answer(
        self, running: Running, call: Call, request: ChatCompletionRequest | CompletionRequest
    ) -> None:
        terms = make_terms(
            self._identity,
            self._settings,
            resume_for=call.resume_for,
            timeout=call.timeout,
            idempotency_key=call.idempotency_key,
        )
        running.reader = await self._service.begin(request, terms)
        await (self._stream(running) if request.stream else self._whole(running))

    async def _resume(self, running: Running, frame: Resume) -> None:
        streams = self._service.streams
        generation = await streams.locate(frame.id, self._identity.owner, frame.after)
        running.reader = streams.go_on(generation, frame.after)
        await (self._stream(running) if frame.stream else self._whole(running))

    async def _whole(self, running: Running) -> None:
        assert running.reader is not None
        answer = await running.reader.answer()
        await self._send(running.head + answer[1:])

    async def _stream(self, running: Running) -> None:
        reader = running.reader
        assert reader is not None
        generation, head = reader.generation, running.head
        numbered = generation.terms.resume_for > 0
        while events := await reader.read():
            number = reader.position - len(events)
            for event in events:
                # The usage is told at the end: no frame has empty `choices`.
                if number != generation.usage_event:
                    frame = head + b'"seq":%d,' % number if numbered else head
                    await self._send(frame + event[1:])
                number += 1
        if generation.error is not None:
            raise generation.error
        await self._done(running)

    async def _done(self, running: Running) -> None:
        generation = running.reader.generation if running.reader else None
        request_id = msgspec.UNSET if running.request_id is None else running.request_id
        if generation is None:
            done = Done(object=self._form.done, request_id=request_id, cancelled=True)
        else:
            done = Done(
                object=generation.form.done,
                request_id=request_id,
                seq=generation.log.count if generation.terms.resume_for else msgspec.UNSET,
                id=generation.id,
                model=generation.form.model,
                usage=generation.usage(),
                limits=limits_left(running) or msgspec.UNSET,
                cancelled=isinstance(generation.error, Cancelled),
            )
        await self._send(encode(done))

    async def _cancel(self, frame: Cancel) -> None:
        """End a request of this socket; its own last frame tells of it.

        Raises:
            RequestNotFound: there is none of that id.
        """
        running = self._find(frame)
        running.cancelled = True
        if running.reader is not None:
            await running.reader.generation.stop(Cancelled("The request was cancelled"))
        elif running.task is not None and running.working:
            running.task.cancel()

    def _find(self, frame: Cancel) -> Running:
        if frame.request_id is not None and frame.request_id in self._requests:
            return self._requests[frame.request_id]
        for running in self._requests.values():
            if frame.id and running.reader and running.reader.generation.id == frame.id:
                return running
        raise RequestNotFound("No such request is running on this socket")

    async def _notify(self, what: Any, frame: Frame) -> None:
        request_id = msgspec.UNSET if frame.request_id is None else frame.request_id
        await self._send(encode(Notice(type=what, request_id=request_id)))

    async def refuse(self, error: ApiError) -> None:
        """Say why, and close the socket."""
        await self._fail(None, error)
        await self.close(error.close_code, error.message)

    async def _fail(
        self, request_id: RequestId | None, error: Exception, limits: LimitsLeft | None = None
    ) -> None:
        told = to_api_error(error)
        delay = told.headers.get("retry-after-ms")
        failure = Failure(
            error=told.body().error,
            status=told.status,
            request_id=msgspec.UNSET if request_id is None else request_id,
            retry_after_ms=int(delay) if delay else msgspec.UNSET,
            limits=told.limits or limits or msgspec.UNSET,
        )
        await self._send(encode(failure))

    async def _send(self, frame: bytes) -> None:
        await self._send_message({"type": "websocket.send", "text": frame.decode()})


def limits_left(running: Running) -> LimitsLeft | None:
    """What the caller of a request that had begun has left, where that is limited."""
    spend = running.reader.generation.spend if running.reader else None
    return spend.left() if spend else None
