"""Receives this replica's generations; hands them on to the others by a Redis, and theirs here.

One task writes what is new, and reads what is new, of all of them in one round trip.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any
from uuid import uuid4

import msgspec
from redis.asyncio import Redis
from redis.exceptions import RedisError

from inferneo_core.errors import EngineUnavailable
from inferneo_server.generation import Generation, Terms
from inferneo_server.sharing.attendance import Attendance
from inferneo_server.sharing.claims import Claims
from inferneo_server.sharing.copied import Copy
from inferneo_server.sharing.published import Published
from inferneo_server.sharing.records import (
    LEASE_SECONDS,
    RENEW_SECONDS,
    About,
    Ask,
    Claim,
    about_key,
    asks_key,
    events_key,
    lease_key,
)
from inferneo_server.sharing.round import Round, answer
from inferneo_server.streams import Reader

# What is written meanwhile goes over together.
ROUND_SECONDS = 0.02
PAUSE_SECONDS = 0.5
CLOSE_SECONDS = 3.0
MAX_ASKS = 1000

_LEASE_MS = round(LEASE_SECONDS * 1000)
_LOST = "The server that worked on this generation is gone"
_AWAY = "What other servers write cannot be read at the moment"

logger = logging.getLogger(__name__)


class SharedStreams:
    """The generations that several replicas share. While Redis is away each has its own.

    Args:
        client: gives bytes; closed with this.
        log_bytes: events kept of another replica's generation.
        repeat_seconds: how long a finished generation answers repeats of its idempotency key.

    Attributes:
        replica: the name of this one, anew with each start.
    """

    def __init__(self, client: "Redis", *, log_bytes: int, repeat_seconds: float) -> None:
        self.replica = uuid4().hex
        self._client = client
        self._log_bytes = log_bytes
        self._repeat_seconds = repeat_seconds
        self._running: dict[str, Published] = {}
        self._finished: dict[str, Published] = {}
        self._copies: dict[str, Copy] = {}
        self._claims = Claims(client, self.replica, self._joinable)
        self._asks: list[tuple[str, Ask]] = []
        self._attendance: Attendance | None = None
        self._busy = asyncio.Event()
        self._renewed_at = float("-inf")
        self._failing_since: float | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self, enter: Callable[[str], Reader | None]) -> None:
        """Begin to share; `enter` gives the readers, by a generation's id, that stand for
        those of other replicas."""
        self._attendance = Attendance(enter)
        self._task = asyncio.create_task(self._run())

    # What a replica tells of itself.

    def take(self, generation: Generation | Copy) -> None:
        """Have others read a generation of ours, or read on in one of theirs."""
        if isinstance(generation, Copy):
            self._copies[generation.id] = generation
            self._ask(generation, "read")
            return
        terms = generation.terms
        repeat = self._repeat_seconds if terms.idempotency_key else 0.0
        self._running[generation.id] = Published(
            generation,
            self.replica,
            self._claims.of(generation.id),
            max(terms.resume_for, repeat),
        )
        self._busy.set()

    async def announce(self, generation: Generation | Copy) -> None:
        """Have others find a generation, where it is ours, before anybody is told its id."""
        published = self._running.get(generation.id)
        if published is None or self._failing_since is not None:
            return
        round_ = Round(self._client)
        published.announce(round_)
        try:
            await round_.run()
        except (RedisError, OSError) as error:
            self._failed(error)

    def forget(self, generation: Generation | Copy) -> None:
        """It is kept here no longer: what ended well is there for others until its time is over,
        what did not is for nobody."""
        if isinstance(generation, Copy):
            if self._copies.get(generation.id) is generation:
                del self._copies[generation.id]
                self._ask(generation, "left")
            return
        published = self._finished.pop(generation.id, None) or self._running.get(generation.id)
        if published is not None:
            published.forgotten = True
            if published.withdrawn:
                self._running[generation.id] = published
                self._busy.set()

    def _ask(self, copy: Copy, what: Any, reason: str = "") -> None:
        ask = Ask(what=what, stream_id=copy.id, replica=self.replica, reason=reason)
        self._asks.append((copy.about.replica, ask))
        self._busy.set()

    def _cancel(self, copy: Copy, reason: str) -> None:
        self._ask(copy, "cancel", reason)

    # What a replica asks for.

    async def find(self, stream_id: str, owner: str, after: int = -1) -> Copy | None:
        """A generation that others can read, as far as it has come; behind an event that a reader
        has seen, though it may not have come here yet.

        Returns:
            None where there is none of that id, or it is not the owner's.

        Raises:
            EngineUnavailable: Redis cannot be reached.
        """
        try:
            return await self._find(stream_id, owner, after)
        except (RedisError, OSError) as error:
            self._failed(error)
            raise EngineUnavailable(_AWAY, retry_after=1) from None

    async def _find(self, stream_id: str, owner: str, after: int) -> Copy | None:
        packed = await answer(self._client, "GET", about_key(stream_id))
        if packed is None:
            return None
        about = msgspec.msgpack.decode(packed, type=About)
        if about.owner != owner:
            return None
        copy = Copy(about, self._log_bytes, self._cancel)
        await self._fetch(copy)
        clock = asyncio.get_running_loop().time
        ends = clock() + LEASE_SECONDS + RENEW_SECONDS
        while after >= copy.log.count and not copy.ended and clock() < ends:
            await asyncio.sleep(ROUND_SECONDS)
            await self._fetch(copy)
        if copy.lost and after >= copy.log.count:
            # Its last events have reached the client alone.
            copy.log.skip(after + 1)
        return copy

    async def _fetch(self, copy: Copy) -> None:
        """Read what is new of a generation that nobody reads here yet."""
        alive: list[int] = []
        round_ = Round(self._client)
        # First: what it wrote in its life is there then.
        round_.add("EXISTS", lease_key(copy.about.replica), then=alive.append)
        key, start = events_key(copy.id), f"0-{copy.log.count + 1}"
        round_.add("XRANGE", key, start, "+", then=copy.take)
        await round_.run()
        if not alive[0]:
            copy.lose(_LOST)

    async def begin(
        self, terms: Terms, body: bytes, make: Callable[[], Awaitable[Generation]]
    ) -> Generation | Copy:
        """Make a generation, or give the one that a replica has begun with its idempotency key.

        Args:
            terms: with the key.
            body: digest of the request.
            make: begins it.

        Raises:
            Conflict: the key is that of another request.
            ApiError: as `make` does.
        """
        if self._failing_since is not None:
            return await make()
        try:
            claimed = await self._claims.take(terms, body)
        except (RedisError, OSError) as error:
            self._failed(error)
            return await make()
        return claimed if isinstance(claimed, Copy) else await self._claims.make(claimed, make)

    async def _joinable(self, claim: Claim, owner: str) -> Copy | None:
        published = self._running.get(claim.stream_id)
        if not claim.stream_id or (published and published.generation.error is not None):
            return None
        copy = await self._find(claim.stream_id, owner, -1)
        return copy if copy is not None and copy.error is None else None

    async def begun(self, owner: str, idempotency_key: str) -> Copy | None:
        """The generation that was begun with a key, once it has; None where none was.

        Raises:
            EngineUnavailable: Redis cannot be reached.
        """
        try:
            claim = await self._claims.begun(owner, idempotency_key)
            return await self._find(claim.stream_id, owner, -1) if claim else None
        except (RedisError, OSError) as error:
            self._failed(error)
            raise EngineUnavailable(_AWAY, retry_after=1) from None

    # The rounds.

    async def _run(self) -> None:
        while True:
            try:
                await self._round()
            except (RedisError, OSError) as error:
                self._failed(error)
                await asyncio.sleep(PAUSE_SECONDS)
            except Exception:
                logger.exception("The streams of replicas could not be shared")
                await asyncio.sleep(PAUSE_SECONDS)
            await asyncio.sleep(ROUND_SECONDS)
            if not (self._running or self._asks or self._open_copies):
                self._busy.clear()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(RENEW_SECONDS):
                        await self._busy.wait()

    @property
    def _open_copies(self) -> list[Copy]:
        return [copy for copy in self._copies.values() if not copy.ended]

    async def _round(self) -> None:
        """Write what is new, and read it."""
        now = asyncio.get_running_loop().time()
        due = now - self._renewed_at >= RENEW_SECONDS
        round_, gone = Round(self._client), set[str]()
        if due:
            self._renew(round_)
            self._watch(round_, gone)
        running = list(self._running.values())
        for published in running:
            published.write(round_)
        asks, self._asks = self._asks, []
        for replica, ask in asks:
            round_.add("RPUSH", asks_key(replica), msgspec.msgpack.encode(ask))
            round_.add("PEXPIRE", asks_key(replica), _LEASE_MS)
        if running or due:
            round_.add("LPOP", asks_key(self.replica), MAX_ASKS, then=self._take_asks)
        if copies := self._open_copies:
            keys = [events_key(copy.id) for copy in copies]
            # Behind those that are here.
            ids = [f"0-{copy.log.count}" for copy in copies]
            round_.add("XREAD", "STREAMS", *keys, *ids, then=self._take_news)
        try:
            await round_.run()
        except BaseException:
            # What is read here is told again with the next renewal.
            self._asks = [each for each in asks if each[1].what != "read"] + self._asks
            raise
        if due:
            self._renewed_at = now
        self._worked()
        for published in running:
            published.commit()
            if published.over:
                self._finish(published)
        for copy in copies:
            if copy.about.replica in gone or copy.id in gone:
                copy.lose(_LOST)

    def _finish(self, published: Published) -> None:
        name = published.generation.id
        del self._running[name]
        if not published.forgotten:
            self._finished[name] = published

    def _renew(self, to: Round) -> None:
        """Say that we live, and that what is kept here is still needed."""
        to.add("SET", lease_key(self.replica), b"", "PX", _LEASE_MS)
        for key in self._claims.beginning:
            to.add("PEXPIRE", key, _LEASE_MS)
        for published in (*self._running.values(), *self._finished.values()):
            published.renew(to)
        for copy in self._copies.values():
            self._ask(copy, "read")
        if self._attendance is not None:
            self._attendance.leave_silent()

    def _watch(self, to: Round, gone: set[str]) -> None:
        """Learn which replicas, or generations, that are read here are there no longer."""

        def check(key: str, name: str) -> None:
            def told(there: int) -> None:
                if not there:
                    gone.add(name)

            to.add("EXISTS", key, then=told)

        # Before the events are read: what was written until then is among them.
        for copy in self._open_copies:
            check(about_key(copy.id), copy.id)
        for replica in {copy.about.replica for copy in self._open_copies}:
            check(lease_key(replica), replica)

    def _take_asks(self, packed: Sequence[bytes] | None) -> None:
        for each in packed or ():
            ask = msgspec.msgpack.decode(each, type=Ask)
            published = self._running.get(ask.stream_id) or self._finished.get(ask.stream_id)
            if published is not None and self._attendance is not None and not published.forgotten:
                self._attendance.take(ask, published.generation)

    def _take_news(self, streams: Sequence[tuple[bytes, Any]] | None) -> None:
        news = {name.decode(): entries for name, entries in streams or ()}
        for copy in self._open_copies:
            if entries := news.get(events_key(copy.id)):
                copy.take(entries)

    def _failed(self, error: Exception) -> None:
        """Say once that Redis is away; who waits long for its news is told."""
        now = asyncio.get_running_loop().time()
        if self._failing_since is None:
            self._failing_since = now
            logger.error("streams_store fails; what is written can be read here alone: %s", error)
        # What is there may have been lost: look as soon as it is back.
        self._renewed_at = float("-inf")
        if now - self._failing_since > LEASE_SECONDS:
            for copy in self._open_copies:
                copy.lose(_AWAY)

    def _worked(self) -> None:
        if self._failing_since is not None:
            self._failing_since = None
            logger.info("streams_store is back")

    async def dismiss(self) -> None:
        """Count on the readers of other replicas no longer."""
        if self._attendance is not None:
            await self._attendance.aclose()

    async def aclose(self) -> None:
        """Write what has ended since the last round, and say that this replica is gone."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        with contextlib.suppress(RedisError, OSError):
            async with asyncio.timeout(CLOSE_SECONDS):
                ended = [each for each in self._running.values() if each.generation.ended]
                for published in ended:
                    await published.generation.settled()
                while self._asks or not all(published.over for published in ended):
                    await self._round()
                await self._client.delete(lease_key(self.replica))
        await self._client.aclose()
