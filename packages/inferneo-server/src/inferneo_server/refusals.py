"""Receives a model that is asked for; hands on why it cannot answer, or not by waiting, if so."""

import time

from inferneo_core.errors import EngineUnavailable, InvalidRequest
from inferneo_server.engines.base import Task
from inferneo_server.lease import Lease
from inferneo_server.loading import Job
from inferneo_server.served_model import ServedModel

# After a failed load, requests are told of it so long before another is tried for them.
FAILURE_SECONDS = 10.0

_CANNOT: dict[Task, str] = {
    "generate": "writes no answers; it embeds or scores texts",
    "embed": "gives no embeddings",
    "score": "scores no texts",
}


def refuse_task(lease: Lease, task: Task) -> None:
    """Refuse a request that a model was not made for.

    Raises:
        InvalidRequest: it cannot do the task.
    """
    if task not in lease.tasks:
        raise InvalidRequest(
            f"The model '{lease.name}' {_CANNOT[task]}",
            param="model",
            code="model_not_supported",
        )


def refuse_waiting(model: ServedModel, job: Job | None, *, starting: bool) -> None:
    """Refuse a request that it would not help to wait.

    Args:
        model: what was asked for.
        job: what is done with it now.
        starting: whether the server is starting, and has not yet loaded it.

    Raises:
        EngineUnavailable: always but where the model is, or can be, loaded meanwhile.
    """
    name, state = model.spec.name, model.state
    if starting or state in ("stopped", "restarting"):
        raise EngineUnavailable(f"Engine not initialized: the model is {state}")
    if job is None and model.failed_at is not None:
        left = model.failed_at + FAILURE_SECONDS - time.monotonic()
        if left > 0:
            raise EngineUnavailable(
                f"The model '{name}' cannot be loaded: {model.error}",
                code="model_load_failed",
                retry_after=left,
            )
    coming = job is not None and job.kind in ("load", "wake")
    if not coming and model.spec.load != "on_first_use":
        raise EngineUnavailable(
            f"The model '{name}' is not loaded ({state}): POST /v1/models/load loads it",
            code="model_not_loaded",
        )
