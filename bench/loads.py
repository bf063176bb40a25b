"""Receives nothing; hands on the loads: what every contender is asked to do, the same for each."""

from typing import Final, Literal

import msgspec
from msgspec import Struct

_TOPICS: Final = ("river", "garden", "castle", "market", "forest", "harbour", "village", "island")
_HEROES: Final = ("fox", "girl", "baker", "sailor", "robot", "teacher", "dragon", "gardener")

PROMPTS: Final = tuple(
    f"Tell me a short story about a {hero} and a {topic}." for topic in _TOPICS for hero in _HEROES
)

_STREAM_TOKENS: Final = 128


class Load(Struct, frozen=True, kw_only=True):
    """One level of load.

    Attributes:
        kind: `stream` reads server-sent events, `unary` one JSON answer.
        concurrency: connections, each with at most one request in flight.
        tokens: length of each answer.
        waves: how often all connections start together, idle in between.
        repeats: requests that a connection sends per wave, each once the last is answered.
    """

    kind: Literal["stream", "unary"]
    concurrency: int
    tokens: int
    waves: int
    repeats: int

    @property
    def name(self) -> str:
        """Names the level in tables, for example `64 streams`."""
        noun = "stream" if self.kind == "stream" else "unary"
        return (
            f"{self.concurrency} {noun}{'s' if noun == 'stream' and self.concurrency > 1 else ''}"
        )

    @property
    def requests(self) -> int:
        """Counts the requests of one run."""
        return self.concurrency * self.waves * self.repeats


def streams(concurrency: int, *, waves: int) -> Load:
    """Builds a load of streams that all start at the same moment, wave after wave."""
    return Load(
        kind="stream", concurrency=concurrency, tokens=_STREAM_TOKENS, waves=waves, repeats=1
    )


def unary(concurrency: int, *, repeats: int) -> Load:
    """Builds a load of one-token answers: what a request costs apart from its tokens."""
    return Load(kind="unary", concurrency=concurrency, tokens=1, waves=1, repeats=repeats)


LOADS: Final = (
    streams(1, waves=8),
    streams(16, waves=6),
    streams(64, waves=4),
    unary(1, repeats=300),
    unary(16, repeats=60),
)
QUICK_LOADS: Final = (streams(1, waves=3), streams(64, waves=2), unary(16, repeats=30))

# One request at a time, each prompt once: batching cannot change the numbers, so all must answer
# alike. The answers are short, for what comes later only adds the chance of a near tie.
PROBE: Final = Load(kind="stream", concurrency=1, tokens=16, waves=1, repeats=len(PROMPTS))


def warm_up(load: Load) -> Load:
    """Gives the load that precedes a measured one: each connection is used once, briefly."""
    return msgspec.structs.replace(load, tokens=min(load.tokens, 4), waves=1, repeats=1)


def prompt_index(connection: int, turn: int) -> int:
    """Picks the prompt of a connection's nth request, the same for every contender."""
    return (connection + turn) % len(PROMPTS)


def request_body(load: Load, prompt: int, *, model: str) -> bytes:
    """Writes the body of `POST /v1/chat/completions` for one request of a load."""
    body: dict[str, object] = {
        "model": model,
        "messages": [{"role": "user", "content": PROMPTS[prompt]}],
        "max_tokens": load.tokens,
        "temperature": 0,
        "ignore_eos": True,
    }
    if load.kind == "stream":
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    return msgspec.json.encode(body)
