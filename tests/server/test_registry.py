"""Proves in which states a model is, and that its engine is replaced when it fails, and closed."""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import msgspec
import pytest

from inferneo_core.errors import EngineUnavailable, ModelNotFound
from inferneo_core.models import Model
from inferneo_server.engines.base import EngineStartError
from inferneo_server.engines.simulated import SimulatedEngine
from inferneo_server.registry import Registry
from tests.server.services import one_model

BOUND_SECONDS = 20.0
POLL_SECONDS = 0.01


class CountedEngine(SimulatedEngine):
    """An engine that tells how often it was closed."""

    closed = 0

    async def aclose(self) -> None:
        self.closed += 1
        await super().aclose()


class Factory:
    """Makes engines as a registry asks for them, each of them only when it may.

    Args:
        errors: why the first, the second ... engine does not start; None where it does.
    """

    def __init__(self, *errors: str | None) -> None:
        self.made: list[CountedEngine] = []
        self.may_make = threading.Semaphore(0)
        self._errors = errors

    def __call__(self) -> CountedEngine:
        assert self.may_make.acquire(timeout=BOUND_SECONDS)
        number = len(self.made)
        error = self._errors[number] if number < len(self._errors) else None
        self.made.append(CountedEngine(max_model_len=100, start_error=error))
        return self.made[-1]


@contextlib.asynccontextmanager
async def running(registry: Registry) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(registry.run())
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(condition: Callable[[], bool]) -> None:
    # States are read, and told to nobody.
    while not condition():  # noqa: ASYNC110
        await asyncio.sleep(POLL_SECONDS)


def state(registry: Registry) -> str:
    """Its state as text: for mypy what was `loading` once is so forever."""
    return registry.state


def run(work: Coroutine[Any, Any, None]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(BOUND_SECONDS):
            await work

    asyncio.run(bounded())


def test_a_model_is_loading_then_ready_then_restarting_then_ready_again() -> None:
    async def work() -> None:
        factory = Factory()
        registry = one_model(factory, "m")
        async with running(registry):
            assert state(registry) == "loading"
            with pytest.raises(EngineUnavailable, match="loading"):
                await registry.lease("m")

            factory.may_make.release()
            await registry.wait_ready()
            first = (await registry.lease("m")).engine
            assert (state(registry), first) == ("ready", factory.made[0])

            factory.made[0].fail("out of memory")
            await until(lambda: state(registry) != "ready")
            assert state(registry) == "restarting"
            with pytest.raises(EngineUnavailable, match="restarting"):
                await registry.lease("m")
            await until(lambda: factory.made[0].closed == 1)

            factory.may_make.release()
            await registry.wait_ready()
            assert state(registry) == "ready"
            assert (await registry.lease("m")).engine is factory.made[1] is not first
        assert state(registry) == "stopped"
        assert [engine.closed for engine in factory.made] == [1, 1]

    run(work())


def test_why_an_engine_failed_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def work() -> None:
        factory = Factory()
        registry = one_model(factory, "m")
        async with running(registry):
            factory.may_make.release(2)
            await registry.wait_ready()
            factory.made[0].fail("out of memory")
            await until(lambda: len(factory.made) == 2)

    run(work())
    assert "out of memory; starting it again" in caplog.text


def test_a_model_that_cannot_be_loaded_at_first_ends_it_with_the_reason() -> None:
    async def work() -> None:
        factory = Factory("no such weights")
        registry = one_model(factory, "m")
        factory.may_make.release()
        with pytest.raises(EngineStartError, match="no such weights"):
            await registry.run()

        assert state(registry) == "stopped"
        assert registry.models == []
        assert [engine.closed for engine in factory.made] == [1]

    run(work())


def test_a_restart_that_fails_is_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    async def work() -> None:
        factory = Factory(None, "still no memory")
        registry = one_model(factory, "m")
        async with running(registry):
            factory.may_make.release(3)
            await registry.wait_ready()
            factory.made[0].fail("out of memory")
            await until(lambda: state(registry) == "restarting")
            await registry.wait_ready()

            assert (await registry.lease("m")).engine is factory.made[2]
        assert [engine.closed for engine in factory.made] == [1, 1, 1]

    run(work())
    assert "The engine did not restart: still no memory" in caplog.text


def test_the_engine_is_closed_when_the_registry_is_cancelled() -> None:
    async def work() -> None:
        factory = Factory()
        registry = one_model(factory, "m")
        async with running(registry) as task:
            factory.may_make.release()
            await registry.wait_ready()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

            assert factory.made[0].closed == 1
            assert await factory.made[0].wait_failed() == "The engine was closed"
            with pytest.raises(EngineUnavailable, match="stopped"):
                await registry.lease("m")

    run(work())


def test_a_name_that_is_not_served_is_not_found_in_any_state() -> None:
    async def work() -> None:
        factory = Factory()
        registry = one_model(factory, "a/m")
        for wanted in ("other", "", "A/M", "m"):
            with pytest.raises(ModelNotFound, match="Served here: 'a/m'"):
                await registry.lease(wanted)
        async with running(registry):
            factory.may_make.release()
            await registry.wait_ready()
            for wanted in ("other", "", "A/M", "m"):
                with pytest.raises(ModelNotFound, match="Served here: 'a/m'"):
                    await registry.lease(wanted)
                with pytest.raises(ModelNotFound):
                    registry.model(wanted)

    run(work())


def test_no_name_means_the_only_model() -> None:
    async def work() -> None:
        factory = Factory()
        registry = one_model(factory, "m")
        async with running(registry):
            with pytest.raises(EngineUnavailable):
                await registry.lease(None)
            factory.may_make.release()
            await registry.wait_ready()

            assert (
                (await registry.lease(None)).engine
                is (await registry.lease("m")).engine
                is factory.made[0]
            )

    run(work())


def test_a_model_is_listed_from_its_first_load_on_and_through_restarts() -> None:
    async def work() -> None:
        factory = Factory()
        registry = one_model(factory, "m")
        async with running(registry):
            assert registry.models == []
            with pytest.raises(ModelNotFound):
                registry.model("m")

            factory.may_make.release()
            await registry.wait_ready()
            model = registry.model("m")
            assert model == Model(id="m", root="m", created=model.created, max_model_len=100)
            assert registry.models == [model]

            factory.made[0].fail("out of memory")
            await until(lambda: state(registry) == "restarting")
            assert registry.models == [msgspec.structs.replace(model, status="restarting")]
            factory.may_make.release()

    run(work())


def test_nothing_runs_where_no_engine_is() -> None:
    assert one_model(Factory(), "m").running == 0
