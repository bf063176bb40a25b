"""Receives the name of a model; hands on the engine that runs it, and keeps that engine alive."""

import asyncio
import logging
import time
from collections.abc import Callable, Set
from typing import Literal

from inferneo_core.errors import EngineUnavailable, InvalidRequest, ModelNotFound
from inferneo_core.models import Model
from inferneo_server.engines.base import Engine, EngineStartError, Task

State = Literal["loading", "ready", "restarting", "stopped"]

MAX_RESTART_PAUSE_SECONDS = 30.0

_CANNOT: dict[Task, str] = {
    "generate": "writes no answers; it embeds or scores texts",
    "embed": "gives no embeddings",
    "score": "scores no texts",
}

logger = logging.getLogger(__name__)


class Registry:
    """The models of a server: one, today.

    Args:
        name: the model's name in requests.
        make_engine: makes a new engine for it, not started.
    """

    def __init__(self, name: str, make_engine: Callable[[], Engine]) -> None:
        self.name = name
        self.state: State = "loading"
        self._make_engine = make_engine
        self._engine: Engine | None = None
        self._model: Model | None = None
        self._ready = asyncio.Event()

    @property
    def running(self) -> int:
        """Choices that the engines are working on."""
        return self._engine.running if self._engine else 0

    @property
    def tasks(self) -> Set[Task]:
        """What the model can do; nothing before it has been loaded."""
        return self._engine.tasks if self._engine else frozenset()

    @property
    def models(self) -> list[Model]:
        """The models that can be asked for now."""
        return [self._model] if self._model else []

    def model(self, name: str) -> Model:
        """The model of that name.

        Raises:
            ModelNotFound: there is none.
        """
        if self._model is None or name != self.name:
            raise ModelNotFound(name, [self.name])
        return self._model

    def engine(self, name: str | None, task: Task | None = None) -> Engine:
        """The engine of the model, for a task; no name means the only model.

        Raises:
            ModelNotFound: no model has that name.
            EngineUnavailable: it is loading or restarting.
            InvalidRequest: it cannot do the task.
        """
        if name is not None and name != self.name:
            raise ModelNotFound(name, [self.name])
        if self.state != "ready" or self._engine is None:
            raise EngineUnavailable(f"Engine not initialized: the model is {self.state}")
        if task is not None and task not in self._engine.tasks:
            raise InvalidRequest(
                f"The model '{self.name}' {_CANNOT[task]}",
                param="model",
                code="model_not_supported",
            )
        return self._engine

    async def run(self) -> None:
        """Load the model and keep it loaded, until cancelled.

        Raises:
            EngineStartError: the model could not be loaded the first time. Later failures are
                tried again.
        """
        pause = 1.0
        try:
            while True:
                # In a thread: to import an engine takes seconds, and the server answers meanwhile.
                self._engine = await asyncio.to_thread(self._make_engine)
                try:
                    await self._serve(self._engine)
                    pause = 1.0
                except EngineStartError as error:
                    if self._model is None:
                        raise
                    logger.error("The engine did not restart: %s", error)
                    await asyncio.sleep(pause)
                    pause = min(2 * pause, MAX_RESTART_PAUSE_SECONDS)
                finally:
                    self._ready.clear()
                    await self._engine.aclose()
        finally:
            self.state = "stopped"

    async def _serve(self, engine: Engine) -> None:
        """Start an engine and stay until it fails."""
        await engine.start()
        self._model = self._model or Model(
            id=self.name,
            root=self.name,
            created=int(time.time()),
            max_model_len=engine.max_model_len,
        )
        self.state = "ready"
        self._ready.set()
        reason = await engine.wait_failed()
        self.state = "restarting"
        logger.error("%s; starting it again", reason)

    async def wait_ready(self) -> None:
        """Wait until the model can be asked."""
        await self._ready.wait()
