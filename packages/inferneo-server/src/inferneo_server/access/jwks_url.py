"""Receives the URL of a JWKS; hands on its keys, which change at the issuer's will."""

import asyncio
import logging
import time
import urllib.request
from collections.abc import Callable
from http.client import HTTPException
from typing import Any

from inferneo_server.access.signing_keys import SigningKey, keys_of_json

FETCH_SECONDS = 5.0
MAX_BYTES = 256 * 1024
# Whoever sends tokens of unknown keys cannot have the issuer asked more often.
PAUSE_SECONDS = 10.0

logger = logging.getLogger(__name__)


class JwksUrl:
    """The keys at a URL. They are fetched when a token names one that is not known, and again
    after a while; where that fails, those known go on.

    Args:
        url: http or https.
        fresh_seconds: the age at which they are fetched anew.
        pause_seconds: the least time between two fetches.
        clock: tells the seconds.
    """

    def __init__(
        self,
        url: str,
        *,
        fresh_seconds: float,
        pause_seconds: float = PAUSE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.keys: list[SigningKey] = []
        self._url = url
        self._fresh_seconds = fresh_seconds
        self._pause_seconds = pause_seconds
        self._clock = clock
        self._fetched_at: float | None = None
        self._tried_at: float | None = None
        self._task: asyncio.Task[None] | None = None

    async def refresh(self) -> bool:
        """Fetch the keys, or wait for the fetch that runs.

        Returns:
            Whether that was done; not where it was done a moment ago.
        """
        task = self._begin()
        if task is None:
            return False
        # Whoever leaves does not end it for the others.
        await asyncio.wait([task])
        return True

    def refresh_if_old(self) -> None:
        """Begin to fetch the keys where they are old; nobody waits for it."""
        if self._fetched_at is not None and self._clock() - self._fetched_at > self._fresh_seconds:
            self._begin()

    def _begin(self) -> "asyncio.Task[None] | None":
        if self._task is None:
            now = self._clock()
            if self._tried_at is not None and now - self._tried_at < self._pause_seconds:
                return None
            self._tried_at = now
            self._task = asyncio.create_task(self._fetch())
            self._task.add_done_callback(self._end)
        return self._task

    def _end(self, task: "asyncio.Task[None]") -> None:
        self._task = None

    async def _fetch(self) -> None:
        try:
            async with asyncio.timeout(2 * FETCH_SECONDS):
                data = await asyncio.to_thread(_read, self._url)
            keys = keys_of_json(data, secrets=False)
            if not keys:
                raise ValueError("it holds no key that serves")
        except (OSError, HTTPException, ValueError, TimeoutError) as error:
            logger.warning("The keys at %s cannot be fetched: %s", self._url, error)
            return
        self.keys, self._fetched_at = keys, self._clock()


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """An issuer that moves is to be told to the server by its operator."""

    def redirect_request(self, *arguments: Any, **options: Any) -> None:
        return None


def _read(url: str) -> bytes:
    """What is at the URL, within bounds of size and of time.

    Raises:
        OSError: it cannot be had.
        ValueError: it is too large or too slow.
    """
    opener = urllib.request.build_opener(_NoRedirect)
    request = urllib.request.Request(url, headers={"Accept": "application/json"})
    deadline = time.monotonic() + FETCH_SECONDS
    parts: list[bytes] = []
    with opener.open(request, timeout=FETCH_SECONDS) as answer:
        while part := answer.read1(MAX_BYTES):
            parts.append(part)
            if sum(map(len, parts)) > MAX_BYTES:
                raise ValueError(f"it has more than {MAX_BYTES} bytes")
            if time.monotonic() > deadline:
                raise ValueError(f"it took more than {FETCH_SECONDS:g} s")
    return b"".join(parts)
