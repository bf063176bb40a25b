"""Receives a Redis; hands on two servers that share streams by it, and asks them."""

import contextlib
import json
from collections.abc import Iterator
from typing import Any, NamedTuple

import httpx
from websockets.sync.client import connect as connect_socket

from tests.servers import RunningServer

SECONDS = 30.0
KEYS = ("ann-key", "bob-key")
FLAGS = (
    "--engine=simulated",
    "--engine-args=token_seconds=0.01",
    "--no-access-log",
)
KEYED = tuple(flag for key in KEYS for flag in ("--api-keys", key))
ANN, BOB = ({"authorization": f"Bearer {key}"} for key in KEYS)
RETRY = b"retry: 500\n\n"


class Replicas(NamedTuple):
    """Two servers."""

    first: RunningServer
    second: RunningServer


@contextlib.contextmanager
def running_replicas(redis_url: str, *flags: str) -> Iterator[Replicas]:
    """Two servers that share their streams, as long as the block lasts; either may die."""
    both = [RunningServer(*FLAGS, "--streams-store", redis_url, *flags) for _ in range(2)]
    try:
        for each in both:
            each.wait_ready()
        yield Replicas(*both)
    finally:
        for each in both:
            each.stop()
    for each in both:
        assert "Traceback" not in each.log, each.log


def begin(
    server: RunningServer, path: str, body: dict[str, Any], *, events: int = 0, **terms: str
) -> tuple[str, bytes]:
    """Begin a generation and leave it behind so many events: its path, and what came of them."""
    headers = {**ANN, **{name.replace("_", "-"): value for name, value in terms.items()}}
    url, body = f"{server.url}{path}", {**body, "stream": True}
    with httpx.stream("POST", url, json=body, headers=headers, timeout=SECONDS) as answer:
        assert answer.status_code == 200, answer.read()
        seen = b""
        parts = answer.iter_raw()
        while seen.count(b"\n\n") < events:
            seen += next(parts)
        return answer.headers["inferneo-stream"], seen[: seen.rfind(b"\n\n") + 2]


def last_id(seen: bytes) -> str:
    """The id of the last event of what was read."""
    return seen.rpartition(b"id: ")[2].partition(b"\n")[0].decode()


def read(server: RunningServer, path: str, **headers: str) -> httpx.Response:
    """The rest of a stream, or all of it, as Ann."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.get(f"{server.url}{path}", headers={**ANN, **named}, timeout=SECONDS)


def events(answer: httpx.Response) -> bytes:
    """What a stream tells, without what it says to a browser."""
    assert answer.status_code == 200, answer.text
    return answer.content.removeprefix(RETRY)


def frames(server: RunningServer, path: str, stream: str, /, **resume: Any) -> list[Any]:
    """What a socket tells of a generation that is resumed there."""
    address = f"{server.url.replace('http', 'ws', 1)}{path}"
    with connect_socket(address, additional_headers=ANN, proxy=None) as socket:
        name = stream.rpartition("/")[2]
        socket.send(json.dumps({"type": "resume", "id": name, "request_id": 7, **resume}))
        told = [json.loads(socket.recv(SECONDS))]
        while resume.get("stream", True) and not told[-1]["object"].endswith(".done"):
            told.append(json.loads(socket.recv(SECONDS)))
        return told
