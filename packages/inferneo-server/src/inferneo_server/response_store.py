"""Receives responses; hands them back to the key that made them, within bounds of count, size and
time."""

import time
from collections.abc import Callable

from msgspec import Struct

from inferneo_core.errors import ResponseNotFound
from inferneo_core.responses import Item, Response
from inferneo_server.generation import Generation


class StoredResponse(Struct, kw_only=True):
    """A response, and the conversation that it answers.

    Attributes:
        owner: whose it is.
        items: the conversation up to the answer, earlier responses included.
        items_bytes: their size as JSON.
        response: as it is, or was last.
        response_bytes: its size as JSON, once it has ended.
        generation: what writes it; None once that has ended.
        kept: whether its events can be asked for again, for a while.
    """

    owner: str
    items: tuple[Item, ...]
    items_bytes: int
    response: Callable[[], Response]
    response_bytes: int = 0
    generation: Generation | None = None
    kept: bool = False
    expires_at: float = 0.0

    @property
    def bytes(self) -> int:
        """What it counts for."""
        return self.items_bytes + self.response_bytes

    @property
    def conversation(self) -> tuple[Item, ...]:
        """What a response to it goes on from."""
        return (*self.items, *self.response().output)


class ResponseStore:
    """Responses in memory. The oldest go first where there are too many, or too large ones.

    Args:
        max_count: how many there may be.
        max_bytes: how large they may be together. Each counts with its whole conversation.
        seconds: how long each is kept.
        clock: tells the time, in seconds.
    """

    def __init__(
        self,
        *,
        max_count: int = 10_000,
        max_bytes: int = 256 * 2**20,
        seconds: float = 86_400.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.seconds = seconds
        self.bytes = 0
        self._max_count = max_count
        self._max_bytes = max_bytes
        self._clock = clock
        # By age: each lives as long as the others.
        self._stored: dict[str, StoredResponse] = {}

    def __len__(self) -> int:
        return len(self._stored)

    def put(self, response_id: str, stored: StoredResponse) -> None:
        """Keep a response."""
        stored.expires_at = self._clock() + self.seconds
        self._stored[response_id] = stored
        self.bytes += stored.bytes
        self._make_room()

    def end(self, response_id: str, size: int) -> None:
        """A response has ended, and has so many bytes; it may be gone by now."""
        if stored := self._stored.get(response_id):
            self.bytes += size - stored.response_bytes
            stored.response_bytes = size
            self._make_room()

    def find(self, response_id: str, owner: str) -> StoredResponse:
        """A response of this owner.

        Raises:
            ResponseNotFound: there is none of that id.
        """
        stored = self.peek(response_id, owner)
        if stored is None:
            raise ResponseNotFound(response_id)
        return stored

    def peek(self, response_id: str, owner: str) -> StoredResponse | None:
        """A response of this owner, if there is one."""
        self._make_room()
        stored = self._stored.get(response_id)
        return stored if stored and stored.owner == owner else None

    def remove(self, response_id: str, owner: str) -> StoredResponse:
        """Forget a response of this owner.

        Raises:
            ResponseNotFound: as `find` does.
        """
        stored = self.find(response_id, owner)
        self._forget(response_id)
        return stored

    def _forget(self, response_id: str) -> None:
        self.bytes -= self._stored.pop(response_id).bytes

    def _make_room(self) -> None:
        now = self._clock()
        while self._stored:
            oldest = next(iter(self._stored))
            if (
                self.bytes <= self._max_bytes
                and len(self._stored) <= self._max_count
                and self._stored[oldest].expires_at > now
            ):
                return
            self._forget(oldest)
