"""Receives requests on a port; hands on the same answer to each, with little ado.

It runs in a process of its own, so that the CPU of the process that measures is the client's.
"""

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

EVENTS: Final = 200
PAUSE_S: Final = 0.01

_HEAD: Final[dict[str, Any]] = {
    "id": "chatcmpl-0123456789abcdef0123456789abcdef",
    "created": 1_795_000_000,
    "model": "inferneo-tiny",
}


def _chunk(delta: dict[str, str], reason: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": reason}
    document = {**_HEAD, "object": "chat.completion.chunk", "choices": [choice]}
    return b"data: " + json.dumps(document, separators=(",", ":")).encode() + b"\n\n"


WORD: Final = _chunk({"content": " word"})
LAST: Final = _chunk({}, "stop")
DONE: Final = b"data: [DONE]\n\n"
WHOLE: Final = json.dumps(
    {
        **_HEAD,
        "object": "chat.completion",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Hello there", "refusal": None},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11},
    }
).encode()

_ANSWER: Final = (
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(WHOLE)
    + WHOLE
)
_STREAM: Final = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
)


class _Protocol(asyncio.Protocol):
    """Reads just as much of a request as it takes to answer it."""

    def __init__(self) -> None:
        self._received = b""
        self._streams: set[asyncio.Task[None]] = set()

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        for stream in self._streams:
            stream.cancel()

    def data_received(self, data: bytes) -> None:
        self._received += data
        while b"\r\n\r\n" in self._received:
            head, _, rest = self._received.partition(b"\r\n\r\n")
            lines = head.lower().split(b"\r\n")
            lengths = [line for line in lines if line.startswith(b"content-length:")]
            length = int(lengths[0].partition(b":")[2]) if lengths else 0
            if len(rest) < length:
                return
            body, self._received = rest[:length], rest[length:]
            if b'"stream":true' in body.replace(b" ", b""):
                task = asyncio.create_task(self._stream())
                self._streams.add(task)
                task.add_done_callback(self._streams.discard)
            else:
                self._transport.write(_ANSWER)

    async def _stream(self) -> None:
        self._transport.write(_STREAM)
        for number in range(EVENTS):
            event = WORD if number < EVENTS - 1 else LAST
            self._transport.write(b"%x\r\n%b\r\n" % (len(event), event))
            await asyncio.sleep(PAUSE_S)
        self._transport.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(DONE), DONE))


async def _serve() -> None:
    server = await asyncio.get_running_loop().create_server(_Protocol, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


@contextmanager
def answering() -> Iterator[str]:
    """A server in another process, for as long as the block lasts; gives its base URL."""
    command = [sys.executable, "-m", "bench.sdk.server"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}/v1"
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


if __name__ == "__main__":
    asyncio.run(_serve())
