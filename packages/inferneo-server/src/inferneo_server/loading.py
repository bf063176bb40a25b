"""Receives changes of models; hands on one job for each, in turn, with room made for what it loads.

Engines that start fight for the same cores and memory, so that they start one after another.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

from inferneo_core.errors import (
    Conflict,
    InvalidRequest,
    ModelLoadFailed,
    Overloaded,
)
from inferneo_core.models import ModelProgress
from inferneo_server.catalogue import address
from inferneo_server.engines.base import EngineStartError
from inferneo_server.hardware.device import Device
from inferneo_server.load_errors import told_reason
from inferneo_server.model_spec import ModelSpec, memory_of
from inferneo_server.served_model import ServedModel

MAX_WAITING_LOADS = 8


class Job:
    """A change of a model that is on its way.

    Attributes:
        kind: `load`, `unload`, `sleep` or `wake`.
        spec: what the model is to be, once it is done.
        message: what it is at, for people.
        persist: whether somebody who waits for it wants it remembered.
    """

    def __init__(self, kind: str, model: ServedModel, spec: ModelSpec) -> None:
        self.kind = kind
        self.model = model
        self.spec = spec
        self.message = "waiting for its turn"
        self.persist = False
        self._started = time.monotonic()
        self._task: asyncio.Task[None] | None = None

    def begin(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Do the work in a task of its own: who asked for it may leave."""
        self._task = asyncio.create_task(work)
        # Where nobody waits for it any more, nobody else asks for its error.
        self._task.add_done_callback(lambda task: task.cancelled() or task.exception())
        return self._task

    @property
    def done(self) -> bool:
        """Whether it has ended, well or not."""
        return self._task is not None and self._task.done()

    @property
    def progress(self) -> ModelProgress:
        """How it stands."""
        seconds = time.monotonic() - self._started
        return ModelProgress(
            id=self.spec.name,
            status=self.model.state,
            seconds=round(seconds, 1),
            message=self.message,
        )

    @property
    def finishing(self) -> bool:
        """Whether the model serves as it is to, and only what is remembered is still written."""
        lease = self.model.lease
        return self.kind == "load" and lease is not None and lease.spec is self.spec

    async def wait(self, seconds: float | None = None) -> bool:
        """Wait for its end, so long at most; whether it has come."""
        assert self._task is not None
        return bool((await asyncio.wait([self._task], timeout=seconds))[0])

    async def result(self) -> None:
        """Wait for its end.

        Raises:
            ApiError: it failed.
        """
        assert self._task is not None
        await asyncio.wait([self._task])
        if self._task.cancelled():
            raise Conflict(f"The {self.kind} of '{self.spec.name}' was given up", code="cancelled")
        self._task.result()

    def cancel(self) -> None:
        """Give it up; `wait` for its end."""
        assert self._task is not None
        self._task.cancel()


class Loading:
    """The jobs of a server: one for each model, of which one loads.

    Args:
        models: those that there are, each time they are gone through.
        budget: bytes that all models together may take; None is no limit.
        load_seconds: how long one may take to load.
    """

    def __init__(
        self,
        models: Iterable[ServedModel],
        *,
        budget: int | None = None,
        load_seconds: float = 3600.0,
    ) -> None:
        self._models = models
        self._budget = budget
        self._load_seconds = load_seconds
        self._turn = asyncio.Lock()
        self._jobs: dict[ServedModel, Job] = {}

    def of(self, model: ServedModel) -> Job | None:
        """The job that changes the model now."""
        return self._jobs.get(model)

    async def begin(
        self, kind: str, model: ServedModel, spec: ModelSpec, work: Callable[[Job], Any]
    ) -> Job:
        """Begin a job, or join the one that does the same.

        Who sees that a model serves may change it at once: a load that finishes is waited for.

        Raises:
            Conflict: the model is being changed otherwise.
            Overloaded: too many models wait to be loaded.
        """
        while (job := self._jobs.get(model)) is not None:
            if job.finishing:
                await job.wait()
                continue
            if job.kind == kind and job.spec == spec:
                return job
            raise Conflict(
                f"The model '{model.spec.name}' is being changed: a {job.kind} is on its way",
                param="model",
                code="model_busy",
            )
        loads = sum(job.kind == "load" for job in self._jobs.values())
        if kind == "load" and loads > MAX_WAITING_LOADS:
            raise Overloaded(f"{loads} models wait to be loaded", retry_after=30)
        self._jobs[model] = job = Job(kind, model, spec)
        job.begin(self._run(job, work))
        return job

    async def _run(self, job: Job, work: Callable[[Job], Any]) -> None:
        try:
            await work(job)
        finally:
            del self._jobs[job.model]
            # Who waits for the model looks again.
            job.model.enter(job.model.state)

    async def load(self, job: Job, device: Device) -> None:
        """Load the job's model, or have a new engine take over from its old one.

        Raises:
            ModelLoadFailed: the engine does not start.
            ApiError: there is no room for it, or requests that cannot be waited for.
        """
        model, spec = job.model, job.spec
        memory = await asyncio.to_thread(memory_of, spec)
        async with self._turn:
            job.message = "making room"
            beside = await self._make_room(model, memory, device)
            job.message = f"starting {spec.engine} on {address(device)}"
            try:
                if model.newest is None and model.state != "restarting":
                    await model.load(spec, device, memory, self._load_seconds)
                else:
                    await model.replace(spec, device, memory, self._load_seconds, beside=beside)
            except EngineStartError as error:
                reason = told_reason(str(error), spec)
                raise ModelLoadFailed(
                    f"The model '{spec.name}' cannot be loaded: {reason}", param="model"
                ) from None

    async def load_first(self, model: ServedModel, device: Device) -> None:
        """Load a model when the server starts, however long that takes.

        Raises:
            EngineStartError: the engine does not start.
        """
        memory = await asyncio.to_thread(memory_of, model.spec)
        async with self._turn:
            await model.load(model.spec, device, memory, None)

    async def _make_room(self, model: ServedModel, memory: int, device: Device) -> bool:
        """Unload others, the longest unused first, and say whether an old engine of the model can
        stay until the new one serves.

        Raises:
            InvalidRequest: there never is so much room.
            Overloaded: there is none now.
        """
        old = model.newest
        # A GPU's memory is taken whole by the engine that is there.
        beside = old is None or device.type == "cpu" or old.device.name != device.name
        if self._budget is None:
            return beside
        if memory > self._budget:
            raise InvalidRequest(
                f"The model takes {memory} bytes, more than the {self._budget} that all may take",
                param="model",
                code="insufficient_memory",
            )
        others = [other for other in self._models if other is not model]
        while (
            used := sum(other.memory for other in others)
        ) + memory + model.memory > self._budget:
            victim = self._longest_unused(others)
            if victim is None:
                if used + memory <= self._budget:
                    return False
                raise Overloaded(
                    f"The model takes {memory} bytes, and the others, which are pinned or busy, "
                    f"hold {used} of {self._budget}",
                    code="insufficient_memory",
                    retry_after=10,
                )
            with contextlib.suppress(Conflict):
                await victim.unload(force=False)
        return beside

    def _longest_unused(self, models: Iterable[ServedModel]) -> ServedModel | None:
        free = [model for model in models if self.unneeded(model)]
        return min(free, key=lambda model: model.newest.used_at, default=None)  # type: ignore[union-attr]

    def unneeded(self, model: ServedModel) -> bool:
        """Whether a model could be unloaded with nobody noticing."""
        return (
            model.newest is not None
            and model.spec.load != "pinned"
            and not model.busy
            and model not in self._jobs
        )

    async def give_up_load(self, model: ServedModel) -> None:
        """End a load of the model that is on its way, if there is one."""
        job = self._jobs.get(model)
        if job is not None and job.kind == "load" and not job.finishing:
            job.cancel()
            await job.wait()

    async def aclose(self) -> None:
        """Give up what is on its way."""
        jobs = list(self._jobs.values())
        for job in jobs:
            job.cancel()
        for job in jobs:
            await job.wait()
