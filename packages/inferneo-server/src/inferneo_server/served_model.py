"""Receives how a model is to be run; hands on the engine that runs it, and keeps that one alive."""

import asyncio
import logging
import time
from collections.abc import Callable

from inferneo_core.errors import Conflict, InvalidRequest
from inferneo_core.models import ModelState
from inferneo_server.engines.base import Engine, EngineStartError, Sleeper
from inferneo_server.hardware.device import Device
from inferneo_server.lease import Lease
from inferneo_server.load_errors import told_reason
from inferneo_server.metrics import LOAD_SECONDS
from inferneo_server.model_spec import ModelSpec

MAX_RESTART_PAUSE_SECONDS = 30.0

MakeEngine = Callable[[ModelSpec, Device], Engine]

logger = logging.getLogger(__name__)


class ServedModel:
    """One model: at most one engine that takes requests, and those that it is leaving.

    Its changes (`load`, `replace`, `unload`, `sleep`, `wake`) run one at a time; the registry sees
    to that.

    Args:
        spec: how it is to be run.
        make_engine: makes a new engine, not started; called in a thread.
        drain_seconds: how long running requests may hold up a change.
        retire_seconds: how long they may go on on an engine that another has replaced.

    Attributes:
        lease: the engine that takes requests now; None where none does.
        error: why the last load failed, for the operator; None where it did not.
        failed_at: when that was, by the monotonic clock.
        created: when the model was first loaded, in seconds since 1970; None before.
    """

    def __init__(
        self,
        spec: ModelSpec,
        make_engine: MakeEngine,
        *,
        drain_seconds: float = 30.0,
        retire_seconds: float = 600.0,
    ) -> None:
        self.spec = spec
        self.state: ModelState = "unloaded"
        self.lease: Lease | None = None
        self.error: str | None = None
        self.failed_at: float | None = None
        self.created: int | None = None
        self.changed = asyncio.Event()
        self._make_engine = make_engine
        self._drain_seconds = drain_seconds
        self._retire_seconds = retire_seconds
        self._asleep: Lease | None = None
        self._last: Lease | None = None
        self._open: set[Lease] = set()
        self._closing: set[asyncio.Future[None]] = set()
        self._keeper: asyncio.Task[None] | None = None
        self._retiring: dict[Lease, asyncio.Task[None]] = {}

    @property
    def running(self) -> int:
        """Choices that its engines are working on."""
        # A copy: metrics are read by another thread.
        return sum(lease.engine.running for lease in tuple(self._open))

    @property
    def busy(self) -> bool:
        """Whether a request needs one of its engines."""
        return any(lease.busy for lease in self._open)

    @property
    def memory(self) -> int:
        """Bytes that its engines are reckoned to take."""
        return sum(lease.memory for lease in self._open)

    @property
    def newest(self) -> Lease | None:
        """Its engine, serving or asleep."""
        return self.lease or self._asleep

    @property
    def last(self) -> Lease | None:
        """The engine that served last, ended or not."""
        return self._last

    def enter(self, state: ModelState) -> None:
        """Change the state, and tell who waits for that."""
        self.state = state
        self.changed.set()
        self.changed = asyncio.Event()

    async def load(
        self, spec: ModelSpec, device: Device, memory: int, seconds: float | None
    ) -> None:
        """Load it where no engine is.

        Raises:
            EngineStartError: the engine does not start, or not in so many seconds.
        """
        before, self.spec = self.spec, spec
        self.enter("loading")
        try:
            self._serve(await self._started(spec, device, memory, seconds))
        except BaseException as error:
            self.spec = before
            self._note(error, spec)
            self.enter("failed" if isinstance(error, EngineStartError) else "unloaded")
            raise

    async def replace(
        self, spec: ModelSpec, device: Device, memory: int, seconds: float, *, beside: bool
    ) -> None:
        """Have another engine take over: loaded beside the old one, or after its end.

        Whatever fails, the old one serves on.

        Raises:
            EngineStartError: the new one does not start.
            Conflict: requests still run on the old one, which would have to end first.
        """
        await self._settle_retiring(device)
        self.enter("moving")
        if not beside:
            await self._replace_in_place(spec, device, memory, seconds)
            return
        try:
            new = await self._started(spec, device, memory, seconds)
        except BaseException as error:
            self._note(error, spec)
            # Or its keeper starts it again.
            self.enter("ready" if self.lease else "sleeping" if self._asleep else "restarting")
            raise
        # The old one may have died meanwhile, and its keeper be about to start it again.
        await self._stop_keeping()
        old, self.lease, self._asleep = self.newest, None, None
        self.spec = spec
        self._serve(new)
        if old is not None:
            self._retire(old)

    async def _replace_in_place(
        self, spec: ModelSpec, device: Device, memory: int, seconds: float
    ) -> None:
        before = self._last
        if (old := await self._withdraw(self._drain_seconds)) is not None:
            await self._close(old)
        try:
            new = await self._started(spec, device, memory, seconds)
        except BaseException as error:
            self._note(error, spec)
            if before is not None:
                logger.error("%s: %s; going back to %s", spec.name, error, before.device.name)
                self._keep(before)
            raise
        self.spec = spec
        self._serve(new)

    async def unload(self, *, force: bool) -> None:
        """Wait for its requests, and end its engine.

        Args:
            force: do not wait; what runs fails.

        Raises:
            Conflict: requests still run after the time that they have; the engine serves on.
        """
        lease = await self._withdraw(None if force else self._drain_seconds)
        if lease is not None:
            await self._close(lease)
        if force:
            await self._end_retiring()
        self.error = self.failed_at = None
        self.enter("unloaded")

    async def sleep(self, level: int) -> None:
        """Have the engine give its memory back, and keep its process.

        Raises:
            InvalidRequest: it cannot, or none is loaded.
            Conflict: as in `unload`.
        """
        lease = self.lease
        if lease is None or not isinstance(lease.engine, Sleeper):
            raise _cannot_sleep(self)
        lease.engine.check_sleep()
        if not await lease.drained(self._drain_seconds):
            raise self._still_busy(lease)
        self.lease = None
        try:
            await lease.engine.sleep(level)
        except BaseException:
            self.lease = lease
            raise
        self._asleep = lease
        self.enter("sleeping")

    async def wake(self) -> None:
        """Have a sleeping engine serve again; one that serves already does.

        Raises:
            InvalidRequest: none is loaded.
        """
        if self.lease is not None:
            return
        if self._asleep is None or not isinstance(self._asleep.engine, Sleeper):
            raise _cannot_sleep(self)
        await self._asleep.engine.wake()
        self.lease, self._asleep = self._asleep, None
        self.lease.used_at = time.monotonic()
        self.enter("ready")

    async def aclose(self) -> None:
        """End all its engines."""
        self.lease = self._asleep = None
        await self._stop_keeping()
        await self._end_retiring()
        for lease in tuple(self._open):
            await self._close(lease)
        if self._closing:
            await asyncio.wait(self._closing)
        self.enter("stopped")

    async def _started(
        self, spec: ModelSpec, device: Device, memory: int, seconds: float | None
    ) -> Lease:
        """A new engine that can serve."""
        started, outcome = time.monotonic(), "failed"
        try:
            # In a thread: to import an engine takes seconds, and the server answers meanwhile.
            engine = await asyncio.to_thread(self._make_engine, spec, device)
            try:
                async with asyncio.timeout(seconds):
                    await engine.start()
            except BaseException:
                await engine.aclose()
                raise
            outcome = "loaded"
        except EngineStartError:
            raise
        except TimeoutError:
            raise EngineStartError(f"it was not loaded within {seconds:g} s") from None
        except asyncio.CancelledError:
            outcome = "cancelled"
            raise
        except Exception as error:
            logger.exception("%s did not start", spec.name)
            raise EngineStartError("it failed in a way that was not foreseen") from error
        finally:
            LOAD_SECONDS.labels(outcome).observe(time.monotonic() - started)
        lease = Lease(engine, spec, device, memory)
        self._open.add(lease)
        return lease

    def fail(self, reason: str) -> None:
        """Note why a load failed."""
        self.error, self.failed_at = reason, time.monotonic()

    def _note(self, error: BaseException, spec: ModelSpec) -> None:
        if isinstance(error, EngineStartError):
            self.fail(told_reason(str(error), spec))

    def _serve(self, lease: Lease) -> None:
        self.lease = self._last = lease
        self.error = self.failed_at = None
        self.created = self.created or lease.loaded_at
        self._keeper = asyncio.create_task(self._watch(lease))
        self.enter("ready")

    async def _watch(self, lease: Lease) -> None:
        """Start the engine again whenever it fails."""
        reason = await lease.engine.wait_failed()
        logger.error("%s: %s; starting it again", self.spec.name, reason)
        self.lease = self._asleep = None
        self.enter("restarting")
        await self._close(lease)
        await self._restart(lease)

    async def _restart(self, lease: Lease) -> None:
        """Serve by an engine like one that has ended, trying for as long as it takes."""
        pause = 1.0
        while True:
            try:
                new = await self._started(lease.spec, lease.device, lease.memory, None)
            except EngineStartError as error:
                logger.error("The engine did not restart: %s", error)
                self._note(error, lease.spec)
                await asyncio.sleep(pause)
                pause = min(2 * pause, MAX_RESTART_PAUSE_SECONDS)
            else:
                # This task ends here; another watches the new engine.
                self._serve(new)
                return

    def _keep(self, lease: Lease) -> None:
        """Have an engine like this one, which has ended, started again."""
        self.enter("restarting")
        self._keeper = asyncio.create_task(self._restart(lease))

    async def _stop_keeping(self) -> None:
        keeper, self._keeper = self._keeper, None
        if keeper is not None:
            keeper.cancel()
            await asyncio.wait([keeper])

    async def _withdraw(self, seconds: float | None) -> Lease | None:
        """Take the engine from new requests, and wait for the running ones; None does not wait."""
        lease, self.lease, self._asleep = self.newest, None, None
        if self.state != "moving":
            self.enter("draining")
        if lease is not None and seconds is not None and not await lease.drained(seconds):
            self.lease = lease
            self.enter("ready")
            raise self._still_busy(lease)
        # It may have died meanwhile, and another been started.
        await self._stop_keeping()
        if self.lease is not None:
            lease, self.lease = self.lease, None
        return lease if lease in self._open else None

    def _still_busy(self, lease: Lease) -> Conflict:
        count = max(lease.users, lease.engine.running)
        return Conflict(
            f"The model '{self.spec.name}' still works on {count} request(s) after "
            f"{self._drain_seconds:g} s, and goes on serving; 'force' ends them",
            param="model",
            code="model_busy",
        )

    def _retire(self, lease: Lease) -> None:
        """End an engine that was replaced, once its requests have ended."""

        async def retire() -> None:
            await lease.drained(self._retire_seconds)
            await self._close(lease)

        self._retiring[lease] = task = asyncio.create_task(retire())
        task.add_done_callback(lambda _: self._retiring.pop(lease, None))

    async def _settle_retiring(self, device: Device) -> None:
        """Wait for an engine that still leaves the device that another is to come to."""
        there = [task for lease, task in self._retiring.items() if lease.device.name == device.name]
        if there and (await asyncio.wait(there, timeout=self._drain_seconds))[1]:
            raise Conflict(
                f"Requests still run on an earlier engine of '{self.spec.name}' on {device.name}",
                param="device",
                code="model_busy",
            )

    async def _end_retiring(self) -> None:
        tasks = list(self._retiring.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def _close(self, lease: Lease) -> None:
        if lease in self._open:
            self._open.remove(lease)
            # Shielded: who is no longer waiting for it must not leave it half closed.
            closing = asyncio.ensure_future(lease.engine.aclose())
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)
            await asyncio.shield(closing)


def _cannot_sleep(model: ServedModel) -> InvalidRequest:
    why = "is not loaded" if model.newest is None else "runs on an engine that cannot sleep"
    return InvalidRequest(f"The model '{model.spec.name}' {why}", param="model")
