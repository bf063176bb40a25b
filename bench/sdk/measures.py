"""Receives clients; hands on what they cost: CPU time of this process, wall time, memory."""

import asyncio
import gc
import resource
import statistics
import subprocess
import time
import tracemalloc
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

from bench.sdk.contenders import (
    CHUNKS,
    MESSAGES,
    OPENAI,
    OURS,
    Ready,
    in_memory,
    in_memory_async,
    over_sockets,
    over_sockets_async,
)
from bench.sdk.floors import Read, readers
from bench.sdk.server import EVENTS
from inferneo_client import Inferneo

Figures = dict[str, float]

_STREAMS: Final = 20
_REQUESTS: Final = 300
_AT_ONCE: Final = 50
_DRIFT_CALLS: Final = 100_000


def in_turn(rounds: int, contenders: dict[str, Any], cost: Callable[[Any], float]) -> Figures:
    """The median cost of each contender, measured in turn."""
    for contender in contenders.values():
        cost(contender)
    found: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, contender in contenders.items():
            gc.collect()
            found[name].append(cost(contender))
    return {name: statistics.median(costs) for name, costs in found.items()}


async def in_turn_async(
    rounds: int, contenders: dict[str, Any], cost: Callable[[Any], Awaitable[float]]
) -> Figures:
    """The same for async clients."""
    for contender in contenders.values():
        await cost(contender)
    found: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, contender in contenders.items():
            gc.collect()
            found[name].append(await cost(contender))
    return {name: statistics.median(costs) for name, costs in found.items()}


def _cpu_us(started: float, count: int) -> float:
    return (time.process_time() - started) / count * 1e6


def chunk_us(rounds: int) -> Figures:
    """CPU per streamed chunk, in memory, sync."""

    def cost(client: Any) -> float:
        started = time.process_time()
        for _ in client.chat.completions.create(model="m", messages=MESSAGES, stream=True):
            pass
        return _cpu_us(started, CHUNKS)

    return in_turn(rounds, in_memory(), cost)


def chunk_async_us(rounds: int) -> Figures:
    """CPU per streamed chunk, in memory, async."""

    async def cost(client: Any) -> float:
        started = time.process_time()
        stream = await client.chat.completions.create(model="m", messages=MESSAGES, stream=True)
        async for _ in stream:
            pass
        return _cpu_us(started, CHUNKS)

    return asyncio.run(in_turn_async(rounds, in_memory_async(), cost))


def event_us(rounds: int) -> Figures:
    """CPU per typed event of `.stream()`, in memory, sync."""

    def cost(client: Any) -> float:
        started = time.process_time()
        with client.chat.completions.stream(model="m", messages=MESSAGES) as stream:
            for _ in stream:
                pass
        return _cpu_us(started, CHUNKS)

    return in_turn(rounds, in_memory(), cost)


def paced_us(rounds: int, url: str) -> Figures:
    """CPU per streamed event over real sockets, many paced streams side by side, async."""

    async def read(client: Any) -> None:
        stream = await client.chat.completions.create(model="m", messages=MESSAGES, stream=True)
        async for _ in stream:
            pass

    async def cost(client: Any) -> float:
        started = time.process_time()
        await asyncio.gather(*(read(client) for _ in range(_STREAMS)))
        return _cpu_us(started, _STREAMS * EVENTS)

    async def main() -> Figures:
        return await in_turn_async(rounds, over_sockets_async(url), cost)

    return asyncio.run(main())


def floors_us(rounds: int, url: str) -> Figures:
    """CPU per paced event, as `paced_us`, of libraries that read and do nothing else."""

    async def cost(read: Read) -> float:
        started = time.process_time()
        await asyncio.gather(*(read(url) for _ in range(_STREAMS)))
        return _cpu_us(started, _STREAMS * EVENTS)

    async def main() -> Figures:
        async with readers() as found:
            return await in_turn_async(rounds, found, cost)

    return asyncio.run(main())


def request_us(rounds: int, url: str) -> Figures:
    """CPU per request over a real socket, one after the other, sync."""

    def cost(client: Any) -> float:
        started = time.process_time()
        for _ in range(_REQUESTS):
            client.chat.completions.create(model="m", messages=MESSAGES)
        return _cpu_us(started, _REQUESTS)

    return in_turn(rounds, over_sockets(url), cost)


def request_async_us(rounds: int, url: str) -> tuple[Figures, Figures]:
    """CPU per request, one after the other; and requests per second, 50 at once; async."""

    async def cost(client: Any) -> float:
        started = time.process_time()
        for _ in range(_REQUESTS):
            await client.chat.completions.create(model="m", messages=MESSAGES)
        return _cpu_us(started, _REQUESTS)

    async def work(client: Any) -> None:
        for _ in range(_REQUESTS // 10):
            await client.chat.completions.create(model="m", messages=MESSAGES)

    async def rate(client: Any) -> float:
        started = time.perf_counter()
        await asyncio.gather(*(work(client) for _ in range(_AT_ONCE)))
        return _AT_ONCE * (_REQUESTS // 10) / (time.perf_counter() - started)

    async def main() -> tuple[Figures, Figures]:
        clients = over_sockets_async(url)
        costs = await in_turn_async(rounds, clients, cost)
        return costs, await in_turn_async(rounds, clients, rate)

    return asyncio.run(main())


def chunk_bytes() -> Figures:
    """Memory of a chunk that is kept."""
    found = {}
    for name, client in in_memory().items():
        kept: list[Any] = []
        stream = client.chat.completions.create(model="m", messages=MESSAGES, stream=True)
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        kept.extend(stream)
        found[name] = (tracemalloc.get_traced_memory()[0] - before) / len(kept)
        tracemalloc.stop()
    return found


def drift_bytes(calls: int = _DRIFT_CALLS) -> Figures:
    """How much more memory is held after many calls, by our client."""
    create = Inferneo(base_url="http://memory/v1", http_client=Ready()).chat.completions.create
    for _ in range(5000):
        create(messages=MESSAGES)
    gc.collect()
    before = _resident()
    for _ in range(calls):
        create(messages=MESSAGES)
    gc.collect()
    return {OURS: float(_resident() - before)}


def _resident() -> int:
    """Bytes of memory that this process holds (proc(5), statm)."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def _children_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


_IMPORTS: Final = {OPENAI: "import openai", OURS: "import inferneo_client"}
_READY: Final = {
    OPENAI: "import openai; openai.OpenAI(base_url='http://x/v1', api_key='x').chat.completions",
    OURS: (
        "import inferneo_client as i; c = i.Inferneo(base_url='http://x/v1');"
        " c.chat.completions; c._connections.to(c.base_url)"
    ),
}


def import_ms(rounds: int, pythons: dict[str, Path]) -> tuple[Figures, Figures]:
    """CPU of an import, and of a client that is ready to send, over bare Python.

    `pythons` are the interpreters of environments that have nothing else installed. CPU and not
    wall time, which on a busy machine is that of its neighbours.
    """

    def cost(command: tuple[Path, str]) -> float:
        python, statement = command
        started = _children_s()
        # Isolated from the environment's PYTHONPATH: the installed files are meant.
        subprocess.run([python, "-I", "-c", statement], check=True)
        return (_children_s() - started) * 1e3

    def costs(statements: dict[str, str]) -> Figures:
        return in_turn(rounds, {n: (pythons[n], text) for n, text in statements.items()}, cost)

    bare = costs(dict.fromkeys(pythons, "pass"))
    imports, ready = costs(_IMPORTS), costs(_READY)
    return (
        {name: found - bare[name] for name, found in imports.items()},
        {name: found - bare[name] for name, found in ready.items()},
    )
