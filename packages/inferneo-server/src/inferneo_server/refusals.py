"""Receives a model that no engine serves; hands on why a request for it need not wait, if so."""

import time

from inferneo_core.errors import EngineUnavailable
from inferneo_server.loading import Job
from inferneo_server.served_model import ServedModel

# After a failed load, requests are told of it so long before another is tried for them.
FAILURE_SECONDS = 10.0


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
