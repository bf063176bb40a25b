"""Receives the name of a model; hands on the engine that runs it, loading it where it is not."""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence, Set

from msgspec.structs import replace

from inferneo_core.errors import (
    ApiError,
    EngineUnavailable,
    InvalidRequest,
    ModelLoadFailed,
    ModelNotFound,
    RequestError,
)
from inferneo_core.models import Model, ModelState, ModelStatus, SwitchAnswer
from inferneo_server.catalogue import Catalogue, address, listed, status_of, told
from inferneo_server.engines.base import EngineStartError, Task
from inferneo_server.hardware.device import Device
from inferneo_server.lease import Lease
from inferneo_server.loading import Job, Loading
from inferneo_server.model_spec import EngineName, ModelSpec
from inferneo_server.refusals import refuse_task, refuse_waiting
from inferneo_server.remembered import RememberedModels
from inferneo_server.served_model import MakeEngine, ServedModel

SWEEP_SECONDS = 0.5

FindDevice = Callable[[str, str], Device]

logger = logging.getLogger(__name__)


class Registry:
    """The models of a server.

    Args:
        specs: the configured models; the first one is the default.
        make_engine: makes a new engine for a model on a device, not started; called in a thread.
        find_device: finds the device of that name, for an engine; called in a thread.
        wait_seconds: how long a request waits for a model that is loaded or moved meanwhile.
        load_seconds: how long a load at run time may take.
        drain_seconds: how long running requests may hold up an unload.
        budget: bytes that all models together may take; None is no limit.
        remembered: what is loaded again at the next start; None remembers nothing.
    """

    def __init__(
        self,
        specs: Sequence[ModelSpec],
        make_engine: MakeEngine,
        find_device: FindDevice,
        *,
        wait_seconds: float = 60.0,
        load_seconds: float = 3600.0,
        drain_seconds: float = 30.0,
        budget: int | None = None,
        remembered: RememberedModels | None = None,
    ) -> None:
        self._make_engine = make_engine
        self._find_device = find_device
        self._wait_seconds = wait_seconds
        self._drain_seconds = drain_seconds
        self._remembered = remembered
        self._configured = {spec.name: spec for spec in specs}
        self._catalogue = Catalogue(self._new(spec) for spec in specs)
        self._loading = Loading(self._catalogue, budget=budget, load_seconds=load_seconds)
        # Pinned models before their first load: the server is starting.
        self._starting = [model for model in self._catalogue if model.spec.load == "pinned"]
        for model in self._starting:
            model.enter("loading")
        self._stopped = False

    def _new(self, spec: ModelSpec) -> ServedModel:
        return ServedModel(spec, self._make_engine, drain_seconds=self._drain_seconds)

    @property
    def name(self) -> str:
        """The name of the default model."""
        return self._catalogue.default.spec.name

    @property
    def default_engine(self) -> EngineName:
        """What runs the default model."""
        return self._catalogue.default.spec.engine

    @property
    def names(self) -> list[str]:
        """The names of all models, the default one first, and of their adapters."""
        return self._catalogue.names

    @property
    def state(self) -> ModelState:
        """Whether the server takes requests: ready, or what a pinned model is at."""
        if self._stopped:
            return "stopped"
        return "ready" if (model := self._unready) is None else model.state

    @property
    def _unready(self) -> ServedModel | None:
        """A pinned model that has not been loaded yet, or that has died."""
        if self._starting:
            return self._starting[0]
        pinned = (model for model in self._catalogue if model.spec.load == "pinned")
        return next((model for model in pinned if model.state == "restarting"), None)

    @property
    def running(self) -> int:
        """Choices that the engines are working on."""
        return sum(model.running for model in self._catalogue)

    @property
    def busy(self) -> bool:
        """Whether a request needs one of the engines."""
        return any(model.busy for model in self._catalogue)

    @property
    def loaded(self) -> int:
        """Models whose engine takes requests."""
        return sum(model.lease is not None for model in self._catalogue)

    @property
    def tasks(self) -> Set[Task]:
        """What the default model can do; nothing before it has been loaded."""
        lease = self._catalogue.default.lease
        return lease.tasks if lease else frozenset()

    @property
    def models(self) -> list[Model]:
        """The models that can be asked for: loaded, or to be loaded when they are."""
        return [each for model in self._catalogue if listed(model) for each in told(model)]

    def model(self, name: str) -> Model:
        """The model or adapter of that name or alias.

        Raises:
            ModelNotFound: there is none, or it has not yet been loaded.
        """
        model, called = self._catalogue.serving(name), self.called(name)
        if not listed(model):
            raise ModelNotFound(name, self.names)
        return next(each for each in told(model) if each.id == called)

    def called(self, name: str | None) -> str:
        """What answers to requests for that name carry; no name means the default model.

        Raises:
            ModelNotFound: there is none of that name.
        """
        return self._catalogue.called(name)

    def status(self, name: str | None = None) -> ModelStatus:
        """How a model, or that of an adapter, stands; no name means the default one.

        Raises:
            ModelNotFound: there is none of that name.
        """
        return status_of(self._catalogue.serving(name))

    def spec(self, name: str) -> ModelSpec | None:
        """How the model of that name or alias is, or is about to be, run; None: it is not known."""
        if (model := self._catalogue.get(name)) is None:
            return None
        job = self._loading.of(model)
        return job.spec if job else model.spec

    async def lease(self, name: str | None, task: Task | None = None) -> Lease:
        """The engine of a model or adapter, for a task; no name means the default model.

        `with` it at once: as long as it is held, the engine is not ended.

        Raises:
            ModelNotFound: no model has that name.
            EngineUnavailable: it is not loaded, and was not in the time that a request waits.
            InvalidRequest: it cannot do the task.
        """
        model = self._catalogue.serving(name)
        if (lease := model.lease) is None:
            lease = await self._awaited(model)
            self._catalogue.serving(name)  # It may have come back without the adapter.
        if name in lease.spec.lora_modules:
            lease = lease.adapted(name)
        if task is not None:
            refuse_task(lease, task)
        return lease

    async def _awaited(self, model: ServedModel) -> Lease:
        """Wait for a model that is loaded or moved, and have it loaded where that is its way."""
        deadline = asyncio.get_running_loop().time() + self._wait_seconds
        name = model.spec.name
        try:
            async with asyncio.timeout_at(deadline):
                while model.lease is None:
                    if model not in self._catalogue:
                        raise ModelNotFound(name, self.names)
                    job = self._loading.of(model)
                    refuse_waiting(model, job, starting=model in self._starting)
                    if job is None and model.state != "draining":
                        await self._load_for_request(model)
                    if model.lease is None:
                        await model.changed.wait()
        except TimeoutError:
            raise EngineUnavailable(
                f"The model '{name}' is still {model.state} after {self._wait_seconds:g} s"
            ) from None
        return model.lease

    async def _load_for_request(self, model: ServedModel) -> None:
        if model.state == "sleeping":
            await self._loading.begin("wake", model, model.spec, lambda _: model.wake())
            return
        try:
            await self.load(model.spec)
        except RequestError as error:
            # What is wrong with its settings is no fault of the request.
            raise EngineUnavailable(
                f"The model '{model.spec.name}' cannot be loaded: {error}", code="model_load_failed"
            ) from None

    async def load(self, spec: ModelSpec, *, persist: bool = False) -> Job:
        """Begin to load a model, or to replace its engine; a load of it that runs is joined.

        Raises:
            InvalidRequest: a name is another model's, or the device is not there.
            Conflict: the model is being changed otherwise.
            Overloaded: too many models wait to be loaded.
        """
        device = await asyncio.to_thread(self._find_device, spec.device, spec.engine)
        self._catalogue.check_names(spec)
        known = self._catalogue.get(spec.name)
        model = known or self._new(spec)
        self._check_started(model)
        job = await self._loading.begin("load", model, spec, lambda job: self._load(job, device))
        job.persist = job.persist or persist
        if known is None:
            self._catalogue.add(model)
        return job

    def _check_started(self, model: ServedModel) -> None:
        if model in self._starting or self._stopped:
            raise EngineUnavailable(f"The model '{model.spec.name}' is {model.state}")

    async def _load(self, job: Job, device: Device) -> None:
        model, spec = job.model, job.spec
        lease = model.lease
        try:
            if lease and spec.runs_like(lease.spec) and device.name == lease.device.name:
                # Nothing to load: how it is kept may be new.
                lease.spec = model.spec = spec
            else:
                await self._loading.load(job, device)
                logger.info("Loaded %s on %s", spec.name, address(device))
        except ApiError as error:
            logger.error("%s", error)
            if not isinstance(error, ModelLoadFailed):
                model.fail(error.message)
            raise
        finally:
            if model.created is None and spec.name not in self._configured:
                self._catalogue.remove(model)
        self._catalogue.rename(model)
        if self._remembered is not None:
            await (self._remembered.add if job.persist else self._remembered.move)(spec)

    async def unload(self, name: str, *, force: bool = False, persist: bool = False) -> ModelStatus:
        """Unload a model, once its requests have ended; one that is not configured is forgotten.

        Raises:
            ModelNotFound: there is none of that name.
            Conflict: its requests do not end, or it is being changed otherwise.
        """
        model = self._catalogue.find(name)
        self._check_started(model)
        if force:
            await self._loading.give_up_load(model)
        job = await self._loading.begin(
            "unload", model, model.spec, lambda _: self._unload(model, force, persist)
        )
        await job.result()
        return status_of(model)

    async def _unload(self, model: ServedModel, force: bool, persist: bool) -> None:
        if model.state not in ("unloaded", "failed"):
            await model.unload(force=force)
            logger.info("Unloaded %s", model.spec.name)
        if persist and self._remembered is not None:
            await self._remembered.forget(model.spec.name)
        configured = self._configured.get(model.spec.name)
        if configured is None:
            self._catalogue.remove(model)
        else:
            model.spec = configured
            self._catalogue.rename(model)

    async def switch(self, device: str, name: str | None = None) -> SwitchAnswer:
        """Move a model to another device; where that fails, it serves on where it was.

        Raises:
            ModelNotFound: there is none of that name.
            ApiError: as in `load`, or the engine does not start there.
        """
        model = self._catalogue.find(name)
        target = await asyncio.to_thread(self._find_device, device, model.spec.engine)
        there, lease = address(target), model.newest
        here = address(lease.device) if lease else model.spec.device
        if lease and lease.device.name == target.name:
            message = f"Already on {here}"
        else:
            job = await self.load(replace(model.spec, device=target.name))
            await job.result()
            message = f"Switched from {here} to {there}"
        return SwitchAnswer(
            success=True, previous_device=here, current_device=there, message=message
        )

    async def sleep(self, name: str, level: int) -> ModelStatus:
        """Have a model's engine give its memory back.

        Raises:
            ApiError: there is no such model, it cannot, or its requests do not end.
        """
        model = self._catalogue.find(name)
        job = await self._loading.begin("sleep", model, model.spec, lambda _: model.sleep(level))
        await job.result()
        return status_of(model)

    async def wake(self, name: str) -> ModelStatus:
        """Have a sleeping model serve again.

        Raises:
            ApiError: there is no such model, or it is not loaded.
        """
        model = self._catalogue.find(name)
        job = await self._loading.begin("wake", model, model.spec, lambda _: model.wake())
        await job.result()
        return status_of(model)

    async def run(self) -> None:
        """Load the pinned models, then keep all that is loaded, until cancelled.

        Raises:
            EngineStartError: a pinned model could not be loaded the first time. Later failures are
                tried again.
        """
        try:
            while self._starting:
                await self._start(self._starting[0])
            await self._recall()
            while True:
                await asyncio.sleep(SWEEP_SECONDS)
                await self._unload_idle()
        finally:
            self._stopped = True
            await self._loading.aclose()
            await asyncio.gather(*(model.aclose() for model in self._catalogue))

    async def _start(self, model: ServedModel) -> None:
        spec = model.spec
        try:
            device = await asyncio.to_thread(self._find_device, spec.device, spec.engine)
            await self._loading.load_first(model, device)
        except (EngineStartError, InvalidRequest) as error:
            whose = "" if model is self._catalogue.default else f"the model '{spec.name}': "
            raise EngineStartError(f"{whose}{error}") from error
        self._starting.remove(model)
        # Who waits for the server to be ready looks again.
        model.enter(model.state)

    async def _recall(self) -> None:
        """Begin to load what is remembered; what of it fails is told, and serves nobody."""
        for spec in await self._remembered.read() if self._remembered else ():
            configured = self._configured.get(spec.name)
            if configured is not None and configured.load == "pinned":
                continue
            try:
                await self.load(spec)
            except ApiError as error:
                logger.error("%s is not loaded again: %s", spec.name, error)

    async def _unload_idle(self) -> None:
        now = time.monotonic()
        for model in self._catalogue:
            lease, seconds = model.lease, model.spec.idle_seconds
            if lease is None or seconds is None:
                continue
            if lease.busy:
                lease.used_at = now
            elif now - lease.used_at >= seconds and self._loading.of(model) is None:
                logger.info("Unloading %s: unused for %g s", model.spec.name, seconds)
                await self._loading.begin(
                    "unload", model, model.spec, lambda job: job.model.unload(force=False)
                )

    async def wait_ready(self) -> None:
        """Wait until all pinned models can be asked."""
        while (model := self._unready) is not None:
            await model.changed.wait()
