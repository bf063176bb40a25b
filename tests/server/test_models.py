"""Proves how models are loaded and unloaded while others serve, and requests run."""

import asyncio

import pytest

from inferneo_core.errors import (
    ApiError,
    Conflict,
    EngineUnavailable,
    InvalidRequest,
    ModelLoadFailed,
    ModelNotFound,
    Overloaded,
)
from inferneo_server.engines.base import EngineStartError
from inferneo_server.registry import Registry
from tests.server.services import MODEL
from tests.server.workshop import (
    Workshop,
    chat,
    find_device,
    load,
    run,
    serving,
    spec,
    status,
    until,
)


def test_a_second_model_is_loaded_beside_the_first_and_unloaded_again() -> None:
    async def work() -> None:
        workshop = Workshop()
        async with serving(workshop) as (service, registry):
            await load(registry, spec("other", aliases=("o",)))
            assert [each.id for each in registry.models] == [MODEL, "other"]
            assert (await chat(service, "o"))["model"] == "other"
            assert (await chat(service))["model"] == MODEL

            assert (await registry.unload("o")).status == "unloaded"
            assert len(workshop.open) == 1
            with pytest.raises(ModelNotFound, match=f"Served here: '{MODEL}'"):
                await chat(service, "other")
            assert (await chat(service))["model"] == MODEL

    run(work())


def test_a_model_is_loaded_by_the_first_requests_that_name_it_and_only_once() -> None:
    async def work() -> None:
        workshop = Workshop()
        async with serving(workshop, spec("late")) as (service, registry):
            assert [(each.id, each.status) for each in registry.models][1] == ("late", "unloaded")
            answers = await asyncio.gather(*(chat(service, "late") for _ in range(8)))

            assert {answer["model"] for answer in answers} == {"late"}
            assert len(workshop.made) == 2

    run(work())


def test_a_request_waits_for_a_load_no_longer_than_it_may() -> None:
    async def work() -> None:
        workshop = Workshop()
        workshop.gates["late"] = asyncio.Event()
        async with serving(workshop, spec("late"), wait_seconds=0.05) as (service, _):
            with pytest.raises(EngineUnavailable, match="still loading") as refused:
                await chat(service, "late")

            assert int(refused.value.headers["retry-after"]) >= 1
            workshop.gates["late"].set()
            await until(lambda: status(service.registry, "late") == "ready")
            assert (await chat(service, "late"))["model"] == "late"

    run(work())


def test_a_model_that_only_an_administrator_loads_is_refused_until_then() -> None:
    async def work() -> None:
        async with serving(Workshop(), spec("kept", load="on_request")) as (service, registry):
            with pytest.raises(EngineUnavailable) as refused:
                await chat(service, "kept")
            assert refused.value.code == "model_not_loaded"
            known = registry.spec("kept")
            assert known is not None
            await load(registry, known)
            assert (await chat(service, "kept"))["model"] == "kept"

            await registry.unload("kept")
            with pytest.raises(EngineUnavailable):
                await chat(service, "kept")

    run(work())


def test_two_who_load_one_model_share_the_load() -> None:
    async def work() -> None:
        workshop = Workshop()
        gate = workshop.gates["other"] = asyncio.Event()
        async with serving(workshop) as (_, registry):
            first, second = await registry.load(spec("other")), await registry.load(spec("other"))
            assert first is second
            with pytest.raises(Conflict, match="load is on its way"):
                await registry.load(spec("other", engine_args={"words": 3}))
            gate.set()
            await first.result()

            await load(registry, spec("other"))
            assert len(workshop.made) == 2

    run(work())


def test_a_load_goes_on_when_who_asked_for_it_leaves() -> None:
    async def work() -> None:
        workshop = Workshop()
        gate = workshop.gates["other"] = asyncio.Event()
        async with serving(workshop) as (_, registry):
            caller = asyncio.create_task(load(registry, spec("other")))
            await until(lambda: len(workshop.open) == 2)
            caller.cancel()
            await asyncio.wait([caller])
            gate.set()
            await until(lambda: status(registry, "other") == "ready")

    run(work())


def test_a_load_that_fails_tells_why_and_leaves_no_trace() -> None:
    async def work() -> None:
        workshop = Workshop()
        async with serving(workshop) as (service, registry):
            broken = spec("other", engine_args={"start_error": "no weights in /srv/own/code.py"})
            with pytest.raises(ModelLoadFailed, match="no weights in code.py"):
                await load(registry, broken)

            assert [each.id for each in registry.models] == [MODEL]
            assert len(workshop.open) == 1
            with pytest.raises(ModelNotFound):
                await chat(service, "other")

    run(work())


def test_requests_for_a_model_that_fails_to_load_are_told_and_try_it_once() -> None:
    async def work() -> None:
        workshop = Workshop()
        broken = spec("late", engine_args={"start_error": "no weights"})
        async with serving(workshop, broken) as (service, registry):
            for _ in range(3):
                with pytest.raises(EngineUnavailable, match="no weights") as refused:
                    await chat(service, "late")
                assert refused.value.code == "model_load_failed"
            assert len(workshop.made) == 2
            assert registry.status("late").error == "no weights"

    run(work())


def test_an_unload_waits_for_what_runs_and_gives_up_when_that_takes_too_long() -> None:
    async def work() -> None:
        workshop = Workshop()
        slow = spec("slow", engine_args={"token_seconds": 0.01, "words": 1000})
        async with serving(workshop, slow, drain_seconds=0.1) as (service, registry):
            running = asyncio.create_task(chat(service, "slow", max_tokens=60))
            await until(lambda: registry.running == 1)
            with pytest.raises(Conflict, match="still works on 1 request") as refused:
                await registry.unload("slow")
            assert refused.value.code == "model_busy"
            assert (await running)["usage"]["completion_tokens"] == 60

            assert (await registry.unload("slow")).status == "unloaded"
            assert len(workshop.open) == 1

    run(work())


def test_a_forced_unload_ends_what_runs_and_a_load_on_its_way() -> None:
    async def work() -> None:
        workshop = Workshop()
        slow = spec("slow", engine_args={"token_seconds": 1, "words": 1000})
        async with serving(workshop, slow) as (service, registry):
            running = asyncio.create_task(chat(service, "slow", stream=False))
            await until(lambda: registry.running == 1)
            await registry.unload("slow", force=True)
            with pytest.raises(EngineUnavailable):
                await running

            workshop.gates["other"] = asyncio.Event()
            job = await registry.load(spec("other"))
            await until(lambda: len(workshop.open) == 2)
            await registry.unload("other", force=True)
            with pytest.raises(Conflict, match="given up"):
                await job.result()
            assert len(workshop.open) == 1

    run(work())


def test_the_longest_unused_makes_room_and_the_pinned_and_busy_stay() -> None:
    async def work() -> None:
        workshop = Workshop()
        models = [spec(name, memory_bytes=40) for name in ("a", "b", "c")]
        async with serving(workshop, *models, budget=100) as (service, registry):
            for name in ("a", "b", "a", "c"):
                await chat(service, name)
            assert [status(registry, name) for name in "abc"] == ["ready", "unloaded", "ready"]

            with pytest.raises(InvalidRequest, match="more than the 100"):
                await load(registry, spec("d", memory_bytes=101))
            held = await registry.lease("a")
            with held:
                await chat(service, "b")
                assert [status(registry, name) for name in "abc"] == ["ready", "ready", "unloaded"]
                with await registry.lease("b"), pytest.raises(Overloaded) as refused:
                    await load(registry, spec("d", memory_bytes=40))
            assert refused.value.code == "insufficient_memory"
            assert status(registry) == "ready"

    run(work())


def test_a_model_that_nobody_asks_is_unloaded_and_comes_back_for_the_next_request() -> None:
    async def work() -> None:
        workshop = Workshop()
        async with serving(workshop, spec("late", idle_seconds=0.05)) as (service, registry):
            await chat(service, "late")
            with await registry.lease("late") as lease:
                # Each time that it is looked at, it counts as used.
                for _ in range(2):
                    before = lease.used_at
                    await until(lambda before=before: lease.used_at > before)  # type: ignore[misc]
                assert status(registry, "late") == "ready"
            await until(lambda: status(registry, "late") == "unloaded")
            assert len(workshop.open) == 1

            assert (await chat(service, "late"))["model"] == "late"

    run(work())


def test_a_sleeping_model_wakes_for_a_request() -> None:
    async def work() -> None:
        workshop = Workshop()
        async with serving(workshop, spec("late")) as (service, registry):
            await chat(service, "late")
            assert (await registry.sleep("late", 1)).status == "sleeping"
            assert workshop.made[1].asleep

            assert (await chat(service, "late"))["model"] == "late"
            assert not workshop.made[1].asleep
            await registry.sleep(MODEL, 2)
            with pytest.raises(EngineUnavailable, match="sleeping"):
                await chat(service)
            assert (await registry.wake(MODEL)).status == "ready"
            await chat(service)

    run(work())


def test_an_engine_that_dies_is_replaced_while_another_model_serves_on() -> None:
    async def work() -> None:
        workshop = Workshop()
        async with serving(workshop, spec("late")) as (service, registry):
            await chat(service, "late")
            workshop.made[1].fail("out of memory")
            await until(lambda: status(registry, "late") == "restarting" or len(workshop.made) == 3)
            assert (await chat(service))["model"] == MODEL
            assert registry.state == "ready"
            await until(lambda: status(registry, "late") == "ready")
            assert (await chat(service, "late"))["model"] == "late"

    run(work())


def test_a_pinned_model_that_cannot_be_loaded_ends_the_start_with_its_name() -> None:
    broken = spec("other", load="pinned", engine_args={"start_error": "no weights"})
    registry = Registry([spec(MODEL), broken], Workshop().make, find_device)

    with pytest.raises(EngineStartError, match="the model 'other': no weights"):
        asyncio.run(registry.run())


def test_models_are_loaded_one_after_another_and_too_many_are_refused() -> None:
    async def work() -> None:
        workshop = Workshop()
        gate = asyncio.Event()
        workshop.gates = dict.fromkeys([f"m{number}" for number in range(20)], gate)
        async with serving(workshop) as (_, registry):
            jobs = [await registry.load(spec(f"m{number}")) for number in range(9)]
            with pytest.raises(Overloaded, match="wait to be loaded"):
                await registry.load(spec("m9"))
            await until(lambda: len(workshop.made) == 2)
            assert registry.spec("m9") is None
            gate.set()
            for job in jobs:
                await job.result()

    run(work())


def test_who_waits_for_a_model_is_told_when_the_server_stops() -> None:
    async def work() -> None:
        workshop = Workshop()
        workshop.gates["late"] = asyncio.Event()
        async with serving(workshop, spec("late")) as (service, _):
            waiting = asyncio.create_task(chat(service, "late"))
            await until(lambda: len(workshop.made) == 2)
        with pytest.raises(ApiError) as refused:
            await waiting
        assert refused.value.status == 503

    run(work())
