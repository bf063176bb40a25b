"""Receives what happens; hands on Prometheus series, which `/metrics` shows beside vLLM's own."""

from functools import lru_cache

from prometheus_client import Counter, Gauge, Histogram

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
PROMPT_TOKENS = Counter("inferneo_prompt_tokens", "Tokens read")
COMPLETION_TOKENS = Counter("inferneo_completion_tokens", "Tokens written")
CHOICES_RUNNING = Gauge("inferneo_choices_running", "Choices that the engine works on or queues")
MODELS_LOADED = Gauge("inferneo_models_loaded", "Models whose engine takes requests")
LOAD_SECONDS = Histogram(
    "inferneo_model_load_seconds",
    "Time that starting an engine took, by outcome: loaded, failed, cancelled",
    ["outcome"],
    buckets=(1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800),
)
TASKS = Gauge("inferneo_tasks", "asyncio tasks alive")


@lru_cache(maxsize=1024)
def series(route: str, method: str, status: int) -> tuple[Counter, Histogram]:
    """The series of a route's requests with that outcome, and of their times."""
    return REQUESTS.labels(route, method, status), REQUEST_SECONDS.labels(route)
