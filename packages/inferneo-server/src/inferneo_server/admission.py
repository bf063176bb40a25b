"""Receives who wants to run how much; hands on places in front of an engine, in a fair order."""

import asyncio
import heapq
import time
from collections import deque
from functools import partial

from msgspec import Struct

from inferneo_core.errors import Overloaded, PermissionDenied
from inferneo_server.access.identity import Identity
from inferneo_server.metrics import QUEUE_SECONDS

# The rate at which places come free is measured over so many of them.
MEASURED_ENDS = 64
MAX_RETRY_SECONDS = 60.0
# Beyond so many owners, those of whom nothing waits are forgotten.
REMEMBERED_OWNERS = 1024
# Where several owners asked of late, none may hold all places: one in eight is for the others.
KEPT_SHARE = 8
LATELY_SECONDS = 600.0


class Demand(Struct, frozen=True, kw_only=True):
    """What one request wants.

    Attributes:
        choices: places that it takes: sequences that the engine runs side by side.
        prompt_tokens: tokens to read, which it is charged when it is let in; those that are
            written follow at its end.
        priority: of all that wait, the lower comes first, whoever asks.
    """

    choices: int
    prompt_tokens: int
    priority: int = 0


def allowed_priority(asked: int | None, identity: Identity) -> int:
    """The priority of a request that asks for one, or does not.

    Raises:
        PermissionDenied: whoever asks may give none.
    """
    if asked and "priority" not in identity.scopes:
        raise PermissionDenied("Your key may give its requests no priority", param="priority")
    return asked or 0


class Admission:
    """The queue in front of one engine, fair between owners.

    Each owner has a line, and a count of the tokens that the engine has worked on for it, divided
    by its weight. The next place goes to the line with the lowest count, of several to the
    shortest. So an owner with 500 requests delays one with a single request by no more than what
    the engine runs already; and seldom by that, since where several owners ask, a few places are
    out of reach for each of them alone. Who comes back after a pause begins with the lowest count
    of those who wait: nobody saves up a share.
    Source: Sheng et al., "Fairness in Serving Large Language Models", OSDI 2024.

    Args:
        max_requests: requests that may wait.
        max_tokens: prompt tokens that may wait, all requests together.
        max_seconds: how long one may wait.
    """

    def __init__(self, *, max_requests: int, max_tokens: int, max_seconds: float) -> None:
        self.waiting = 0
        self._max_requests = max_requests
        self._max_tokens = max_tokens
        self._max_seconds = max_seconds
        self._places = 0
        self._running = 0
        self._waiting_tokens = 0
        self._arrivals = 0
        self._lines: dict[str, _Line] = {}
        self._counts: dict[str, float] = {}
        self._held: dict[str, int] = {}
        self._asked: dict[str, float] = {}
        self._ends: deque[float] = deque(maxlen=MEASURED_ENDS)

    async def enter(self, identity: Identity, demand: Demand, places: int) -> "Place":
        """Wait for a place.

        Args:
            identity: whose share it is taken from.
            demand: what is wanted; of a request with more choices than places, all run at once.
            places: sequences that the engine runs side by side, now.

        Raises:
            Overloaded: too many wait, or the wait was too long; it says when to come back.
        """
        self._places = places
        self._asked[identity.owner] = time.monotonic()
        if not self.waiting and self._fits(demand) and self._may_hold(identity.owner, demand):
            return self._admit(identity, demand)
        self._make_room(identity.owner, demand)
        return await self._wait(identity, demand)

    def _fits(self, demand: Demand) -> bool:
        return self._running + demand.choices <= self._places or not self._running

    def _may_hold(self, owner: str, demand: Demand) -> bool:
        """Whether enough places are left for others."""
        held = self._held.get(owner, 0)
        if not held or held + demand.choices <= self._places - self._places // KEPT_SHARE:
            return True
        lately = time.monotonic() - LATELY_SECONDS
        return all(name == owner or asked < lately for name, asked in self._asked.items())

    def _admit(self, identity: Identity, demand: Demand) -> "Place":
        self._running += demand.choices
        self._held[identity.owner] = self._held.get(identity.owner, 0) + demand.choices
        self._charge(identity, demand.prompt_tokens)
        return Place(self, identity, demand)

    def _charge(self, identity: Identity, tokens: int) -> None:
        owner = identity.owner
        self._counts[owner] = self._counts.get(owner, 0.0) + tokens / identity.weight
        if len(self._counts) > REMEMBERED_OWNERS:
            self._counts = {name: self._counts[name] for name in {*self._lines, owner}}
        if len(self._asked) > REMEMBERED_OWNERS:
            del self._asked[min(self._asked, key=self._asked.__getitem__)]

    def _make_room(self, owner: str, demand: Demand) -> None:
        """Refuse the newest of the longest line, be that the newcomer, until there is room."""
        while (
            self.waiting >= self._max_requests
            or self._waiting_tokens + demand.prompt_tokens > self._max_tokens
        ):
            refusal = Overloaded("Too many requests wait", retry_after=self.retry_after())
            own = self._lines[owner].tokens if owner in self._lines else 0
            longest = max(self._lines.values(), key=lambda line: line.tokens, default=None)
            if longest is None or longest.tokens <= own + demand.prompt_tokens:
                raise refusal
            newest = max(longest.waiters, key=lambda waiter: waiter.order)
            self._take_out(newest)
            newest.place.set_exception(refusal)

    async def _wait(self, identity: Identity, demand: Demand) -> "Place":
        self._arrivals += 1
        order = (demand.priority, self._arrivals)
        place: asyncio.Future[Place] = asyncio.get_running_loop().create_future()
        waiter = _Waiter(order, identity, demand, place)
        self._put_in(waiter)
        # Those before may only wait for others' places.
        self._grant()
        began = time.perf_counter()
        try:
            async with asyncio.timeout(self._max_seconds):
                return await place
        except BaseException as error:
            self._give_up(waiter)
            if isinstance(error, TimeoutError):
                raise Overloaded(
                    f"No place came free in {self._max_seconds:g} s",
                    retry_after=self.retry_after(),
                ) from None
            raise
        finally:
            QUEUE_SECONDS.observe(time.perf_counter() - began)

    def _give_up(self, waiter: "_Waiter") -> None:
        place = waiter.place
        if place.cancelled():
            self._take_out(waiter)
            # It may have been the one in whose way the others stood.
            self._grant()
        elif place.exception() is None:
            # It came together with the end of the waiting.
            place.result().release(0)

    def _put_in(self, waiter: "_Waiter") -> None:
        owner = waiter.identity.owner
        if owner not in self._lines:
            lowest = min((self._counts.get(name, 0.0) for name in self._lines), default=0.0)
            self._counts[owner] = max(self._counts.get(owner, 0.0), lowest)
        line = self._lines.setdefault(owner, _Line())
        heapq.heappush(line.waiters, waiter)
        line.tokens += waiter.demand.prompt_tokens
        self._waiting_tokens += waiter.demand.prompt_tokens
        self.waiting += 1

    def _take_out(self, waiter: "_Waiter") -> None:
        owner = waiter.identity.owner
        line = self._lines[owner]
        if line.waiters[0] is waiter:
            heapq.heappop(line.waiters)
        else:
            line.waiters.remove(waiter)
            heapq.heapify(line.waiters)
        line.tokens -= waiter.demand.prompt_tokens
        self._waiting_tokens -= waiter.demand.prompt_tokens
        self.waiting -= 1
        if not line.waiters:
            del self._lines[owner]

    def _grant(self) -> None:
        """Hand free places to those who are next."""
        while (waiter := self._next()) is not None:
            self._take_out(waiter)
            waiter.place.set_result(self._admit(waiter.identity, waiter.demand))

    def _next(self) -> "_Waiter | None":
        """Who is to be let in now."""
        for owner in sorted(self._lines, key=self._turn):
            waiter = self._lines[owner].waiters[0]
            if not self._fits(waiter.demand):
                # Nobody passes by: a request of many choices would wait for ever.
                return None
            if self._may_hold(owner, waiter.demand):
                return waiter
        return None

    def _turn(self, owner: str) -> tuple[int, float, int]:
        line = self._lines[owner]
        priority, _ = line.waiters[0].order
        return priority, self._counts.get(owner, 0.0), line.tokens

    def leave(self, identity: Identity, demand: Demand, used_tokens: int) -> None:
        """A request has ended; so many tokens were read and written for it."""
        self._running -= demand.choices
        self._held[identity.owner] -= demand.choices
        if not self._held[identity.owner]:
            del self._held[identity.owner]
        self._charge(identity, used_tokens - demand.prompt_tokens)
        if not self._running and not self._lines:
            self._counts.clear()
        self._ends.append(time.monotonic())
        self._grant()

    def retry_after(self) -> float:
        """Seconds in which what waits now will have been begun, at the rate of late."""
        if len(self._ends) < 2:
            return 1.0
        seconds = (time.monotonic() - self._ends[0]) / len(self._ends)
        return min(max(seconds * (self.waiting + 1), 0.1), MAX_RETRY_SECONDS)


class Queues:
    """The queues of a server, one in front of each model's engine.

    Args:
        max_requests: requests that may wait for a model.
        max_tokens: prompt tokens that may wait for a model.
        max_seconds: how long a request may wait.
    """

    def __init__(
        self, *, max_requests: int = 1024, max_tokens: int = 2**22, max_seconds: float = 60.0
    ) -> None:
        self._make = partial(
            Admission, max_requests=max_requests, max_tokens=max_tokens, max_seconds=max_seconds
        )
        self._queues: dict[str, Admission] = {}

    @property
    def waiting(self) -> int:
        """Requests that wait."""
        # A copy: metrics are read by another thread.
        return sum(queue.waiting for queue in tuple(self._queues.values()))

    def of(self, model: str) -> Admission:
        """The queue in front of a model's engine."""
        queue = self._queues.get(model)
        if queue is None:
            queue = self._queues[model] = self._make()
        return queue


class Place:
    """What one request holds of an engine until it ends."""

    __slots__ = ("_admission", "_demand", "_identity")

    def __init__(self, admission: Admission, identity: Identity, demand: Demand) -> None:
        self._admission: Admission | None = admission
        self._identity = identity
        self._demand = demand

    def release(self, used_tokens: int) -> None:
        """Give it back, and say how many tokens were read and written. Idempotent."""
        admission, self._admission = self._admission, None
        if admission is not None:
            admission.leave(self._identity, self._demand, used_tokens)


class _Waiter(Struct, frozen=True, eq=False):
    """Who waits: in the order of their line, by priority and arrival."""

    order: tuple[int, int]
    identity: Identity
    demand: Demand
    place: "asyncio.Future[Place]"

    def __lt__(self, other: "_Waiter") -> bool:
        return self.order < other.order


class _Line:
    """One owner's requests that wait."""

    __slots__ = ("tokens", "waiters")

    def __init__(self) -> None:
        self.tokens = 0
        self.waiters: list[_Waiter] = []
