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
PROMPT_TOKENS = Counter("inferneo_prompt_tokens", "Tokens read", ["model"])
COMPLETION_TOKENS = Counter("inferneo_completion_tokens", "Tokens written", ["model"])
REFUSED = Counter("inferneo_requests_refused", "Requests refused by a limit", ["reason"])
CHOICES_RUNNING = Gauge("inferneo_choices_running", "Choices that the engine works on or queues")
QUEUE_SECONDS = Histogram(
    "inferneo_queue_seconds", "Time that requests waited for a place", buckets=_SECONDS
)
QUEUED = Gauge("inferneo_requests_waiting", "Requests that wait for a place in front of an engine")
TASKS = Gauge("inferneo_tasks", "asyncio tasks alive")


@lru_cache(maxsize=1024)
def series(route: str, method: str, status: int) -> tuple[Counter, Histogram]:
    """The series of a route's requests with that outcome, and of their times."""
    return REQUESTS.labels(route, method, status), REQUEST_SECONDS.labels(route)


@lru_cache(maxsize=256)
def token_series(model: str) -> tuple[Counter, Counter]:
    """The series of the tokens that a model, one that is served, has read and written."""
    return PROMPT_TOKENS.labels(model), COMPLETION_TOKENS.labels(model)
