"""Receives a base URL; hands on readers that only read: what an event costs beneath any SDK."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp
import httpcore
from pyreqwest.client import Client, ClientBuilder

BARE: Final = "asyncio's own sockets"
_BODY: Final = b'{"stream":true}'
_END: Final = b"0\r\n\r\n"

Read = Callable[[str], Awaitable[None]]


class _Pieces(asyncio.Protocol):
    """Hands each piece to a task that waits for it, as any `async for` needs it."""

    def __init__(self) -> None:
        self.received: asyncio.Queue[bytes] = asyncio.Queue()

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        head = b"POST /v1/x HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(_BODY)
        transport.write(head + _BODY)

    def data_received(self, data: bytes) -> None:
        self.received.put_nowait(data)
        if data.endswith(_END):
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self.received.put_nowait(b"")


async def _bare(url: str) -> None:
    address, loop = urlsplit(url), asyncio.get_running_loop()
    assert address.hostname is not None and address.port is not None
    _, protocol = await loop.create_connection(_Pieces, address.hostname, address.port)
    while await protocol.received.get():
        pass


def _pyreqwest(client: Client) -> Read:
    async def read(url: str) -> None:
        built = client.post(f"{url}/x").body_bytes(_BODY).streamed_read_buffer_limit(0)
        async with built.build_streamed() as response:
            while await response.body_reader.read_chunk():
                pass

    return read


def _httpcore(pool: httpcore.AsyncConnectionPool) -> Read:
    async def read(url: str) -> None:
        async with pool.stream("POST", f"{url}/x", content=_BODY) as response:
            async for _ in response.aiter_stream():
                pass

    return read


def _aiohttp(session: aiohttp.ClientSession) -> Read:
    async def read(url: str) -> None:
        async with session.post(f"{url}/x", data=_BODY) as response:
            async for _ in response.content.iter_any():
                pass

    return read


@asynccontextmanager
async def readers() -> AsyncIterator[dict[str, Read]]:
    """What reads a whole stream, by the name of what it reads by."""
    async with (
        ClientBuilder().build() as client,
        httpcore.AsyncConnectionPool(max_connections=100) as pool,
        aiohttp.ClientSession() as session,
    ):
        yield {
            BARE: _bare,
            "pyreqwest": _pyreqwest(client),
            "aiohttp": _aiohttp(session),
            "httpcore": _httpcore(pool),
        }
