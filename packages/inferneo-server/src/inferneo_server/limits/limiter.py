"""Receives who wants to spend how much; hands on a reservation, or refuses."""

import logging
import time
from collections import OrderedDict
from collections.abc import Awaitable, Mapping, Sequence
from uuid import uuid4

from inferneo_core.errors import LimitsUnavailable
from inferneo_core.limits import LimitsLeft, limit_headers
from inferneo_server.access.identity import Identity, Limits
from inferneo_server.limits.base import Change, Charge, Level, Slot, Store, StoreFailed
from inferneo_server.limits.rules import Rule, Unit, left_of, refusal, rules_of
from inferneo_server.metrics import REFUSED

# Levels that are remembered for the headers of later answers.
MAX_KNOWN = 16_384
# Corrections that wait for a store that cannot be reached.
MAX_UNSETTLED = 10_000

logger = logging.getLogger(__name__)


class Limiter:
    """The limits of all callers.

    Args:
        store: what they have used.
        default: the limits of keys that name none.
        models: further limits on the use that a caller makes of a model, by its name.
    """

    def __init__(
        self,
        store: Store,
        default: Limits | None = None,
        models: Mapping[str, Limits] | None = None,
    ) -> None:
        self.store = store
        self._default = default
        self._models = dict(models or {})
        self._known: OrderedDict[str, Level] = OrderedDict()
        self._unsettled: list[tuple[Sequence[Change], Sequence[Slot]]] = []
        self._failing = False

    def limits_of(self, identity: Identity) -> Limits | None:
        """What an identity may use in all; None is all it wants."""
        if identity.limits is None and identity.owner:
            return self._default
        return identity.limits

    def model_limits(self, model: str) -> Limits | None:
        """What any identity may use of a model; None is all it wants."""
        return self._models.get(model)

    async def reserve(self, identity: Identity, model: str, tokens: int) -> "Reservation | None":
        """Charge a request.

        Args:
            identity: who asks.
            model: what they ask.
            tokens: how many it may read and write, as far as can be told.

        Raises:
            RateLimited: a minute's or a day's window, or the slots, are used up.
            QuotaExceeded: a month's or the total quota is used up.
            LimitsUnavailable: the store cannot be reached.
        """
        rules, places = self._rules(identity, model)
        if not rules and not places:
            return None
        lease = uuid4().hex if places else ""
        slots = [Slot(key=key, limit=limit, lease=lease) for key, limit in places]
        charge = await self._charge(rules, slots, tokens)
        self._remember(rules, charge)
        if charge.admitted:
            return Reservation(self, rules, charge, slots, tokens)
        limit = slots[charge.full[0]].limit if charge.full else None
        error = refusal(rules, charge, tokens, limit)
        error.limits = left_of(rules, charge.levels, charge.now_ms)
        error.headers.update(limit_headers(error.limits))
        reason = rules[charge.lacking[0]].name if charge.lacking else "concurrent_requests"
        REFUSED.labels(reason).inc()
        raise error

    def _rules(self, identity: Identity, model: str) -> tuple[list[Rule], list[tuple[str, int]]]:
        """The windows of a request, and the keys and numbers of the slots that it must have."""
        rules: list[Rule] = []
        places: list[tuple[str, int]] = []
        subject = identity.counted_as or identity.owner
        for limits, on in ((self.limits_of(identity), ""), (self.model_limits(model), model)):
            if limits is not None:
                rules += rules_of(limits, subject, on)
                if limits.concurrent_requests is not None:
                    places.append((f"{subject}|{on}|slots", limits.concurrent_requests))
        return rules, places

    async def _charge(self, rules: Sequence[Rule], slots: Sequence[Slot], tokens: int) -> Charge:
        try:
            charge = await self.store.charge([rule.window(tokens) for rule in rules], slots)
        except StoreFailed as error:
            self._complain(error)
            raise LimitsUnavailable from None
        self._worked()
        return charge

    def _remember(self, rules: Sequence[Rule], charge: Charge) -> None:
        # By our own clock, which tells the headers.
        ahead = int(time.time() * 1000) - charge.now_ms
        for rule, level in zip(rules, charge.levels, strict=True):
            self._known[rule.key] = Level(used=level.used, ends_ms=level.ends_ms + ahead)
            self._known.move_to_end(rule.key)
        while len(self._known) > MAX_KNOWN:
            self._known.popitem(last=False)

    def left(self, identity: Identity, model: str = "") -> LimitsLeft | None:
        """What an identity has left, as it was last heard of; None where nothing is limited."""
        rules, _ = self._rules(identity, model)
        if not rules:
            return None
        return left_of(
            rules, [self._known.get(rule.key) for rule in rules], int(time.time() * 1000)
        )

    async def look(self, identity: Identity) -> LimitsLeft | None:
        """What an identity has left, as the store says; what is limited on one model not counted.
        None where nothing is limited, or nobody knows."""
        rules, _ = self._rules(identity, "")
        if not rules or self._failing:
            # An answer does not wait for headers that would not come.
            return None
        try:
            now_ms, levels = await self.store.look([rule.key for rule in rules])
        except StoreFailed as error:
            self._complain(error)
            return None
        return left_of(rules, levels, now_ms)

    def settle(self, changes: Sequence[Change], slots: Sequence[Slot]) -> Awaitable[None] | None:
        """Correct a charge. What cannot be done now is done later."""
        for change in changes:
            if level := self._known.get(change.key):
                used = max(0, level.used + change.amount)
                self._known[change.key] = Level(used=used, ends_ms=level.ends_ms)
        try:
            later = self.store.settle(changes, slots)
        except StoreFailed as error:
            self._postpone(changes, slots, error)
            return None
        return None if later is None else self._finish(later, changes, slots)

    async def _finish(
        self, later: Awaitable[None], changes: Sequence[Change], slots: Sequence[Slot]
    ) -> None:
        try:
            await later
        except StoreFailed as error:
            self._postpone(changes, slots, error)

    def _postpone(
        self, changes: Sequence[Change], slots: Sequence[Slot], error: StoreFailed
    ) -> None:
        self._complain(error)
        if len(self._unsettled) < MAX_UNSETTLED:
            self._unsettled.append((changes, slots))

    def _complain(self, error: StoreFailed) -> None:
        """Say once that the store fails, not for each request."""
        if not self._failing:
            self._failing = True
            logger.warning(
                "limits_store fails; callers with limits get 503 until it is back: %s", error
            )

    def _worked(self) -> None:
        if self._failing:
            self._failing = False
            logger.info("limits_store is back")

    async def check(self) -> None:
        """Say whether the store fails, or is back."""
        try:
            await self.store.look([])
        except StoreFailed as error:
            self._complain(error)
        else:
            self._worked()

    async def renew(self) -> None:
        """Keep the leases, and make the corrections that had to wait."""
        try:
            await self.store.renew()
            while self._unsettled:
                later = self.store.settle(*self._unsettled[-1])
                if later is not None:
                    await later
                self._unsettled.pop()
        except StoreFailed as error:
            self._complain(error)
        else:
            # Where nothing was to be kept, nobody has asked the store.
            await self.check()


class Reservation:
    """What a request was charged; it is settled once."""

    def __init__(
        self,
        limiter: Limiter,
        rules: Sequence[Rule],
        charge: Charge,
        slots: Sequence[Slot],
        tokens: int,
    ) -> None:
        self._limiter = limiter
        self._rules = rules
        self._levels = charge.levels
        self._slots = slots
        self._tokens = tokens

    def settle(self, tokens: int) -> Awaitable[None] | None:
        """Charge what was used instead of the estimate, and free the slots. Done at once where
        None is returned."""
        changes = self._changes(tokens - self._tokens, "tokens")
        if not changes and not self._slots:
            return None
        return self._limiter.settle(changes, self._slots)

    def cancel(self) -> Awaitable[None] | None:
        """Take everything back: the request was not begun."""
        changes = [*self._changes(-self._tokens, "tokens"), *self._changes(-1, "requests")]
        return self._limiter.settle(changes, self._slots)

    def _changes(self, amount: int, unit: Unit) -> list[Change]:
        return [
            Change(key=rule.key, amount=amount, ends_ms=level.ends_ms)
            for rule, level in zip(self._rules, self._levels, strict=True)
            if rule.unit == unit and amount
        ]
