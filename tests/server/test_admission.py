"""Proves that places in front of an engine are shared fairly, and that what waits is bounded."""

import asyncio
from collections.abc import Sequence

import pytest

from inferneo_core.errors import Overloaded
from inferneo_server.access.identity import Identity
from inferneo_server.admission import Admission, Demand, Place
from tests.server.services import run_quickly, settle

ONE = Demand(choices=1, prompt_tokens=10)
USED = 100
GREEDY, MODEST, HEAVY = (
    Identity(owner="greedy"),
    Identity(owner="modest"),
    Identity(owner="heavy", weight=3),
)


def make(*, requests: int = 1000, tokens: int = 10**6, seconds: float = 60) -> Admission:
    return Admission(max_requests=requests, max_tokens=tokens, max_seconds=seconds)


class Crowd:
    """Requests that enter one after another, and the order in which they are let in."""

    def __init__(self, admission: Admission, places: int) -> None:
        self.admission = admission
        self.places = places
        self.order: list[str] = []
        self.held: list[Place] = []
        self.tasks: list[asyncio.Task[None]] = []

    async def send(self, identity: Identity, count: int = 1, demand: Demand = ONE) -> None:
        self.tasks += [asyncio.create_task(self._enter(identity, demand)) for _ in range(count)]
        await settle()

    async def _enter(self, identity: Identity, demand: Demand) -> None:
        place = await self.admission.enter(identity, demand, self.places)
        self.order.append(identity.owner)
        self.held.append(place)

    async def finish(self, count: int = 1, used: int = USED) -> None:
        """The oldest that run end, one after another."""
        for _ in range(count):
            self.held.pop(0).release(used)
            await settle()

    async def end(self) -> Sequence[BaseException | None]:
        """All end, and how they did."""
        while self.held:
            await self.finish()
        return await asyncio.gather(*self.tasks, return_exceptions=True)


def test_who_finds_a_place_does_not_wait() -> None:
    async def scenario() -> None:
        crowd = Crowd(make(), places=2)
        await crowd.send(GREEDY, 3)
        assert len(crowd.held) == 2
        assert crowd.admission.waiting == 1
        await crowd.finish()
        assert crowd.order == ["greedy"] * 3
        await crowd.end()

    run_quickly(scenario())


def test_one_request_passes_by_all_that_wait_of_a_greedy_owner() -> None:
    async def scenario() -> None:
        crowd = Crowd(make(), places=4)
        await crowd.send(GREEDY, 500)
        await crowd.send(MODEST)
        await crowd.finish()
        assert crowd.order[4:] == ["modest"]
        await crowd.end()
        assert crowd.order.count("greedy") == 500

    run_quickly(scenario())


def test_shares_follow_the_weights() -> None:
    async def scenario() -> None:
        crowd = Crowd(make(), places=1)
        await crowd.send(GREEDY)
        await crowd.send(MODEST, 40)
        await crowd.send(HEAVY, 40)
        await crowd.finish(40)
        served = crowd.order[1:41]
        assert served.count("heavy") == 30
        assert served.count("modest") == 10
        await crowd.end()

    run_quickly(scenario())


def test_who_uses_less_is_served_more_often() -> None:
    async def scenario() -> None:
        crowd = Crowd(make(), places=1)
        await crowd.send(GREEDY)
        await crowd.send(MODEST, 30)
        await crowd.send(HEAVY, 30)
        for _ in range(20):
            await crowd.finish(used=10 if crowd.order[-1] == "modest" else 1000)
        # The share of the heavy one is three times as large, but it uses a hundred times as much.
        assert crowd.order[1:].count("modest") > 16
        await crowd.end()

    run_quickly(scenario())


def test_a_place_is_kept_for_others_where_there_are_others() -> None:
    async def scenario() -> None:
        crowd = Crowd(make(), places=16)
        await crowd.send(GREEDY, 20)
        assert len(crowd.held) == 16  # there is nobody else
        await crowd.send(MODEST)
        await crowd.finish(17)
        await crowd.send(GREEDY, 40)
        assert len(crowd.held) == 14
        await crowd.send(MODEST, 2)
        assert crowd.order[-2:] == ["modest", "modest"]
        assert len(crowd.held) == 16
        await crowd.end()

    run_quickly(scenario())


def test_nobody_saves_up_a_share_while_away() -> None:
    async def scenario() -> None:
        crowd = Crowd(make(), places=1)
        await crowd.send(GREEDY, 30)
        await crowd.finish(20)
        await crowd.send(MODEST, 10)
        await crowd.finish(10)
        assert 4 <= crowd.order[-10:].count("modest") <= 6
        await crowd.end()

    run_quickly(scenario())


def test_priority_comes_before_the_shares() -> None:
    async def scenario() -> None:
        crowd = Crowd(make(), places=1)
        await crowd.send(GREEDY, 5)
        await crowd.send(MODEST)
        await crowd.send(GREEDY, 1, Demand(choices=1, prompt_tokens=1, priority=-1))
        await crowd.finish(2)
        assert crowd.order == ["greedy", "greedy", "modest"]
        await crowd.end()

    run_quickly(scenario())


def test_a_full_queue_refuses_and_says_when_to_come_back() -> None:
    async def scenario() -> None:
        crowd = Crowd(make(requests=2), places=1)
        await crowd.send(GREEDY, 4)
        (refused,) = [task for task in crowd.tasks if task.done() and task.exception()]
        error = refused.exception()
        assert isinstance(error, Overloaded)
        assert error.status == 503
        assert int(error.headers["retry-after-ms"]) > 0
        assert crowd.admission.waiting == 2
        await crowd.end()

    run_quickly(scenario())


def test_tokens_that_wait_are_bounded() -> None:
    async def scenario() -> None:
        crowd = Crowd(make(tokens=25), places=1)
        await crowd.send(GREEDY, 4)
        outcomes = await crowd.end()
        assert sum(isinstance(outcome, Overloaded) for outcome in outcomes) == 1

    run_quickly(scenario())


def test_a_queue_full_of_one_owner_makes_room_for_another() -> None:
    async def scenario() -> None:
        crowd = Crowd(make(requests=3), places=1)
        await crowd.send(GREEDY, 4)
        await crowd.send(MODEST)
        await crowd.finish()
        assert crowd.order == ["greedy", "modest"]
        outcomes = await crowd.end()
        assert [isinstance(outcome, Overloaded) for outcome in outcomes] == [
            False,
            False,
            False,
            True,
            False,
        ]
        assert crowd.admission.waiting == 0

    run_quickly(scenario())


def test_nobody_waits_longer_than_is_bounded() -> None:
    async def scenario() -> None:
        crowd = Crowd(make(seconds=5), places=1)
        await crowd.send(GREEDY, 2)
        began = asyncio.get_running_loop().time()
        with pytest.raises(Overloaded, match="5 s"):
            await crowd.tasks[1]
        assert 5 <= asyncio.get_running_loop().time() - began < 6
        assert crowd.admission.waiting == 0
        await crowd.end()

    run_quickly(scenario())


def test_who_leaves_the_queue_frees_the_way() -> None:
    async def scenario() -> None:
        crowd = Crowd(make(), places=2)
        await crowd.send(GREEDY)
        await crowd.send(MODEST, 1, Demand(choices=2, prompt_tokens=1))
        await crowd.send(MODEST)
        assert crowd.order == ["greedy"]
        crowd.tasks[1].cancel()
        await settle()
        assert crowd.order == ["greedy", "modest"]
        await crowd.end()

    run_quickly(scenario())


def test_a_place_that_comes_together_with_a_cancellation_is_given_back() -> None:
    async def scenario() -> None:
        crowd = Crowd(make(), places=1)
        await crowd.send(GREEDY, 3)
        crowd.held.pop().release(USED)
        crowd.tasks[1].cancel()  # it has its place, and does not know it yet
        await settle()
        assert crowd.order == ["greedy", "greedy"]
        assert crowd.tasks[2].done()
        await crowd.end()

    run_quickly(scenario())


def test_a_request_of_more_choices_than_places_runs_alone() -> None:
    async def scenario() -> None:
        crowd = Crowd(make(), places=2)
        await crowd.send(GREEDY)
        await crowd.send(MODEST, 1, Demand(choices=5, prompt_tokens=1))
        assert crowd.order == ["greedy"]
        await crowd.finish()
        assert crowd.order == ["greedy", "modest"]
        await crowd.end()

    run_quickly(scenario())


def test_a_place_is_given_back_once() -> None:
    async def scenario() -> None:
        admission = make()
        first = await admission.enter(GREEDY, ONE, 1)
        first.release(0)
        first.release(0)
        await admission.enter(GREEDY, ONE, 1)
        waiting = asyncio.create_task(admission.enter(GREEDY, ONE, 1))
        await settle()
        assert not waiting.done()
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)

    run_quickly(scenario())


def test_the_time_to_come_back_follows_the_rate_of_late() -> None:
    async def scenario() -> None:
        admission = make()
        quick = admission.retry_after()
        for _ in range(5):
            (await admission.enter(GREEDY, ONE, 1)).release(0)
        assert 0 < admission.retry_after() <= quick

    run_quickly(scenario())
