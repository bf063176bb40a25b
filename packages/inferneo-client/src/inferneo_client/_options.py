"""Receives arguments and the environment; hands on the options that a client works by."""

import os
from collections.abc import Mapping
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

DEFAULT_BASE_URL: Final = "http://127.0.0.1:8000/v1"


class Timeout(Struct, frozen=True, kw_only=True):
    """How long to wait for what, in seconds; None waits for ever.

    Attributes:
        connect: for a connection to be made.
        pool: for one of the client's connections to be free.
        ttft: from sending the request to the first event of a stream, or to a whole answer.
        idle: between two signs of life of a stream. The sync client notices a silence after the
            longer of `ttft` and `idle`: it cannot change a wait that has begun.
        total: for the whole call with all its attempts and, for a stream, until its end. The
            server is told, and stops working then.
    """

    connect: float | None = 5.0
    pool: float | None = 60.0
    ttft: float | None = 600.0
    idle: float | None = 120.0
    total: float | None = None

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            seconds = getattr(self, name)
            if seconds is not None and not seconds > 0:
                raise ValueError(f"timeout: {name} is {seconds!r}, and must be above 0")


class Retry(Struct, frozen=True, kw_only=True):
    """When to try again. Only what is safe is sent twice: see `retryable` of the errors.

    Attributes:
        attempts: how often a request is sent at most; and how often in a row a broken stream is
            picked up without any progress.
        delay: upper bound of the first pause, in seconds; each further one doubles it. The pause
            is drawn evenly between nothing and its bound ("full jitter").
        max_delay: no pause is longer, in seconds; a server that asks for a longer one is not
            waited for.
        resume_for: for how many seconds a server is asked to go on with a stream that has lost its
            reader; 0 does not ask.
    """

    attempts: int = 3
    delay: float = 0.5
    max_delay: float = 30.0
    resume_for: float = 30.0

    def __post_init__(self) -> None:
        least = {"attempts": 1, "delay": 0, "max_delay": 0, "resume_for": 0}
        for name, bound in least.items():
            value = getattr(self, name)
            if not value >= bound:
                raise ValueError(f"retry: {name} is {value!r}, and must be {bound} or more")


class Options(Struct, frozen=True, kw_only=True):
    """What a client knows, apart from its connections."""

    base_url: str
    api_key: str | None = None
    timeout: Timeout = Timeout()
    retry: Retry = Retry()
    headers: Mapping[str, str] = {}

    def __post_init__(self) -> None:
        if not self.base_url.lower().startswith(("http://", "https://")):
            raise ValueError(
                f"base_url is {self.base_url!r}, and must begin with http:// or https://"
            )


def first_options(
    *,
    base_url: str | None,
    api_key: str | None,
    timeout: Timeout | float | None,
    retry: Retry | None,
    max_retries: int | None,
    headers: Mapping[str, str] | None,
) -> Options:
    """The options of a new client: what is given, else what the environment says.

    Raises:
        ValueError: one of them cannot be.
    """
    base_url = base_url_of(base_url).rstrip("/")
    options = Options(base_url=base_url, api_key=api_key or _environment("API_KEY"))
    return changed_options(
        options, timeout=timeout, retry=retry, max_retries=max_retries, headers=headers
    )


def base_url_of(given: str | None) -> str:
    """The address that a client asks: what is given, else what the environment says."""
    return given or _environment("BASE_URL") or DEFAULT_BASE_URL


def changed_options(
    options: Options,
    *,
    base_url: str | None = None,
    api_key: str | None = None,
    timeout: Timeout | float | None = None,
    retry: Retry | None = None,
    max_retries: int | None = None,
    headers: Mapping[str, str] | None = None,
) -> Options:
    """The options with other values; None leaves what was. Headers are added to those there are.

    Raises:
        ValueError: one of them cannot be.
    """
    retry = retry or options.retry
    if max_retries is not None:
        if max_retries < 0:
            raise ValueError(f"max_retries is {max_retries}, and must be 0 or more")
        retry = replace(retry, attempts=max_retries + 1)
    return replace(
        options,
        base_url=base_url.rstrip("/") if base_url else options.base_url,
        api_key=api_key or options.api_key,
        timeout=as_timeout(timeout, options.timeout),
        retry=retry,
        headers={**options.headers, **lower(headers)},
    )


def as_timeout(timeout: Timeout | float | None, default: Timeout) -> Timeout:
    """A number of seconds bounds the whole call."""
    if timeout is None or isinstance(timeout, Timeout):
        return timeout or default
    return replace(default, total=float(timeout))


def lower(headers: Mapping[str, str] | None) -> dict[str, str]:
    """Headers by lower-case name: the same name wins over an earlier one, however it is written."""
    return {name.lower(): value for name, value in (headers or {}).items()}


def _environment(name: str) -> str | None:
    return os.environ.get(f"INFERNEO_{name}") or os.environ.get(f"OPENAI_{name}") or None
