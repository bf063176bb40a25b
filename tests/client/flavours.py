"""Receives what a test does with a client; hands on the same, sync, on asyncio and on trio."""

import asyncio
from collections.abc import Callable
from typing import Any, NamedTuple

import trio

from inferneo_client import ApiError, AsyncInferneo, Inferneo, Retry, Timeout
from inferneo_client.transports.httpcore import AsyncHttpcoreTransport, HttpcoreTransport

MESSAGES = [{"role": "user", "content": "hi"}]
QUICK = Retry(attempts=6, delay=0.001, max_delay=0.002)
SHORT = Timeout(connect=5.0, pool=5.0, ttft=0.25, idle=0.25)


class Outcome(NamedTuple):
    """What came of a call: the chunks, the whole answer, and what was raised."""

    chunks: list[Any]
    final: Any
    error: BaseException | None


class Left(Exception):
    """A caller's own error, in the middle of a stream."""


class Flavour(NamedTuple):
    """One way to use the client."""

    name: str
    run: Callable[[str, dict[str, Any], "Deed"], Outcome]


class Deed(NamedTuple):
    """What to do: a stream or a whole answer; and after how many chunks to leave it, and how.

    `leave` is `break`, `raise`, `cancel` (the stream), or empty. `block` uses a `with` block.
    """

    streamed: bool = True
    leave: str = ""
    after: int = 0
    block: bool = True


def _sync(httpx: bool, *, session: bool = False) -> Callable[[str, dict[str, Any], Deed], Outcome]:
    def run(url: str, options: dict[str, Any], deed: Deed) -> Outcome:
        transport = HttpcoreTransport(url) if httpx else None
        with Inferneo(base_url=url, http_client=transport, **options) as client:
            if not session:
                return _deed(client, deed)
            with client.connect() as connected:
                return _deed(connected, deed)

    return run


def _deed(client: Inferneo, deed: Deed) -> Outcome:
    chunks: list[Any] = []
    create = client.chat.completions.create
    try:
        if not deed.streamed:
            return Outcome([], create(messages=MESSAGES, max_tokens=5), None)
        stream = create(messages=MESSAGES, stream=True)
        if deed.block:
            with stream:
                final = _read(stream, chunks, deed)
        else:
            final = _read(stream, chunks, deed)
    except (ApiError, Left) as error:
        return Outcome(chunks, None, error)
    return Outcome(chunks, final, None)


def _read(stream: Any, chunks: list[Any], deed: Deed) -> Any:
    for chunk in stream:
        chunks.append(chunk)
        if deed.leave and len(chunks) == deed.after:
            if deed.leave == "break":
                break
            if deed.leave == "raise":
                raise Left
            stream.cancel()
    return None if deed.leave else stream.final()


def _async(
    run_loop: Callable[..., Any], httpx: bool, *, session: bool = False
) -> Callable[[str, dict[str, Any], Deed], Outcome]:
    async def run(url: str, options: dict[str, Any], deed: Deed) -> Outcome:
        transport = AsyncHttpcoreTransport(url) if httpx else None
        async with AsyncInferneo(base_url=url, http_client=transport, **options) as client:
            if session:
                async with client.connect() as connected:
                    outcome = await _async_deed(connected, deed)
            else:
                outcome = await _async_deed(client, deed)
        if run_loop is asyncio.run:
            assert asyncio.all_tasks() == {asyncio.current_task()}
        return outcome

    if run_loop is trio.run:
        return lambda *arguments: trio.run(run, *arguments)
    return lambda *arguments: asyncio.run(run(*arguments))


async def _async_deed(client: AsyncInferneo, deed: Deed) -> Outcome:
    chunks: list[Any] = []
    create = client.chat.completions.create
    try:
        if not deed.streamed:
            return Outcome([], await create(messages=MESSAGES, max_tokens=5), None)
        stream = await create(messages=MESSAGES, stream=True)
        if deed.block:
            async with stream:
                final = await _async_read(stream, chunks, deed)
        else:
            final = await _async_read(stream, chunks, deed)
    except (ApiError, Left) as error:
        return Outcome(chunks, None, error)
    return Outcome(chunks, final, None)


async def _async_read(stream: Any, chunks: list[Any], deed: Deed) -> Any:
    async for chunk in stream:
        chunks.append(chunk)
        if deed.leave and len(chunks) == deed.after:
            if deed.leave == "break":
                break
            if deed.leave == "raise":
                raise Left
            await stream.cancel()
    return None if deed.leave else await stream.final()


FLAVOURS = [
    Flavour("sync-httpx", _sync(True)),
    Flavour("sync-fast", _sync(False)),
    Flavour("asyncio-httpx", _async(asyncio.run, True)),
    Flavour("asyncio-fast", _async(asyncio.run, False)),
    Flavour("trio-httpx", _async(trio.run, True)),
]

SESSIONS = [
    Flavour("sync-socket", _sync(True, session=True)),
    Flavour("asyncio-socket", _async(asyncio.run, True, session=True)),
    Flavour("trio-socket", _async(trio.run, True, session=True)),
]
