"""Receives a generation of this replica; hands on the commands that bring it to Redis."""

from functools import partial

from msgspec import Struct
from msgspec.msgpack import encode

from inferneo_server.generation import Generation
from inferneo_server.sharing.records import (
    LEASE_SECONDS,
    About,
    Claim,
    Ending,
    about_key,
    events_key,
)
from inferneo_server.sharing.round import Round, swap


class Claimed(Struct, frozen=True, kw_only=True):
    """A claim of this replica to an idempotency key, as it is made before its generation is."""

    key: str
    claim: Claim

    def of(self, stream_id: str) -> bytes:
        """The claim once its generation has begun."""
        return encode(Claim(body=self.claim.body, replica=self.claim.replica, stream_id=stream_id))


class Published:
    """A generation of this replica, and how much of it Redis has. Each command may be sent again.

    Args:
        generation: what is written.
        replica: this one.
        claimed: the idempotency key that is its own; None where it has none.
        keep_seconds: how long it is there once it has ended and nobody reads it.

    Attributes:
        over: whether its end has been written.
        forgotten: whether this replica keeps it no longer.
    """

    def __init__(
        self, generation: Generation, replica: str, claimed: Claimed | None, keep_seconds: float
    ) -> None:
        self.generation = generation
        self.over = False
        self.forgotten = False
        self._replica = replica
        self._claimed = claimed
        self._keep_ms = max(1, round(keep_seconds * 1000))
        self._running_ms = self._keep_ms + round(LEASE_SECONDS * 1000)
        self._begin_anew()

    def _begin_anew(self) -> None:
        self._begun = self._left = False
        self._count = self._first = 0
        self._written: tuple[int, int, bool] | None = None

    @property
    def withdrawn(self) -> bool:
        """Whether it is no longer there for anybody."""
        generation = self.generation
        well = generation.ended and generation.error is None
        return self.forgotten and not well

    def write(self, to: Round) -> None:
        """Add the commands for what is new; `commit` once they have been sent."""
        generation, log, key = self.generation, self.generation.log, events_key(self.generation.id)
        if not self._begun:
            self._begin(to)
        number = max(self._count, log.first)
        for event in log.since(number):
            kind = "usage" if number == generation.usage_event else "event"
            to.add("XADD", key, f"0-{number + 1}", kind, event)
            number += 1
        if log.first > self._first:
            to.add("XTRIM", key, "MINID", f"0-{log.first + 1}")
        settled = generation.settling is None or generation.settling.done()
        over = generation.ended and settled and number == log.count
        if over:
            to.add("XADD", key, f"0-{number + 1}", "end", encode(Ending.of(generation)))
        if not self._count:
            to.add("PEXPIRE", key, self._running_ms)
        if self.withdrawn:
            self._withdraw(to)
        self._written = (number, log.first, over)

    def _begin(self, to: Round) -> None:
        self.announce(to)
        # Where Redis has lost it, later events may have come since, which bar those before.
        to.add("DEL", events_key(self.generation.id))

    def announce(self, to: Round) -> None:
        """Add the commands that have others find it."""
        about = encode(About.of(self.generation, self._replica))
        to.add("SET", about_key(self.generation.id), about, "PX", self._running_ms)
        if (claimed := self._claimed) is not None:
            # Behind what it leads to.
            known = claimed.of(self.generation.id)
            to.add(*swap(claimed.key, encode(claimed.claim), known, self._running_ms))

    def _withdraw(self, to: Round) -> None:
        # The events stay for who reads them now, and has yet to be told the end.
        to.add("DEL", about_key(self.generation.id))
        if (claimed := self._claimed) is not None:
            to.add(*swap(claimed.key, claimed.of(self.generation.id), b"", 0))

    def commit(self) -> None:
        """What `write` added is there."""
        if self._written is not None:
            self._begun = True
            self._count, self._first, self.over = self._written

    def renew(self, to: Round) -> None:
        """Add the commands that keep it there for its readers; once it has none, until its time is
        over."""
        left = self.generation.ended and not self.generation.readers
        if not self._begun or self.withdrawn or (left and self._left):
            return
        ms = self._keep_ms if left else self._running_ms
        to.add("PEXPIRE", about_key(self.generation.id), ms, then=partial(self._renewed, left))
        to.add("PEXPIRE", events_key(self.generation.id), ms)
        if self._claimed is not None:
            to.add("PEXPIRE", self._claimed.key, ms)

    def _renewed(self, left: bool, there: int) -> None:
        self._left = left
        if not there and not self.over:
            # Redis has lost it: all that is still here goes there once more.
            self._begin_anew()
