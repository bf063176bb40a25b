"""Proves that no token is lost, doubled or written twice, wherever connections break."""

import asyncio
import itertools
import os
import random
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.servers import RunningServer
from tests.survival.clients import RESUME_SECONDS, Progress, Way, receive
from tests.survival.counts import Written, nothing_left, written
from tests.survival.proxy import MANNERS, Proxy, random_cuts

GENERATIONS = 300
VLLM_GENERATIONS = 20
VLLM_PATIENCE_SECONDS = 4.0
AT_ONCE = 64
CUTS = (3, 6)
PLANS: dict[str, list[Way]] = {
    "sse": ["sse", "sse by header"],
    "ws": ["ws", "ws deflated"],
    # Begun over one, gone on with over the other.
    "both": ["sse", "ws"],
}
each_plan = pytest.mark.parametrize("ways", PLANS.values(), ids=PLANS)

Body = dict[str, Any]


@pytest.fixture(scope="module")
def quiet_server(writing_server: RunningServer) -> Iterator[RunningServer]:
    """The simulated engine, in whose server all of this together leaves nothing behind."""
    with nothing_left(writing_server):
        yield writing_server


def bodies(prompts: int, **fields: Any) -> list[Body]:
    """Requests for different texts, on both routes, of different lengths."""
    texts = [f"Count the words {' and'.join(['again'] * number)}" for number in range(prompts)]
    return [
        {**fields, "max_tokens": 12 + 7 * number}
        | ({"prompt": text} if number % 2 else {"messages": [{"role": "user", "content": text}]})
        for number, text in enumerate(texts)
    ]


def uncut(server: RunningServer, body: Body) -> tuple[str, Written]:
    """What is answered where nothing breaks, and what it takes."""
    path = "/v1/chat/completions" if "messages" in body else "/v1/completions"
    answer = httpx.post(f"{server.url}{path}", json=body, timeout=60).raise_for_status().json()
    choice, usage = answer["choices"][0], answer["usage"]
    text = choice["message"]["content"] if "message" in choice else choice["text"]
    return text, Written(usage["prompt_tokens"], usage["completion_tokens"])


def read_all(
    server: RunningServer, asked: list[Body], ways: list[Way], **options: float
) -> list[tuple[Progress, Proxy]]:
    """Read many generations, some of them at once, while their connections are cut."""
    seed = int(os.environ.get("CHAOS_SEED", random.getrandbits(32)))
    print(f"CHAOS_SEED={seed}")  # pytest shows it where the test fails
    limit = asyncio.Semaphore(AT_ONCE)

    async def one(number: int, body: Body) -> tuple[Progress, Proxy]:
        # Each has its own luck, whatever the others do.
        chance = random.Random(f"{seed} {number}")
        key = f"chaos-{seed}-{number}-{'-'.join(ways)}".replace(" ", "-")
        progress = Progress(body, key, **options)
        # A connection is cut on its way through the first part of the answer, or so.
        cuts = random_cuts(chance, chance.randint(*CUTS), reach=150 + 45 * body["max_tokens"])
        async with limit, Proxy(server.url, cuts) as proxy:
            return await receive(proxy.url, progress, chance.sample(ways, len(ways))), proxy

    async def work() -> list[tuple[Progress, Proxy]]:
        return await asyncio.gather(*(one(number, body) for number, body in enumerate(asked)))

    return asyncio.run(work())


def check(
    server: RunningServer, asked: list[Body], ways: list[Way], **options: float
) -> list[Proxy]:
    """Compare what is read over cut connections with what is answered where nothing breaks."""
    distinct = {str(body): body for body in asked}
    expected = {name: uncut(server, body) for name, body in distinct.items()}
    before = written(server)
    results = read_all(server, asked, ways, **options)

    for body, (progress, _) in zip(asked, results, strict=True):
        assert progress.text == expected[str(body)][0]
        assert progress.numbers == [*range(len(progress.numbers))]
        assert len(progress.finish_reasons) == 1
    # One generation for each request, and no token more.
    wanted = zip(*(expected[str(body)][1] for body in asked), strict=True)
    grown = [now - then for now, then in zip(written(server), before, strict=True)]
    assert grown == [sum(column) for column in wanted]
    return [proxy for _, proxy in results]


@each_plan
def test_generations_are_whole_however_often_their_connections_break(
    quiet_server: RunningServer, ways: list[Way]
) -> None:
    asked = [*itertools.islice(itertools.cycle(bodies(6, ignore_eos=True)), GENERATIONS)]
    made = [proxy.done for proxy in check(quiet_server, asked, ways, resume_for=RESUME_SECONDS)]
    # Several for each, and each manner many times.
    assert sum(cuts.total() for cuts in made) > 2 * GENERATIONS
    assert all(sum(cuts[manner] for cuts in made) > 20 for manner in MANNERS)


@each_plan
def test_generations_of_vllm_are_whole_however_often_their_connections_break(
    vllm_server: RunningServer, ways: list[Way]
) -> None:
    asked = bodies(5, temperature=0) * (VLLM_GENERATIONS // 5)
    options = {"patience": VLLM_PATIENCE_SECONDS, "resume_for": 10 * VLLM_PATIENCE_SECONDS}
    proxies = check(vllm_server, asked, ways, **options)
    assert sum(proxy.done.total() for proxy in proxies) > VLLM_GENERATIONS
