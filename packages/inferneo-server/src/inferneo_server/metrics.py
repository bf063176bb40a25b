"""Receives what happens; hands on Prometheus series, which `/metrics` shows beside vLLM's own."""

from collections.abc import Iterator
from functools import lru_cache

from msgspec import Struct
from prometheus_client import REGISTRY, Counter, Gauge, Histogram

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)

REQUESTS = Counter("inferneo_requests", "Requests answered", ["route", "method", "status"])
REQUEST_SECONDS = Histogram(
    "inferneo_request_seconds", "Time to the end of an answer", ["route"], buckets=_SECONDS
)
FIRST_TOKEN_SECONDS = Histogram(
    "inferneo_first_token_seconds",
    "Time from a request's submission to its first streamed token",
    buckets=_SECONDS,
)
PROMPT_TOKENS = Counter("inferneo_prompt_tokens", "Tokens read", ["model"])
COMPLETION_TOKENS = Counter("inferneo_completion_tokens", "Tokens written", ["model"])
REFUSED = Counter("inferneo_requests_refused", "Requests refused by a limit", ["reason"])
CHOICES_RUNNING = Gauge("inferneo_choices_running", "Choices that the engine works on or queues")
QUEUE_SECONDS = Histogram(
    "inferneo_queue_seconds", "Time that requests waited for a place", buckets=_SECONDS
)
QUEUED = Gauge("inferneo_requests_waiting", "Requests that wait for a place in front of an engine")
MODELS_LOADED = Gauge("inferneo_models_loaded", "Models whose engine takes requests")
LOAD_SECONDS = Histogram(
    "inferneo_model_load_seconds",
    "Time that starting an engine took, by outcome: loaded, failed, cancelled",
    ["outcome"],
    buckets=(1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800),
)
TASKS = Gauge("inferneo_tasks", "asyncio tasks alive")

# Two that have the names of the interface at `/api/v1`, and its buckets among others.
INFERENCE_SECONDS = Histogram(
    "model_inference_seconds",
    "Model inference time",
    buckets=(0.05, 0.1, 0.25, 0.5, 1, 2, 3, 5, 10, 30, 60, 120, 300),
)
ACTIVE_CONNECTIONS = Gauge("active_connections", "Active connections")


class Sample(Struct, frozen=True, kw_only=True):
    """A value of a metric; one that is no number (NaN, infinite) is null."""

    name: str
    labels: dict[str, str]
    value: float


class Metric(Struct, frozen=True, kw_only=True):
    """A metric with its samples; `type` is counter, gauge, histogram, summary or unknown."""

    name: str
    type: str
    help: str
    samples: list[Sample]


def read_metrics() -> Iterator[Metric]:
    """All metrics of this process, as they are now. May take milliseconds."""
    for family in REGISTRY.collect():
        samples = [
            Sample(name=sample.name, labels=sample.labels, value=sample.value)
            for sample in family.samples
        ]
        yield Metric(name=family.name, type=family.type, help=family.documentation, samples=samples)


def active_connections() -> int:
    """Connections that clients have open, WebSockets included."""
    [family] = ACTIVE_CONNECTIONS.collect()
    return int(family.samples[0].value)


@lru_cache(maxsize=1024)
def series(route: str, method: str, status: int) -> tuple[Counter, Histogram]:
    """The series of a route's requests with that outcome, and of their times."""
    return REQUESTS.labels(route, method, status), REQUEST_SECONDS.labels(route)


@lru_cache(maxsize=256)
def token_series(model: str) -> tuple[Counter, Counter]:
    """The series of the tokens that a model, one that is served, has read and written."""
    return PROMPT_TOKENS.labels(model), COMPLETION_TOKENS.labels(model)
