"""Proves that a server that stops sees all it has begun to its end, though connections break."""

import asyncio
import contextlib
import random
import signal
from collections.abc import Iterator
from typing import Any

import pytest
import websockets

from tests.servers import RunningServer, running_server
from tests.survival.clients import Progress, Refused, Way, receive, receive_once
from tests.survival.proxy import MANNERS, Cut, Place, Proxy, at, behind, random_cuts

EXIT_SECONDS = 40.0
WAIT_SECONDS = 20.0
STREAMS = 40
MAX_TOKENS = 50
TEXT = " ".join(["a stream of words that no model wrote only counted"] * 5)
NUMBERS = [*range(MAX_TOKENS + 3)]
BODY: dict[str, Any] = {
    "messages": [{"role": "user", "content": "Count the words again"}],
    "max_tokens": MAX_TOKENS,
    "ignore_eos": True,
}
WAYS: list[Way] = ["sse", "ws", "sse by header", "ws deflated"]


@contextlib.contextmanager
def mortal_server(*flags: str) -> Iterator[RunningServer]:
    """A server whose answers take two seconds, and which ends well."""
    arguments = ("--engine=simulated", "--engine-args=token_seconds=0.04", "--no-access-log")
    with running_server(*arguments, *flags) as server:
        yield server
    assert "Traceback" not in server.log and "ERROR" not in server.log, server.log


async def drain(server: RunningServer) -> None:
    """Send the signal, and wait until new requests are refused."""
    server.process.send_signal(signal.SIGTERM)
    async with asyncio.timeout(WAIT_SECONDS):
        while True:
            try:
                await receive_once(server.url, Progress(BODY, key="late"), "sse")
            except Refused as refused:
                assert refused.args[0] == 503 and b'"draining"' in refused.args[1]
                return


async def ended(server: RunningServer) -> int:
    """Wait for the server's own end."""
    return await asyncio.to_thread(server.process.wait, EXIT_SECONDS)


def test_all_that_had_begun_ends_whole_while_the_server_drains_and_connections_break() -> None:
    seed = random.getrandbits(32)
    print(f"seed {seed}")

    async def one(server: RunningServer, number: int, begun: list[asyncio.Event]) -> Progress:
        chance = random.Random(f"{seed} {number}")
        progress = Progress(BODY, key=f"drain-{number}")
        # The first is cut in mid-answer, and once they all were, the server is told to stop.
        first = Cut("down", behind(b"}]}", chance.randrange(250), nth=3), chance.choice(MANNERS))
        cuts = [first, *random_cuts(chance, 3, reach=3000)]
        async with Proxy(server.url, cuts) as proxy:
            await receive_once(proxy.url, progress, ("sse", "ws")[number % 2])
            begun[number].set()
            return await receive(proxy.url, progress, chance.sample(WAYS, len(WAYS)))

    async def work(server: RunningServer) -> list[Progress]:
        begun = [asyncio.Event() for _ in range(STREAMS)]
        streams = [asyncio.create_task(one(server, at, begun)) for at in range(STREAMS)]
        for event in begun:
            await asyncio.wait_for(event.wait(), WAIT_SECONDS)
        await drain(server)
        assert not any(stream.done() for stream in streams)
        read = await asyncio.wait_for(asyncio.gather(*streams), WAIT_SECONDS)
        assert await ended(server) == 0
        return read

    with mortal_server() as server:
        for progress in asyncio.run(work(server)):
            assert (progress.text, progress.numbers) == (TEXT, NUMBERS)


def test_requests_cut_before_their_first_byte_are_repeated_while_the_server_drains() -> None:
    # With the first byte of a frame the request is known to have begun.
    places: dict[Way, Place] = {"sse": at(0), "ws": behind(b"\r\n\r\n", 1)}

    async def work(server: RunningServer) -> list[Progress]:
        requests = {way: Progress(BODY, key=f"repeated-{way}") for way in places}
        for way, progress in requests.items():
            async with Proxy(server.url, [Cut("down", places[way], "reset")]) as proxy:
                await receive_once(proxy.url, progress, way)
                assert progress.id is None and proxy.done["reset"]
        await drain(server)
        readers = [receive(server.url, progress, [way]) for way, progress in requests.items()]
        await asyncio.gather(*readers)
        assert await ended(server) == 0
        return [*requests.values()]

    with mortal_server() as server:
        for progress in asyncio.run(work(server)):
            assert (progress.text, progress.numbers) == (TEXT, NUMBERS)


def test_closing_handshakes_that_are_cut_keep_no_server() -> None:
    place = behind(b"\x88", 1)  # inside the server's close frame, the first of its frames

    async def work(server: RunningServer) -> None:
        async with contextlib.AsyncExitStack() as stack:
            proxies = []
            for manner in MANNERS:
                proxy = Proxy(server.url, [Cut("down", place, manner)])
                proxies.append(await stack.enter_async_context(proxy))
                address = proxy.url.replace("http", "ws") + "/v1/chat/completions"
                socket = websockets.connect(address, close_timeout=0.5, proxy=None)
                await stack.enter_async_context(socket)
            server.process.send_signal(signal.SIGTERM)
            assert await ended(server) == 0
            cuts = [(proxy.done, manner) for proxy, manner in zip(proxies, MANNERS, strict=True)]
            assert all(done[manner] for done, manner in cuts)

    with mortal_server() as server:
        asyncio.run(work(server))


def test_an_idle_socket_is_told_that_the_server_stops() -> None:
    async def work(server: RunningServer) -> websockets.ConnectionClosed:
        address = server.url.replace("http", "ws") + "/v1/chat/completions"
        async with websockets.connect(address, proxy=None) as socket:
            server.process.send_signal(signal.SIGTERM)
            with pytest.raises(websockets.ConnectionClosed) as closed:
                await asyncio.wait_for(socket.recv(), WAIT_SECONDS)
            assert await ended(server) == 0
        return closed.value

    with mortal_server() as server:
        closed = asyncio.run(work(server))
    assert closed.rcvd is not None and closed.rcvd.code == 1012
