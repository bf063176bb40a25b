"""Receives a seed and a number; hands on so many calls under faults, and what went wrong in them.

`make chaos` runs it whole; the tests run a slice.
"""

import argparse
import contextlib
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

from inferneo_client import ConnectionFailed, ServerError, StreamInterruptedError
from tests.client.flavours import FLAVOURS, QUICK, SESSIONS, SHORT, Deed, Flavour, Left, Outcome
from tests.client.proxy import Fault, FaultyProxy, faulty_proxy
from tests.client.recorded import EVENTS
from tests.client.scripted import ScriptedServer, scripted_server

OPTIONS = {"retry": QUICK, "timeout": SHORT}
# Of the answer's bytes: its head and 16 events, and a bit beyond.
MOST_BYTES = 6000


class Run(NamedTuple):
    """One call, and what happens to its connections."""

    flavour: Flavour
    ours: bool
    faults: list[Fault]
    deed: Deed

    def __str__(self) -> str:
        return f"{self.flavour.name} ours={self.ours} {self.deed} {self.faults}"


def draw(rng: random.Random) -> Run:
    """One run of a campaign."""
    deed = Deed(streamed=rng.random() < 0.85)
    if deed.streamed and rng.random() < 0.2:
        leave = rng.choice(["break", "raise", "cancel"])
        deed = Deed(leave=leave, after=rng.randint(1, len(EVENTS) - 1), block=rng.random() < 0.5)
    # One less than the attempts: a client that gave up would prove nothing.
    faults = [draw_fault(rng) for _ in range(rng.choice([0, 1, 1, 1, 2, 3]))]
    ours = rng.random() < 0.7
    # Only ours has sessions.
    return Run(rng.choice(FLAVOURS + SESSIONS if ours else FLAVOURS), ours, faults, deed)


def draw_fault(rng: random.Random) -> Fault:
    """One fault; stalls are rare, since each takes its time."""
    kind = rng.choices(
        ["refuse", "lose", "swallow", "status", "late status", "cut", "stall"],
        [1, 1, 1, 1, 1, 6, 0.2],
    )[0]
    status = rng.choice([408, 429, 503] if kind == "status" else [500, 502, 504])
    return Fault(
        kind,  # type: ignore[arg-type]
        at=rng.randrange(MOST_BYTES),
        reset=rng.random() < 0.5,
        status=status,
    )


class Campaign:
    """Both kinds of server, each behind its proxy, and what uncut calls give.

    Attributes:
        counts: how the runs ended.
    """

    def __init__(self, servers: dict[bool, tuple[ScriptedServer, FaultyProxy]]) -> None:
        self._servers = servers
        self.counts: Counter[str] = Counter()
        self._uncut = {
            (ours, streamed, flavour in SESSIONS): _uncut(server, flavour, streamed)
            for ours, (server, _) in servers.items()
            for flavour in (FLAVOURS[0], SESSIONS[0])
            if ours or flavour not in SESSIONS
            for streamed in (True, False)
        }

    def run(self, run: Run) -> list[str]:
        """Do one run, and give what was wrong."""
        server, proxy = self._servers[run.ours]
        server.reset()
        proxy.faults.clear()
        proxy.faults.extend(run.faults)
        outcome = run.flavour.run(proxy.url, OPTIONS, run.deed)
        # What the client has closed, the server sees a little later.
        closed = server.wait(lambda: server.open == 0)
        wrong = list(self._wrong(run, outcome, server))
        if not closed:
            wrong.append(f"{server.open} connections left open")
        self.counts["failed" if wrong else _ending(outcome)] += 1
        return wrong

    def _wrong(self, run: Run, outcome: Outcome, server: ScriptedServer) -> Iterator[str]:
        if server.generations > 1:
            yield f"{server.generations} generations"
        uncut = self._uncut[run.ours, run.deed.streamed, run.flavour in SESSIONS]
        if plain(outcome.chunks) != plain(uncut.chunks)[: len(outcome.chunks)]:
            yield "other chunks than the uncut stream"
        if run.deed.leave:
            yield from _wrong_leaving(run, outcome)
        elif outcome.error is None:
            if plain([outcome.final]) != plain([uncut.final]):
                yield "another answer than the uncut one"
            if len(outcome.chunks) != len(uncut.chunks):
                yield "cut, and reported as whole"
        elif run.ours:
            yield f"our server's stream was lost: {outcome.error!r}"
        elif not isinstance(outcome.error, ConnectionFailed | ServerError):
            yield f"an error of no use: {outcome.error!r}"
        if isinstance(outcome.error, StreamInterruptedError) and not run.deed.leave:
            text = _text(outcome.error.partial)
            if text != "".join(_text_of(chunk) for chunk in outcome.chunks):
                yield "`partial` is not what came"


def _uncut(server: ScriptedServer, flavour: Flavour, streamed: bool) -> Outcome:
    # Generations are counted from one in each run, and named so.
    server.reset()
    return flavour.run(server.url, OPTIONS, Deed(streamed=streamed))


def _wrong_leaving(run: Run, outcome: Outcome) -> Iterator[str]:
    if run.ours and run.deed.leave != "raise" and outcome.error is not None:
        yield f"leaving raised {outcome.error!r}"
    if run.ours and run.deed.leave == "raise" and not isinstance(outcome.error, Left):
        yield f"the caller's own error became {outcome.error!r}"
    if run.ours and len(outcome.chunks) != run.deed.after:
        yield f"{len(outcome.chunks)} chunks instead of {run.deed.after}"


def plain(answers: list[Any]) -> list[Any]:
    """Answers as what servers send, without what differs in each call."""
    documents = [answer.to_dict() for answer in answers if answer is not None]
    return [{**document, "response": None} for document in documents]


def _text(completion: Any) -> str:
    choices = completion.choices
    return str(choices[0].message.content or "") if choices else ""


def _text_of(chunk: Any) -> str:
    return str(chunk.choices[0].delta.content or "") if chunk.choices else ""


def _ending(outcome: Outcome) -> str:
    return "whole" if outcome.error is None else type(outcome.error).__name__


def every_byte(step: int) -> Iterator[Run]:
    """A cut behind every byte (or each so many) of our server's stream, in each flavour."""
    for position in range(0, MOST_BYTES, step):
        for flavour in FLAVOURS + SESSIONS:
            fault = Fault("cut", at=position, reset=position % 2 == 0)
            yield Run(flavour, True, [fault], Deed())


@contextlib.contextmanager
def campaign() -> Iterator[Campaign]:
    """The servers and proxies of a campaign, for as long as the block lasts."""
    with (
        scripted_server(ours=True) as ours,
        scripted_server(ours=False) as other,
        faulty_proxy(ours.port) as first,
        faulty_proxy(other.port) as second,
    ):
        yield Campaign({True: (ours, first), False: (other, second)})


def main() -> int:
    """Run a campaign; 1 where anything went wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.client.campaign", description=__doc__)
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=20261121)
    parser.add_argument("--step", type=int, default=1, help="of the bytes that are cut at")
    options = parser.parse_args()
    rng = random.Random(options.seed)
    runs = [*every_byte(options.step), *(draw(rng) for _ in range(options.runs))]
    started, failures = time.monotonic(), 0
    with campaign() as running:
        for number, run in enumerate(runs):
            for wrong in running.run(run):
                failures += 1
                print(f"run {number}: {wrong}\n    {run}", flush=True)
    seconds = time.monotonic() - started
    endings = ", ".join(f"{name} {count}" for name, count in sorted(running.counts.items()))
    print(f"seed {options.seed}: {len(runs)} runs in {seconds:.0f} s: {endings}")
    print(f"failures: {failures}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
