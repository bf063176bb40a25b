"""A bounded slice of the fault campaign; `make chaos` runs the whole."""

import random
from collections.abc import Iterator

import pytest

from tests.client.campaign import Campaign, Run, campaign, draw, every_byte
from tests.client.flavours import FLAVOURS, Deed
from tests.client.proxy import Fault

SEED = 4


@pytest.fixture(scope="module")
def running() -> Iterator[Campaign]:
    with campaign() as servers:
        yield servers


def failures(running: Campaign, runs: Iterator[Run]) -> list[str]:
    return [f"{wrong}: {run}" for run in runs for wrong in running.run(run)]


def test_calls_under_faults_end_whole_or_with_an_error(running: Campaign) -> None:
    rng = random.Random(SEED)

    assert failures(running, (draw(rng) for _ in range(400))) == []


def test_a_stream_that_is_cut_anywhere_is_the_uncut_one(running: Campaign) -> None:
    assert failures(running, every_byte(step=211)) == []


def test_the_campaign_sees_a_second_generation(running: Campaign) -> None:
    # What it would have to find is made by hand: a proof that it looks.
    server, _ = running._servers[False]
    run = Run(FLAVOURS[0], False, [], Deed())
    outcome = FLAVOURS[0].run(server.url, {}, Deed())
    server.generations = 2

    assert "2 generations" in list(running._wrong(run, outcome, server))


def test_the_campaign_sees_a_cut_that_passes_for_whole(running: Campaign) -> None:
    server, _ = running._servers[True]
    server.reset()
    outcome = FLAVOURS[0].run(server.url, {}, Deed())
    cut = outcome._replace(chunks=outcome.chunks[:-1])

    found = list(running._wrong(Run(FLAVOURS[0], True, [Fault("cut")], Deed()), cut, server))
    assert found == ["cut, and reported as whole"]
