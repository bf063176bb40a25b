"""Receives nothing; hands on a real redis-server on a free port, and ends it."""

import contextlib
import socket
import subprocess
import time
from collections.abc import Iterator

START_SECONDS = 20.0


@contextlib.contextmanager
def running_redis(port: int = 0) -> Iterator[str]:
    """The address of a Redis that keeps nothing on the disk, for as long as the block lasts; it is
    on that port, or on a free one."""
    with socket.socket() as free:
        free.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        free.bind(("127.0.0.1", port))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", ""],
        stdout=subprocess.DEVNULL,
    )
    try:
        _wait_open(port)
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        process.kill()
        process.wait(START_SECONDS)


def _wait_open(port: int) -> None:
    ends = time.monotonic() + START_SECONDS
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            assert time.monotonic() < ends, "redis-server did not start"
            time.sleep(0.02)
