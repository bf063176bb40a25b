"""What every engine's tokens keep to: the promises of `inferneo_server.engines.base`."""

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any

import pytest

from inferneo_core.errors import InvalidRequest
from inferneo_server.engines.base import Cut, Engine

SECONDS = 60.0
TEXTS = ["Inferneo is a server", "one", "so many words that some of them have to go"]
OUT_OF_VOCABULARY = 10**9


def run(runner: asyncio.Runner, work: Coroutine[Any, Any, Any]) -> Any:
    return runner.run(asyncio.wait_for(work, SECONDS))


def test_the_tokens_of_a_text_are_those_of_its_prompt(
    engine: Engine, runner: asyncio.Runner
) -> None:
    async def both() -> tuple[list[list[int]], list[list[int]]]:
        prompts = [await engine.render_text(text) for text in TEXTS]
        token_ids = await engine.tokenize(TEXTS)
        return [list(each) for each in token_ids], [list(each.token_ids) for each in prompts]

    token_ids, prompts = run(runner, both())
    assert token_ids == prompts


@pytest.mark.parametrize("times", [1, 2000])
def test_many_texts_keep_their_order(engine: Engine, runner: asyncio.Runner, times: int) -> None:
    alone = [run(runner, engine.tokenize([text]))[0] for text in TEXTS]
    together = run(runner, engine.tokenize(TEXTS * times))

    assert [list(each) for each in together] == [list(each) for each in alone] * times


@pytest.mark.parametrize("tokens", [1, 3])
def test_a_text_is_cut_on_the_side_that_is_wanted(
    engine: Engine, runner: asyncio.Runner, tokens: int
) -> None:
    def cut(side: Any) -> Sequence[int]:
        work = engine.tokenize(TEXTS[2:], special_tokens=False, cut=Cut(tokens=tokens, side=side))
        return list(run(runner, work)[0])

    whole = list(run(runner, engine.tokenize(TEXTS[2:], special_tokens=False))[0])
    assert len(whole) > tokens
    assert cut("right") == whole[:tokens]
    assert cut("left") == whole[-tokens:]


def test_nothing_is_left_of_a_text_that_is_cut_to_nothing(
    engine: Engine, runner: asyncio.Runner
) -> None:
    with pytest.raises(InvalidRequest):
        run(runner, engine.tokenize(TEXTS, cut=Cut(tokens=0)))


def test_a_shortened_text_is_its_beginning(engine: Engine, runner: asyncio.Runner) -> None:
    short, whole = run(runner, engine.shortened([TEXTS[2], TEXTS[1]], 3))

    assert whole == TEXTS[1]
    assert short and TEXTS[2].startswith(short) and short != TEXTS[2]
    assert len(run(runner, engine.tokenize([short], special_tokens=False))[0]) == 3
    assert run(runner, engine.shortened(TEXTS, 1000)) == TEXTS


def test_each_token_has_its_piece(engine: Engine, runner: asyncio.Runner) -> None:
    token_ids = run(runner, engine.tokenize(TEXTS[:1]))[0]
    pieces = engine.pieces(token_ids)

    assert len(pieces) == len(token_ids)
    assert all(pieces)


def test_what_is_not_in_the_vocabulary_is_refused(engine: Engine) -> None:
    with pytest.raises(InvalidRequest):
        engine.pieces([OUT_OF_VOCABULARY])
    with pytest.raises(InvalidRequest):
        engine.detokenize([OUT_OF_VOCABULARY])


def test_an_engine_says_what_it_can_do(engine: Engine) -> None:
    assert "generate" in engine.tasks
