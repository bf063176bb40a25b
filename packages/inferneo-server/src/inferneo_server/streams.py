"""Receives generations; hands on readers of them, and keeps those that are to outlive a reader."""

import asyncio
import contextlib
import hashlib
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from msgspec import Struct

from inferneo_core.codec import encode
from inferneo_core.errors import Cancelled, Conflict, InvalidRequest, StreamNotFound
from inferneo_server.generation import Generation, Terms
from inferneo_server.sharing.copied import Copy

if TYPE_CHECKING:
    from inferneo_server.sharing.redis import SharedStreams

# A client whose connection was cut while the server drains comes back within this time.
DRAIN_GRACE_SECONDS = 2.0


class Reader:
    """A transport's cursor in a generation. It must be closed: the last one to leave ends the work,
    where nobody may come back.

    Attributes:
        position: number of the next event.
        joined: whether the generation was there before, by its idempotency key.
    """

    def __init__(
        self,
        generation: Generation | Copy,
        streams: "Streams",
        position: int = 0,
        *,
        joined: bool = False,
    ) -> None:
        self.generation = generation
        self.position = position
        self.joined = joined
        self._streams = streams
        self._closed = False

    async def read(self) -> list[bytes]:
        """The events that follow, as soon as there is one; none at the end, be it good or bad.

        Raises:
            EventsDropped: the reader is so far behind that what it wants next is gone.
        """
        generation, log = self.generation, self.generation.log
        while self.position == log.count:
            if generation.ended:
                await generation.settled()
                return []
            await generation.advance()
        if generation.ended:
            # The last event may be the end.
            await generation.settled()
        events = log.since(self.position)
        self.position += len(events)
        return events

    async def answer(self) -> bytes:
        """The whole answer, encoded.

        Raises:
            ApiError: the generation failed.
        """
        generation = self.generation
        while not generation.ended:
            await generation.advance()
        await generation.settled()
        if generation.error is not None:
            raise generation.error
        return generation.whole()

    async def aclose(self) -> None:
        """Leave. Idempotent."""
        if not self._closed:
            self._closed = True
            await self._streams.leave(self.generation)


class Streams:
    """The generations of a server that have, or may again get, a reader.

    Args:
        log_bytes: events kept of one generation.
        total_bytes: events kept of all; beyond it those go that nobody reads, the oldest first.
        repeat_seconds: how long a finished generation answers repeats of its idempotency key.
        shared: where other replicas read them, and theirs are read; None where nobody does.
    """

    def __init__(
        self,
        *,
        log_bytes: int = 4 * 2**20,
        total_bytes: int = 256 * 2**20,
        repeat_seconds: float = 600.0,
        shared: "SharedStreams | None" = None,
    ) -> None:
        self.log_bytes = log_bytes
        self._total_bytes = total_bytes
        self._repeat_seconds = repeat_seconds
        self._shared = shared
        self._kept: dict[str, Generation | Copy] = {}
        self._unread: dict[str, _Unread] = {}
        self._unread_bytes = 0
        self._keepers: set[asyncio.Task[None]] = set()
        self._repeats: dict[tuple[str, str], _Repeated] = {}

    def start(self) -> None:
        """Share them with other replicas, where that is wanted, until `aclose`."""
        if self._shared is not None:
            self._shared.start(self._attend)

    def _attend(self, stream_id: str) -> Reader | None:
        generation = self._kept.get(stream_id)
        return self._enter(generation) if isinstance(generation, Generation) else None

    @property
    def awaited(self) -> bool:
        """Whether somebody still reads, or has just been cut off from, what can be resumed."""
        now = asyncio.get_running_loop().time()
        return any(
            generation.readers or now - self._unread[name].since < DRAIN_GRACE_SECONDS
            for name, generation in self._kept.items()
        )

    async def begin(
        self, request: Struct, terms: Terms, make: Callable[[], Awaitable[Generation]]
    ) -> Reader:
        """Begin a generation, or join the one that has the same idempotency key.

        Raises:
            Conflict: the key is that of another request.
            ApiError: as `make` does.
        """
        if terms.idempotency_key is None:
            return await self._announced(self._enter(await make()))
        key = (terms.owner, terms.idempotency_key)
        # With the kind of request: bodies of two routes may be alike.
        kind = type(request).__name__.encode()
        body = hashlib.sha256(kind + encode(request)).digest()
        while (known := self._repeats.get(key)) is not None:
            if known.body != body:
                raise Conflict(
                    f"The Idempotency-Key '{terms.idempotency_key}' belongs to another request",
                    code="idempotency_conflict",
                )
            await known.begun.wait()
            if known.generation is not None and known.generation.error is None:
                return self._enter(known.generation, joined=True)
            if self._repeats.get(key) is known:
                break
        self._repeats[key] = repeated = _Repeated(body)
        try:
            generation = repeated.generation = await self._make(terms, body, make)
        except BaseException:
            # Whoever waits tries it for himself: the fault may have been ours alone.
            del self._repeats[key]
            raise
        finally:
            repeated.begun.set()
        reader = self._enter(generation, joined=isinstance(generation, Copy))
        return await self._announced(reader)

    async def _announced(self, reader: Reader) -> Reader:
        """Have other replicas know of a generation that has just begun, where they may be asked."""
        if self._shared is not None and reader.generation.terms.resume_for:
            try:
                await self._shared.announce(reader.generation)
            except BaseException:
                await reader.aclose()
                raise
        return reader

    async def _make(
        self, terms: Terms, body: bytes, make: Callable[[], Awaitable[Generation]]
    ) -> Generation | Copy:
        if self._shared is None:
            return await make()
        generation = await self._shared.begin(terms, body, make)
        # It may be read here by its id.
        return self._kept.get(generation.id, generation)

    def _enter(
        self, generation: Generation | Copy, position: int = 0, *, joined: bool = False
    ) -> Reader:
        generation.readers += 1
        if generation.terms.kept:
            if self._shared is not None and self._kept.get(generation.id) is not generation:
                self._shared.take(generation)
            self._kept[generation.id] = generation
            if unread := self._take_back(generation):
                unread.keeper.cancel()
        return Reader(generation, self, position, joined=joined)

    def find(self, stream_id: str, owner: str) -> Generation | Copy:
        """A generation that is kept here, and can be read again.

        Raises:
            StreamNotFound: there is none of that id, or it is not the owner's.
        """
        generation = self._kept.get(stream_id)
        if generation is None or generation.terms.owner != owner:
            raise StreamNotFound(stream_id)
        return generation

    async def locate(self, stream_id: str, owner: str, after: int = -1) -> Generation | Copy:
        """A generation that can be read again, wherever that is written.

        Args:
            stream_id: its id.
            owner: whose it is.
            after: the last event that its reader has seen.

        Raises:
            StreamNotFound: as `find` does.
            EngineUnavailable: it is not here, and elsewhere cannot be looked up.
        """
        if self._shared is None or stream_id in self._kept:
            return self.find(stream_id, owner)
        found = await self._shared.find(stream_id, owner, after)
        if found is None:
            raise StreamNotFound(stream_id)
        return found

    def resume(self, stream_id: str, owner: str, after: int) -> Reader:
        """Go on with a generation that is kept here behind an event; -1 begins at the beginning.

        Raises:
            StreamNotFound: as `find` does.
            ApiError: as `go_on` does.
        """
        return self.go_on(self.find(stream_id, owner), after)

    def go_on(self, generation: Generation | Copy, after: int) -> Reader:
        """Read a generation behind an event; -1 begins at the beginning.

        Raises:
            StreamNotFound: it is kept no longer.
            InvalidRequest: there has been no such event yet.
            EventsDropped: the events that follow are gone.
        """
        kept = self._kept.get(generation.id)
        if kept is None and isinstance(generation, Generation):
            # Its time has run out since it was found.
            raise StreamNotFound(generation.id)
        # Of another replica's, somebody else may have begun to read it here meanwhile.
        generation = kept or generation
        # The end has a number as well, the one behind the last event.
        if not -1 <= after < generation.log.count + generation.ended:
            raise InvalidRequest(f"There is no event {after} yet", param="after")
        position = min(after + 1, generation.log.count)
        generation.log.since(position)
        return self._enter(generation, position)

    async def leave(self, generation: Generation | Copy) -> None:
        """A reader has gone."""
        generation.readers -= 1
        if generation.readers:
            return
        if isinstance(generation, Copy):
            self._forget(generation)
            return
        terms = generation.terms
        if not terms.kept:
            await generation.close()
        elif generation.ended or terms.resume_for:
            keeper = asyncio.create_task(self._keep(generation))
            self._keepers.add(keeper)
            keeper.add_done_callback(self._keepers.discard)
            now = asyncio.get_running_loop().time()
            self._unread[generation.id] = _Unread(since=now, keeper=keeper)
            await self._weigh(generation)
        else:
            self._forget(generation)
            await generation.close()

    async def _keep(self, generation: Generation) -> None:
        """Be the reader of a generation that has none, until its time is over."""
        loop, terms = asyncio.get_running_loop(), generation.terms
        left = loop.time()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(terms.resume_for):
                while not generation.ended:
                    await generation.advance()
                    await self._weigh(generation)
        complete = generation.ended
        if not complete:
            # First of all: who came back while the engine is told would stop that half-way.
            self._forget(generation)
        await generation.close()
        if complete and generation.id in self._kept:
            repeat = self._repeat_seconds if terms.idempotency_key else 0.0
            await asyncio.sleep(max(terms.resume_for, repeat) - (loop.time() - left))
        self._forget(generation)

    def _take_back(self, generation: Generation | Copy) -> "_Unread | None":
        unread = self._unread.pop(generation.id, None)
        if unread:
            self._unread_bytes -= unread.bytes
        return unread

    def _forget(self, generation: Generation | Copy) -> None:
        self._take_back(generation)
        if self._kept.get(generation.id) is generation:
            del self._kept[generation.id]
        key = (generation.terms.owner, generation.terms.idempotency_key or "")
        repeated = self._repeats.get(key)
        if repeated is not None and repeated.generation is generation:
            del self._repeats[key]
        if self._shared is not None:
            self._shared.forget(generation)

    async def _weigh(self, generation: Generation) -> None:
        """Count what a generation without a reader has written, and make room for it."""
        if unread := self._unread.get(generation.id):
            self._unread_bytes += generation.log.bytes - unread.bytes
            unread.bytes = generation.log.bytes
        while self._unread_bytes > self._total_bytes:
            oldest = next(iter(self._unread))
            await self._drop(oldest, Cancelled("There was no room to keep it for a reader"))

    async def _drop(self, name: str, reason: Cancelled) -> None:
        """Forget a generation without a reader, and end what it still does."""
        generation, keeper = self._kept[name], self._unread[name].keeper
        assert isinstance(generation, Generation)
        self._forget(generation)
        if not generation.ended:
            # Its keeper, which waits for the engine, sees to the rest.
            await generation.stop(reason)
        elif keeper is not asyncio.current_task():
            keeper.cancel()
            await asyncio.wait([keeper])
            await generation.close()

    async def cancel(self, stream_id: str, owner: str) -> None:
        """End a generation for all its readers.

        Raises:
            StreamNotFound: as `find` does.
            EngineUnavailable: as `locate` does.
        """
        generation = await self.locate(stream_id, owner)
        await generation.stop(Cancelled("The generation was cancelled"))

    async def cancel_begun(self, key: str, owner: str) -> str:
        """End the generation that was begun with an idempotency key, and give its id.

        Raises:
            StreamNotFound: none was, or it has gone.
            EngineUnavailable: as `locate` does.
        """
        known = self._repeats.get((owner, key))
        if known is not None:
            await known.begun.wait()
            generation = known.generation
        elif self._shared is not None:
            generation = await self._shared.begun(owner, key)
        else:
            generation = None
        if generation is None:
            raise StreamNotFound(key)
        await generation.stop(Cancelled("The generation was cancelled"))
        return generation.id

    async def aclose(self) -> None:
        """End all that is kept without a reader."""
        if self._shared is not None:
            await self._shared.dismiss()
        while self._unread:
            # One that will not close keeps no other open.
            with contextlib.suppress(Exception):
                await self._drop(next(iter(self._unread)), Cancelled("The server has stopped"))
        await asyncio.gather(*self._keepers, return_exceptions=True)
        if self._shared is not None:
            await self._shared.aclose()


class _Repeated:
    """A request that may be repeated: what it asks, and its generation once that has begun."""

    def __init__(self, body: bytes) -> None:
        self.body = body
        self.begun = asyncio.Event()
        self.generation: Generation | Copy | None = None


class _Unread(Struct, kw_only=True):
    """What is known of a generation without a reader: since when, by the loop's clock."""

    since: float
    keeper: asyncio.Task[None]
    bytes: int = 0
