"""Receives an engine that serves; hands it on with a count of its users, which drains wait for."""

import asyncio
import time

from inferneo_server.engines.base import Engine
from inferneo_server.hardware.device import Device
from inferneo_server.model_spec import ModelSpec

DRAIN_POLL_SECONDS = 0.02


class Lease:
    """An engine that serves, and those that are using it: `with` it, and a drain waits.

    A counter and no lock: all of it happens in the loop's thread.

    Attributes:
        name: the model's name in answers, or its adapter's.
        adapter: the adapter that answers are to be written with; None is the model alone.
        users: requests between having found the engine and having handed their work to it.
        used_at: when the last of them was done, by the monotonic clock.
        loaded_at: when it could first be asked, in seconds since 1970.
        memory: bytes that it is reckoned to take.
        tasks, max_model_len: the engine's, which a dead one can no longer tell.
    """

    __slots__ = (
        "adapter",
        "device",
        "engine",
        "loaded_at",
        "max_model_len",
        "memory",
        "name",
        "spec",
        "tasks",
        "used_at",
        "users",
    )

    def __init__(self, engine: Engine, spec: ModelSpec, device: Device, memory: int) -> None:
        self.engine = engine
        self.spec = spec
        self.name = spec.name
        self.adapter: str | None = None
        self.device = device
        self.memory = memory
        self.tasks = engine.tasks
        self.max_model_len = engine.max_model_len
        self.users = 0
        self.used_at = time.monotonic()
        self.loaded_at = int(time.time())

    @property
    def busy(self) -> bool:
        """Whether a request needs the engine."""
        return self.users > 0 or self.engine.running > 0

    def __enter__(self) -> "Lease":
        self.users += 1
        return self

    def __exit__(self, *_: object) -> None:
        self.users -= 1
        self.used_at = time.monotonic()

    def adapted(self, adapter: str) -> "Lease":
        """The same engine, asked for by the name of an adapter."""
        return _AdaptedLease(self, adapter)

    async def drained(self, seconds: float) -> bool:
        """Wait until no request needs the engine; whether that was in time."""
        deadline = time.monotonic() + seconds
        # The engines keep count, and tell nobody.
        while self.busy:
            if time.monotonic() >= deadline:
                return False
            await asyncio.sleep(DRAIN_POLL_SECONDS)
        return True


class _AdaptedLease(Lease):
    """For one request: who uses it is counted as a user of the engine's own lease."""

    __slots__ = ("_own",)

    def __init__(self, own: Lease, adapter: str) -> None:
        super().__init__(own.engine, own.spec, own.device, own.memory)
        self._own = own
        self.name = self.adapter = adapter
        self.tasks = own.tasks & {"generate"}

    def __enter__(self) -> Lease:
        self._own.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._own.__exit__()
