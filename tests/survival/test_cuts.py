"""Proves that an answer is whole wherever in its bytes the connection is cut, and however."""

import asyncio
import itertools
from collections.abc import Iterator

import pytest

from tests.servers import RunningServer
from tests.survival.clients import Progress, Way, receive
from tests.survival.counts import nothing_left, written
from tests.survival.proxy import MANNERS, Cut, Direction, Place, Proxy, at, behind

MAX_TOKENS = 12
BODY = {
    "messages": [{"role": "user", "content": "Count the words again"}],
    "max_tokens": MAX_TOKENS,
    "ignore_eos": True,
}
PROMPT_TOKENS = 4
TEXT = "a stream of words that no model wrote only counted a stream"
# The opening, each token, the finish reason, and the end.
NUMBERS = [*range(MAX_TOKENS + 3)]

FINISHED = b'"finish_reason":"length"}]}'
DONE = b'"cached_tokens":0}}}'

EVENTS: dict[str, tuple[Direction, Place]] = {
    "inside the request": ("up", at(60)),
    "inside the body of the request": ("up", behind(b"\r\n\r\n", 30)),
    "before the first byte": ("down", at(0)),
    "inside the head": ("down", at(30)),
    "behind the head": ("down", behind(b"\r\n\r\n")),
    "inside the first event": ("down", behind(b"id: ", 10)),
    "inside a comment": ("down", behind(b": keep")),
    "inside an event": ("down", behind(b"data: ", 40, nth=5)),
    "inside the end of an event": ("down", behind(b"}]}\n", nth=5)),
    "between events": ("down", behind(b"\n\n", nth=5)),
    "behind the last event": ("down", behind(FINISHED + b"\n\n")),
    "inside the end": ("down", behind(b"data: [DO")),
    "behind the end": ("down", behind(b"[DONE]\n\n")),
}
FRAMES: dict[str, tuple[Direction, Place]] = {
    "inside the opening handshake": ("up", at(60)),
    "before the answer to the handshake": ("down", at(0)),
    "inside the answer to the handshake": ("down", at(40)),
    "behind the handshake": ("down", behind(b"\r\n\r\n")),
    "inside the request": ("up", behind(b"\r\n\r\n", 30)),
    "inside the head of the first frame": ("down", behind(b"\r\n\r\n", 1)),
    "inside the head of a frame": ("down", behind(b"}]}", 2, nth=4)),
    "inside a frame": ("down", behind(b'"seq":', 30, nth=4)),
    "between frames": ("down", behind(b"}]}", nth=4)),
    "behind the last chunk": ("down", behind(FINISHED)),
    "inside the end": ("down", behind(b'"chat.completion.done"')),
    "behind the end": ("down", behind(DONE)),
    # The client begins the closing handshake: two bytes of head, four of mask, two of code.
    "inside the closing handshake": ("up", behind(b"\r\n\r\n", 4 + 4 + 269 + 3)),
    "inside the answer to the closing handshake": ("down", behind(DONE, 1)),
}


@pytest.fixture(scope="module", autouse=True)
def leaves_nothing(writing_server: RunningServer) -> Iterator[None]:
    """All of this together leaves nothing behind."""
    with nothing_left(writing_server):
        yield


def twice(proxy: Proxy, cut: Cut) -> Iterator[Cut]:
    """Cut two connections, however many come and go before they reach the place."""
    while proxy.done.total() < 2:
        yield cut


async def survive(url: str, key: str, cut: Cut, ways: tuple[Way, Way]) -> Proxy:
    """Read a generation whose first two connections are cut at the same place."""
    progress = Progress(BODY, key=key, patience=0.2, resume_for=4)
    async with Proxy(url) as proxy:
        proxy.cuts = twice(proxy, cut)
        await receive(proxy.url, progress, ways)
        assert (progress.text, progress.numbers) == (TEXT, NUMBERS)
    return proxy


def check(server: RunningServer, place: tuple[Direction, Place], key: str, begin: Way) -> None:
    """Cut in each manner, and go on by each way."""
    ways: tuple[Way, ...] = ("sse", "sse by header", "ws")
    cases = [*itertools.product(MANNERS, ways)]

    async def work() -> list[Proxy]:
        return await asyncio.gather(
            *(
                survive(
                    server.url,
                    f"{key}-{manner}-{way}".replace(" ", "-"),
                    Cut(*place, manner),
                    (begin, way),
                )
                for manner, way in cases
            )
        )

    before = written(server)
    proxies = asyncio.run(work())
    assert all(proxy.done[manner] for proxy, (manner, _) in zip(proxies, cases, strict=True))
    assert [now - then for now, then in zip(written(server), before, strict=True)] == [
        len(cases) * PROMPT_TOKENS,
        len(cases) * MAX_TOKENS,
    ]


@pytest.mark.parametrize("place", EVENTS.values(), ids=EVENTS)
def test_an_answer_over_sse_is_whole_when_it_is_cut(
    writing_server: RunningServer, place: tuple[Direction, Place], request: pytest.FixtureRequest
) -> None:
    check(writing_server, place, request.node.name, "sse")


@pytest.mark.parametrize("place", FRAMES.values(), ids=FRAMES)
def test_an_answer_over_a_websocket_is_whole_when_it_is_cut(
    writing_server: RunningServer, place: tuple[Direction, Place], request: pytest.FixtureRequest
) -> None:
    check(writing_server, place, request.node.name, "ws")
