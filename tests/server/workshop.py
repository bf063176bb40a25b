"""Receives models; hands on a service of them whose engines start and fail as a test says."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

from inferneo_core.chat import ChatCompletionRequest, Message
from inferneo_core.errors import (
    InvalidRequest,
)
from inferneo_server.engines.simulated import SimulatedEngine
from inferneo_server.hardware.device import Device
from inferneo_server.model_spec import ModelSpec
from inferneo_server.registry import Registry
from inferneo_server.service import Service
from tests.server.services import BOUND_SECONDS, CPU, MODEL, read_answer

POLL_SECONDS = 0.005
GPU = Device(name="gpu:0", type="gpu", index=0, vendor="NVIDIA", model="simulated")
DEVICES = {"auto": CPU, "cpu": CPU, "gpu:0": GPU}


class GatedEngine(SimulatedEngine):
    """An engine that starts when the test says so, and tells whether it is open."""

    def __init__(self, device: Device, gate: asyncio.Event | None, **options: Any) -> None:
        super().__init__(**options)
        self.device = device
        self.gate = gate
        self.open = False

    async def start(self) -> None:
        self.open = True
        if self.gate is not None:
            await self.gate.wait()
        await super().start()

    async def aclose(self) -> None:
        self.open = False
        await super().aclose()


class Workshop:
    """Makes the engines of a registry, and knows them all.

    Attributes:
        made: the engines, in the order in which they were made.
        gates: what the engines of a model wait for, by the model's name.
    """

    def __init__(self) -> None:
        self.made: list[GatedEngine] = []
        self.gates: dict[str, asyncio.Event] = {}

    def make(self, spec: ModelSpec, device: Device) -> GatedEngine:
        engine = GatedEngine(device, self.gates.get(spec.name), **spec.engine_args)
        self.made.append(engine)
        return engine

    @property
    def open(self) -> list[GatedEngine]:
        return [engine for engine in self.made if engine.open]


def spec(name: str, **fields: Any) -> ModelSpec:
    return ModelSpec(
        name=name, model=name, engine="simulated", **{"load": "on_first_use", **fields}
    )


def find_device(name: str, engine: str) -> Device:
    if name not in DEVICES:
        raise InvalidRequest(f"There is no device '{name}'", param="device")
    return DEVICES[name]


@contextlib.asynccontextmanager
async def serving(
    workshop: Workshop, *others: ModelSpec, **options: Any
) -> AsyncIterator[tuple[Service, Registry]]:
    """A service whose default model is ready, with further models."""
    registry = Registry(
        [spec(MODEL, load="pinned", engine_args={"token_seconds": 0.01}), *others],
        workshop.make,
        find_device,
        **{"drain_seconds": 5.0, **options},
    )
    running = asyncio.create_task(registry.run())
    try:
        async with asyncio.timeout(BOUND_SECONDS):
            await registry.wait_ready()
            yield Service(registry), registry
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    assert workshop.open == []


async def until(condition: Callable[[], bool]) -> None:
    # States are read, and told to nobody.
    while not condition():  # noqa: ASYNC110
        await asyncio.sleep(POLL_SECONDS)


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(work)


def question(model: str | None = None, **fields: Any) -> ChatCompletionRequest:
    messages = [Message(role="user", content="Hello")]
    return ChatCompletionRequest(messages=messages, model=model, **fields)


async def chat(service: Service, model: str | None = None, **fields: Any) -> Any:
    return await read_answer(await service.begin(question(model, **fields)))


async def load(registry: Registry, wanted: ModelSpec, **options: Any) -> None:
    await (await registry.load(wanted, **options)).result()


def status(registry: Registry, name: str = MODEL) -> str:
    return registry.status(name).status
