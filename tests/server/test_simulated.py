"""Proves what the simulated engine writes beyond the contract of all engines."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from inferneo_core.sampling import SamplingFields
from inferneo_server.engines.simulated import VOCABULARY, SimulatedEngine

BOUND_SECONDS = 10.0


async def words(engine: SimulatedEngine, *, streamed: bool) -> list[str]:
    """The pieces of one answer to a prompt whose token is 0."""
    async with asyncio.timeout(BOUND_SECONDS):
        await engine.start()
        prompt = await engine.render_text([0])
        stream = await engine.submit(
            "test", prompt, SamplingFields(), max_tokens=8, streamed=streamed
        )
        return [delta.text for deltas in [step async for step in stream] for delta in deltas]


@pytest.mark.parametrize(
    ("arguments", "vocabulary"),
    [({}, VOCABULARY), ({"vocabulary": ["<b>", "a b", "\u202e"]}, ["<b>", "a b", "\u202e"])],
)
def test_it_writes_the_words_that_it_is_given_one_after_another(
    arguments: dict[str, Any], vocabulary: Sequence[str]
) -> None:
    expected = (list(vocabulary) * 8)[:8]

    streamed = asyncio.run(words(SimulatedEngine(**arguments), streamed=True))
    whole = asyncio.run(words(SimulatedEngine(**arguments), streamed=False))

    assert streamed == [expected[0], *(f" {word}" for word in expected[1:])]
    assert whole == [" ".join(expected)]


@pytest.mark.parametrize("vocabulary", [[], "", "words"])
def test_a_vocabulary_that_is_no_list_of_words_is_refused(vocabulary: Any) -> None:
    with pytest.raises(ValueError, match="vocabulary"):
        SimulatedEngine(vocabulary=vocabulary)
