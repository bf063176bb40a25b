"""Receives idempotency keys; hands on which replica begins the generation of each, by a Redis."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable

from msgspec.msgpack import Decoder, encode
from redis.asyncio import Redis
from redis.exceptions import RedisError

from inferneo_core.errors import Conflict
from inferneo_server.generation import Generation, Terms
from inferneo_server.sharing.copied import Copy
from inferneo_server.sharing.published import Claimed
from inferneo_server.sharing.records import LEASE_SECONDS, Claim, claim_key
from inferneo_server.sharing.round import answer, swap

ASK_SECONDS = 0.02

_LEASE_MS = round(LEASE_SECONDS * 1000)
_claim = Decoder(Claim)


class Claims:
    """The idempotency keys that replicas share.

    Args:
        client: gives bytes.
        replica: the name of this one.
        joinable: gives the generation that a claim of an owner leads to; None where it is gone, or
            failed.
    """

    def __init__(
        self,
        client: "Redis",
        replica: str,
        joinable: Callable[[Claim, str], Awaitable[Copy | None]],
    ) -> None:
        self._client = client
        self._replica = replica
        self._joinable = joinable
        self._beginning: set[str] = set()
        self._claimed: dict[str, Claimed] = {}

    @property
    def beginning(self) -> Iterable[str]:
        """Keys in Redis that this replica holds for generations which have yet to begin."""
        return self._beginning

    def of(self, stream_id: str) -> Claimed | None:
        """What a generation that has just begun was claimed by, once."""
        return self._claimed.pop(stream_id, None)

    async def take(self, terms: Terms, body: bytes) -> Claimed | Copy:
        """Claim a key for this replica, or give the generation that it belongs to.

        Raises:
            Conflict: it is that of another request.
            RedisError: Redis cannot be reached.
            OSError: as well.
        """
        key = claim_key(terms.owner, terms.idempotency_key or "")
        claimed = Claimed(key=key, claim=Claim(body=body, replica=self._replica))
        mine, expected = encode(claimed.claim), b""
        while True:
            held = await self._swap(key, expected, mine)
            if held == expected:
                return claimed
            claim = _claim.decode(held)
            if claim.body != body:
                raise Conflict(
                    f"The Idempotency-Key '{terms.idempotency_key}' belongs to another request",
                    code="idempotency_conflict",
                )
            expected = b""
            if not claim.stream_id and claim.replica != self._replica:
                # It is being begun there; where that fails, or its replica dies, nobody holds it.
                await asyncio.sleep(ASK_SECONDS)
                continue
            copy = await self._joinable(claim, terms.owner)
            if copy is not None:
                return copy
            expected = held

    async def make(self, claimed: Claimed, make: Callable[[], Awaitable[Generation]]) -> Generation:
        """Begin the generation of a claim, which is given up where that fails.

        Raises:
            ApiError: as `make` does.
        """
        self._beginning.add(claimed.key)
        try:
            generation = await make()
        except BaseException:
            with contextlib.suppress(RedisError, OSError):
                await self._swap(claimed.key, encode(claimed.claim), b"")
            raise
        finally:
            self._beginning.discard(claimed.key)
        self._claimed[generation.id] = claimed
        return generation

    async def begun(self, owner: str, idempotency_key: str) -> Claim | None:
        """The claim to a key, once its generation has begun; None where there is none.

        Raises:
            RedisError: Redis cannot be reached.
            OSError: as well.
        """
        key = claim_key(owner, idempotency_key)
        while (held := await answer(self._client, "GET", key)) is not None:
            claim = _claim.decode(held)
            if claim.stream_id:
                return claim
            await asyncio.sleep(ASK_SECONDS)
        return None

    async def _swap(self, key: str, expected: bytes, value: bytes) -> bytes:
        held: bytes = await answer(self._client, *swap(key, expected, value, _LEASE_MS))
        return held
