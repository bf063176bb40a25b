"""Receives the common flags; hands on a client, and the model to ask."""

import argparse
import contextlib
import sys
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from inferneo_client._options import Retry, base_url_of
from inferneo_client._sync import Inferneo
from inferneo_client._transports import plain_transport
from inferneo_client.cli.console import Failure, complain, harmless, message_of, status_of
from inferneo_core.errors import ApiError, NotFound

# A server that is down shall be told of soon.
_RETRY = Retry(attempts=2)
# A stream that has begun is worth waiting for, until the network is back.
STREAM_RETRY = Retry(attempts=12, delay=0.5, max_delay=5.0, resume_for=60.0)


def address_of(url: str) -> str:
    """The address as the SDK takes it: `host:8000` is enough to type."""
    if "://" not in url:
        url = f"http://{url}"
    return url if urlsplit(url).path.strip("/") else f"{url.rstrip('/')}/v1"


@contextlib.contextmanager
def connected(given: argparse.Namespace) -> Iterator[Inferneo]:
    """A client for as long as the block lasts.

    Raises:
        Failure: for what the server, or the way to it, makes fail.
    """
    base_url = address_of(base_url_of(given.base_url))
    if not base_url.lower().startswith(("http://", "https://")):
        raise Failure(
            f"{base_url} is no address of a server: it begins with http:// or https://", 2
        )
    options: dict[str, Any] = {
        "base_url": base_url,
        "api_key": given.api_key,
        "timeout": given.timeout,
        "retry": _RETRY,
    }
    # Ctrl-C interrupts a wait of Python's own sockets, and not one of a library beneath Python.
    with Inferneo(**options, http_client=plain_transport(base_url)) as client:
        try:
            yield client
        except ApiError as error:
            raise Failure(message_of(error, base_url), status_of(error)) from error


def model_of(client: Inferneo, given: argparse.Namespace) -> str | None:
    """The model to ask; None where the server names none, and has to know itself.

    Raises:
        ApiError: the server does not answer, or refuses the key.
    """
    if given.model:
        return str(given.model)
    try:
        names = [model.id for model in client.models.list()]
    except NotFound:
        return None
    if len(names) > 1 and sys.stderr.isatty():
        complain(harmless(f"asks {names[0]}; --model chooses another: {', '.join(names[1:])}"))
    return names[0] if names else None


def sampling_of(given: argparse.Namespace) -> dict[str, Any]:
    """The arguments of the SDK's methods that the flags give."""
    names = ("max_tokens", "temperature", "seed")
    return {name: getattr(given, name) for name in names}
