"""Receives a base URL; hands on the clients that are compared, as a program would make them."""

from collections.abc import AsyncIterator, Iterator
from typing import Any, Final

import httpx2
from openai import AsyncOpenAI, OpenAI

from bench.sdk.server import DONE, LAST, WHOLE, WORD
from inferneo_client import AsyncInferneo, Inferneo
from inferneo_client._transport import SyncResponse, WholeResponse, WireRequest
from inferneo_client.transports.httpcore import AsyncHttpcoreTransport, HttpcoreTransport

MESSAGES: Final[Any] = [{"role": "user", "content": "Hello"}]
CHUNKS: Final = 2000

OPENAI: Final = "OpenAI SDK"
OURS: Final = "Inferneo"
FAST: Final = "Inferneo [fast]"


class _Pieces(httpx2.SyncByteStream, httpx2.AsyncByteStream):
    """A stream's body that is in memory already, an event in each piece."""

    def __iter__(self) -> Iterator[bytes]:
        for _ in range(CHUNKS - 1):
            yield WORD
        yield LAST
        yield DONE

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self.__iter__():
            yield piece


def _answer(request: httpx2.Request) -> httpx2.Response:
    if b'"stream":true' in request.content.replace(b" ", b""):
        headers = {"content-type": "text/event-stream"}
        return httpx2.Response(200, headers=headers, stream=_Pieces())
    return httpx2.Response(200, headers={"content-type": "application/json"}, content=WHOLE)


def in_memory() -> dict[str, Any]:
    """Sync clients over the same transport of httpx2 (the SDK's own), which answers from memory."""
    url = "http://memory/v1"
    mock = httpx2.MockTransport(_answer)
    return {
        OPENAI: OpenAI(base_url=url, api_key="x", http_client=httpx2.Client(transport=mock)),
        OURS: Inferneo(base_url=url, http_client=httpx2.Client(transport=mock)),
    }


def in_memory_async() -> dict[str, Any]:
    """Their async twins."""
    url = "http://memory/v1"
    mock = httpx2.MockTransport(_answer)
    client, other = httpx2.AsyncClient(transport=mock), httpx2.AsyncClient(transport=mock)
    return {
        OPENAI: AsyncOpenAI(base_url=url, api_key="x", http_client=client),
        OURS: AsyncInferneo(base_url=url, http_client=other),
    }


class Ready:
    """A transport that has the answer already; what is left is our client alone."""

    def exchange(self, request: WireRequest) -> WholeResponse:
        return WholeResponse(200, {}, WHOLE)

    def open(self, request: WireRequest) -> SyncResponse:
        raise NotImplementedError

    def close(self) -> None:
        return None


def over_sockets(url: str) -> dict[str, Any]:
    """Sync clients over real sockets."""
    return {
        OPENAI: OpenAI(base_url=url, api_key="x"),
        OURS: Inferneo(base_url=url, http_client=HttpcoreTransport(url)),
        FAST: Inferneo(base_url=url),
    }


def over_sockets_async(url: str) -> dict[str, Any]:
    """Their async twins."""
    return {
        OPENAI: AsyncOpenAI(base_url=url, api_key="x"),
        OURS: AsyncInferneo(base_url=url, http_client=AsyncHttpcoreTransport(url)),
        FAST: AsyncInferneo(base_url=url),
    }
