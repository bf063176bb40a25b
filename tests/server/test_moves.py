"""Proves how a model gets another engine, or device, while its requests run."""

import asyncio

import pytest

from inferneo_core.embeddings import EmbeddingRequest
from inferneo_core.errors import (
    InvalidRequest,
    ModelLoadFailed,
    ModelNotFound,
)
from inferneo_server.access.identity import ANYONE
from inferneo_server.embedding import embed
from tests.server.services import MODEL, read_events
from tests.server.workshop import (
    Workshop,
    chat,
    load,
    question,
    run,
    serving,
    spec,
    status,
    until,
)


def test_a_replaced_engine_finishes_what_it_runs_and_new_requests_find_the_new_one() -> None:
    async def work() -> None:
        workshop = Workshop()
        async with serving(workshop) as (service, registry):
            running = await service.begin(question(stream=True, max_tokens=32))
            await running.read()
            await load(registry, spec(MODEL, load="pinned", engine_args={"words": 3}))
            old, new = workshop.made

            assert old.open and new.open
            assert (await chat(service))["usage"]["completion_tokens"] == 3
            assert len(await read_events(running)) > 20
            await until(lambda: not old.open)

    run(work())


def test_a_replacement_that_fails_leaves_the_old_engine_serving() -> None:
    async def work() -> None:
        workshop = Workshop()
        async with serving(workshop) as (service, registry):
            with pytest.raises(ModelLoadFailed, match="no memory"):
                await load(registry, spec(MODEL, engine_args={"start_error": "no memory"}))

            assert (await chat(service))["model"] == MODEL
            assert workshop.open == workshop.made[:1]
            assert (status(registry), registry.state) == ("ready", "ready")
            known = registry.spec(MODEL)
            assert known is not None and known.load == "pinned"

    run(work())


def test_requests_run_through_many_moves_between_devices_without_a_failure() -> None:
    async def work() -> None:
        workshop = Workshop()
        async with serving(workshop) as (service, registry):
            done = asyncio.Event()
            answered = 0

            async def ask() -> None:
                nonlocal answered
                while not done.is_set():
                    assert (await chat(service, max_tokens=4))["model"] == MODEL
                    answered += 1

            async def embed_texts() -> None:
                while not done.is_set():
                    await embed(service, EmbeddingRequest(input="Hello"), ANYONE)

            async with asyncio.TaskGroup() as group:
                for _ in range(4):
                    group.create_task(ask())
                    group.create_task(embed_texts())
                for device, before, now in (
                    ("gpu:0", "cpu:0", "gpu:0"),
                    ("cpu", "gpu:0", "cpu:0"),
                    ("gpu:0", "cpu:0", "gpu:0"),
                    ("auto", "gpu:0", "cpu:0"),
                ):
                    told = await registry.switch(device)
                    assert (told.success, told.previous_device) == (True, before)
                    assert told.current_device == now
                    assert told.message == f"Switched from {before} to {now}"
                    reached = answered
                    await until(lambda reached=reached: answered > reached + 8)  # type: ignore[misc]
                done.set()
            assert [engine.device.name for engine in workshop.made] == [
                "cpu",
                "gpu:0",
                "cpu",
                "gpu:0",
                "cpu",
            ]

    run(work())


def test_a_move_to_where_the_model_is_does_nothing() -> None:
    async def work() -> None:
        workshop = Workshop()
        async with serving(workshop) as (_, registry):
            told = await registry.switch("cpu")

            assert (told.success, told.message) == (True, "Already on cpu:0")
            assert len(workshop.made) == 1
            with pytest.raises(InvalidRequest):
                await registry.switch("gpu:7")
            with pytest.raises(ModelNotFound):
                await registry.switch("cpu", "nobody")

    run(work())


def test_where_two_engines_do_not_fit_the_old_one_ends_first_and_requests_wait() -> None:
    async def work() -> None:
        workshop = Workshop()
        async with serving(workshop) as (service, registry):
            await registry.switch("gpu:0")
            running = asyncio.create_task(chat(service, max_tokens=16))
            await until(lambda: registry.running == 1)
            gate = workshop.gates[MODEL] = asyncio.Event()
            new = spec(MODEL, device="gpu:0", load="pinned", engine_args={"words": 3})
            job = await registry.load(new)
            await until(lambda: len(workshop.made) == 3)

            assert (await running)["usage"]["completion_tokens"] == 16
            assert workshop.open == workshop.made[2:]
            waiting = asyncio.create_task(chat(service))
            assert registry.state == "moving" or registry.state == "ready"
            gate.set()
            await job.result()
            assert (await waiting)["usage"]["completion_tokens"] == 3

    run(work())


def test_where_the_new_engine_fails_after_the_end_of_the_old_the_old_is_started_again() -> None:
    async def work() -> None:
        workshop = Workshop()
        async with serving(workshop) as (service, registry):
            await registry.switch("gpu:0")
            broken = spec(MODEL, device="gpu:0", engine_args={"start_error": "no memory"})
            with pytest.raises(ModelLoadFailed, match="no memory"):
                await load(registry, broken)
            await until(lambda: status(registry) == "ready")

            assert (await chat(service))["model"] == MODEL
            assert registry.status().device == "gpu:0"

    run(work())
