"""Receives a server; hands on what it holds: tasks, sockets, memory, and work of its engine."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tests.integration.sockets import exchange, request
from tests.integration.waiting import wait_until
from tests.servers import RunningServer

# Longer than uvicorn's wait for the other half of a closing handshake, and for the next request.
GONE_SECONDS = 30.0


class Held(NamedTuple):
    """What a server holds beside its memory."""

    choices: float
    tasks: float
    sockets: int


class Written(NamedTuple):
    """What engines have read and written since the start."""

    prompt_tokens: float
    completion_tokens: float


def held(server: RunningServer, **headers: str) -> Held:
    """What a server holds now. Asking takes a socket and a task, each time alike."""
    answer = exchange(server, request("GET", "/metrics", connection="close", **headers))
    assert answer.startswith(b"HTTP/1.1 200 "), answer
    choices, tasks = (
        float(line.split()[1])
        for line in answer.splitlines()
        if line.startswith((b"inferneo_choices_running ", b"inferneo_tasks "))
    )
    return Held(choices, tasks, sockets(server))


def sockets(server: RunningServer) -> int:
    """How many sockets the server's own process has open."""
    count = 0
    for descriptor in Path(f"/proc/{server.process.pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            count += os.readlink(descriptor).startswith("socket:")
    return count


def resident_bytes(server: RunningServer) -> int:
    """The memory of the server's own process."""
    pages = Path(f"/proc/{server.process.pid}/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def written(server: RunningServer) -> Written:
    """What has been read and written by generations that have ended."""
    return Written(
        server.metric("inferneo_prompt_tokens_total"),
        server.metric("inferneo_completion_tokens_total"),
    )


def answers(server: RunningServer, **headers: str) -> None:
    """Check that the server is well, and does what it is there for."""
    body = {"prompt": "Count the words", "max_tokens": 3, "ignore_eos": True}
    answer = exchange(
        server,
        request("GET", "/health"),
        request("POST", "/v1/completions", body, connection="close", **headers),
    )
    assert b'"status":"healthy"' in answer
    assert b'"completion_tokens":3' in answer


@contextlib.contextmanager
def nothing_left(server: RunningServer, **headers: str) -> Iterator[None]:
    """Check that the server soon holds no more than it did before the block."""
    before = held(server, **headers)
    yield
    wait_until(
        lambda: all(now <= then for now, then in zip(held(server, **headers), before, strict=True)),
        seconds=GONE_SECONDS,
    )
