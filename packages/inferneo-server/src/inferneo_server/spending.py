"""Receives who asks what; hands on a Spend: it is checked and charged before the engine works, and
settled and metered when the generation has ended."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Sequence

from inferneo_core.errors import InvalidRequest
from inferneo_core.limits import LimitsLeft
from inferneo_server.access.identity import Identity
from inferneo_server.admission import Place
from inferneo_server.limits.base import RENEW_SECONDS
from inferneo_server.limits.limiter import Limiter, Reservation
from inferneo_server.limits.memory import MemoryStore
from inferneo_server.usage.base import Use
from inferneo_server.usage.memory import MemoryUsage
from inferneo_server.usage.meter import Meter, today

# What an answer is charged before it is written, where the request does not say how long it may
# be, and at most: few are as long as they may be.
USUAL_ANSWER_TOKENS = 512
LONG_ANSWER_TOKENS = 4096

_TOKEN_LIMITS = ("tokens_per_minute", "tokens_per_day", "tokens_per_month", "tokens_total")

logger = logging.getLogger(__name__)


class Spending:
    """What callers spend: their limits, and the meter.

    Args:
        limiter: the limits; None is none.
        meter: where it is summed up; None forgets it with the process.
    """

    def __init__(self, limiter: Limiter | None = None, meter: Meter | None = None) -> None:
        self.limiter = limiter or Limiter(MemoryStore())
        self.meter = meter or Meter(MemoryUsage())
        self._settling: set[asyncio.Task[None]] = set()

    def open(self, identity: Identity, model: str) -> "Spend":
        """Begin a request of somebody for a model."""
        return Spend(self, identity, model)

    @contextlib.asynccontextmanager
    async def reading(
        self, identity: Identity, model: str, lengths: Sequence[int], *, param: str = ""
    ) -> "AsyncIterator[Spend]":
        """Charge a request that only reads, as one to embed; it is settled behind the block.

        Args:
            identity: who asks.
            model: what they ask.
            lengths: the tokens of each prompt.
            param: the field that holds the prompts; empty where they may be of any length.

        Raises:
            ApiError: the request is refused.
        """
        spend = self.open(identity, model)
        tokens = sum(lengths)
        if spend.limited:
            if param:
                spend.check_prompts(lengths, param=param)
            await spend.reserve(tokens)
        try:
            yield spend
        except BaseException:
            spend.end(prompt_tokens=tokens, aborted=True)
            raise
        if (settling := spend.end(prompt_tokens=tokens)) is not None:
            await asyncio.wait([settling])

    def settle(self, works: Sequence[Awaitable[None]]) -> "asyncio.Task[None]":
        """Have the rest of a settlement done, by a task that is ours."""
        task = asyncio.create_task(_all(works))
        self._settling.add(task)
        task.add_done_callback(self._settling.discard)
        return task

    async def run(self) -> None:
        """Keep the stores, until cancelled; one that cannot be used is told of at once."""
        await self.limiter.check()
        while True:
            await asyncio.sleep(RENEW_SECONDS)
            try:
                await self.limiter.renew()
                await self.meter.tidy()
            except Exception:
                logger.exception("The stores could not be kept")

    async def aclose(self) -> None:
        """Finish what is being settled, and close the stores."""
        await asyncio.gather(*self._settling, return_exceptions=True)
        await self.limiter.renew()
        await self.meter.aclose()
        await self.limiter.store.aclose()


class Spend:
    """What one request spends. It ends once, however often it is told to.

    Attributes:
        place: what it holds of the engine, and gives back at its end; None before it has one.
    """

    __slots__ = (
        "_ended",
        "_identity",
        "_limits",
        "_model",
        "_reservation",
        "_spending",
        "place",
    )

    def __init__(self, spending: Spending, identity: Identity, model: str) -> None:
        self._spending = spending
        self._identity = identity
        self._model = model
        both = (spending.limiter.limits_of(identity), spending.limiter.model_limits(model))
        self._limits = [limits for limits in both if limits is not None]
        self._reservation: Reservation | None = None
        self._ended = False
        self.place: Place | None = None

    @property
    def limited(self) -> bool:
        """Whether there is anything to check or to charge."""
        return bool(self._limits)

    def _least(self, *names: str) -> int | None:
        found = [getattr(limits, name) for limits in self._limits for name in names]
        return min([limit for limit in found if limit is not None], default=None)

    def check_prompts(self, lengths: Sequence[int], *, param: str) -> None:
        """Refuse prompts that are longer than the caller's may be.

        Raises:
            InvalidRequest: one is.
        """
        limit = self._least("max_prompt_tokens")
        if limit is not None and lengths and max(lengths) > limit:
            raise InvalidRequest(
                f"Your prompts may have {limit} tokens; this one has {max(lengths)}",
                param=param,
                code="prompt_too_long",
            )

    def cap(self, max_tokens: int | None, *, asked: str) -> int | None:
        """How long an answer may be, by the caller's limit and by what was asked for, in the field
        that `asked` names, or is usual.

        Raises:
            InvalidRequest: more was asked for than the limit.
        """
        limit = self._least("max_completion_tokens")
        if limit is None or (max_tokens is not None and max_tokens <= limit):
            return max_tokens
        if asked:
            raise InvalidRequest(
                f"Your answers may have {limit} tokens; '{asked}' asks for {max_tokens}",
                param=asked,
                code="max_tokens_too_large",
            )
        return limit

    async def reserve(
        self, prompt_tokens: int, answers: int = 0, max_tokens: int | None = None
    ) -> None:
        """Charge the request: its prompts, and an estimate of its answers.

        Args:
            prompt_tokens: of all prompts.
            answers: how many are written.
            max_tokens: how long each may be, if that is known.

        Raises:
            ApiError: it is refused.
        """
        each = USUAL_ANSWER_TOKENS if max_tokens is None else min(max_tokens, LONG_ANSWER_TOKENS)
        estimate = prompt_tokens + answers * each
        # Who has little to spend may ask with all of it: most answers are shorter than they may be.
        smallest = self._least(*_TOKEN_LIMITS)
        if smallest is not None:
            estimate = min(estimate, smallest)
        tokens = max(prompt_tokens, estimate)
        limiter = self._spending.limiter
        self._reservation = await limiter.reserve(self._identity, self._model, tokens)

    def left(self) -> LimitsLeft | None:
        """What the caller has left; None where nothing is limited."""
        if not self.limited:
            return None
        return self._spending.limiter.left(self._identity, self._model)

    def refund(self) -> None:
        """Take back what was charged: the engine did not take the request."""
        if self._ended:
            return
        self._ended = True
        if self.place is not None:
            self.place.release(0)
        if self._reservation is not None:
            later = self._reservation.cancel()
            if later is not None:
                self._spending.settle([later])

    def end(
        self,
        *,
        prompt_tokens: int,
        completion_tokens: int = 0,
        cached_tokens: int = 0,
        aborted: bool = False,
    ) -> "asyncio.Task[None] | None":
        """Settle with what was really used, and meter it. Done at once where None is returned; the
        caller waits for the task before the answer's end goes out."""
        if self._ended:
            return None
        self._ended = True
        if self.place is not None:
            self.place.release(prompt_tokens + completion_tokens)
        use = Use(
            owner=self._identity.owner,
            model=self._model,
            day=today(),
            prompt_tokens=prompt_tokens,
            completion_tokens=completion_tokens,
            cached_tokens=cached_tokens,
            aborted=int(aborted),
        )
        works = [self._spending.meter.record(use)]
        if self._reservation is not None:
            works.append(self._reservation.settle(prompt_tokens + completion_tokens))
        if later := [work for work in works if work is not None]:
            return self._spending.settle(later)
        return None


async def _all(works: Sequence[Awaitable[None]]) -> None:
    results = await asyncio.gather(*works, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            logger.error("A settlement failed", exc_info=result)
