"""Proves how the torch engine's steps share their work: on the embedded model, in this process."""

import queue
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

import inferneo_server
from inferneo_server.engines.torch_messages import Abort, Failed, Options, Plan, Step, Write

# Of the libraries that the engine is made of.
pytestmark = pytest.mark.filterwarnings("ignore")

MODEL = Path(inferneo_server.__file__).parent / "embedded" / "inferneo-tiny"
PROMPTS = [[random.Random(seed).randrange(5, 8000) for _ in range(4 + seed)] for seed in range(6)]
STEPS = 400


@pytest.fixture(scope="module")
def model() -> Any:
    import torch

    from inferneo_server.engines.torch_worker import load

    # Two would wait for each other, spinning, on a machine that has other work.
    torch.set_num_threads(1)
    return load(Options(model=str(MODEL), device="cpu", max_model_len=1024))


@pytest.fixture
def bench(model: Any) -> Iterator["Bench"]:
    """A worker that is driven by hand."""
    import torch

    with torch.inference_mode():
        yield Bench(model)


class Bench:
    """Drives the scheduler of a model."""

    def __init__(self, model: Any, rows: int = 8) -> None:
        from inferneo_server.engines.torch_worker import Worker

        self.model = model
        self.worker = Worker(model, rows, queue.SimpleQueue())
        self.scheduler = self.worker._scheduler
        self.told: dict[int, list[int]] = {}
        self.failed: set[int] = set()

    def write(self, key: int, prompt: Sequence[int], **plan: Any) -> None:
        given = {"temperature": 0.0, "max_tokens": 12, "ignore_eos": True} | plan
        self.scheduler.add(Write(key=key, token_ids=prompt, plan=Plan(**given)))

    def step(self) -> None:
        for report in self.scheduler.step():
            if isinstance(report, Failed):
                self.failed.add(report.key)
            elif isinstance(report, Step):
                for delta in report.deltas:
                    self.told.setdefault(report.key, []).extend(delta.token_ids)

    def run(self) -> dict[int, list[int]]:
        for _ in range(STEPS):
            if not self.scheduler.busy:
                return self.told
            self.step()
        raise AssertionError("it does not come to an end")


def alone(model: Any, prompt: Sequence[int], **plan: Any) -> list[int]:
    bench = Bench(model)
    bench.write(1, prompt, **plan)
    return bench.run()[1]


def test_answers_do_not_hang_on_what_is_written_beside_them(bench: Bench) -> None:
    for key, prompt in enumerate(PROMPTS):
        bench.write(key, prompt, max_tokens=6 + 3 * key)
        bench.step()
    told = bench.run()

    for key, prompt in enumerate(PROMPTS):
        assert told[key] == alone(bench.model, prompt, max_tokens=6 + 3 * key)


@pytest.mark.parametrize(
    "plan",
    [{}, {"top_p": 0.9}, {"top_k": 20}, {"min_p": 0.02}, {"top_k": 300, "repetition_penalty": 1.2}],
    ids=str,
)
def test_a_seed_gives_the_same_answer_in_a_crowd(bench: Bench, plan: dict[str, Any]) -> None:
    mine = {"temperature": 1.0, "seed": 7} | plan
    bench.write(0, PROMPTS[0], temperature=1.0)
    bench.write(1, PROMPTS[1], **mine)
    bench.step()
    bench.write(2, PROMPTS[2], temperature=0.7, top_p=0.5, seed=7)
    bench.write(3, PROMPTS[1], **mine | {"seed": 8})
    told = bench.run()

    assert told[1] == alone(bench.model, PROMPTS[1], **mine)
    assert told[1] != told[3]


def test_a_long_prompt_is_read_in_parts_while_others_are_written(bench: Bench) -> None:
    long = [5 + number % 4000 for number in range(900)]
    bench.write(1, PROMPTS[1], max_tokens=20)
    bench.step()
    bench.write(2, long)
    bench.step()
    bench.step()

    assert 2 not in bench.told
    assert len(bench.told[1]) >= 4
    told = bench.run()
    step_tokens, bench.model.step_tokens = bench.model.step_tokens, 2000
    try:
        assert told[2] == alone(bench.model, long)
    finally:
        bench.model.step_tokens = step_tokens


def test_where_the_cache_is_full_the_last_ones_wait(bench: Bench) -> None:
    for key in range(4):
        bench.write(key, PROMPTS[key], max_tokens=40)
    whole, bench.model.cache_bytes = bench.model.cache_bytes, 100 * 6 * 1024
    try:
        told = bench.run()
    finally:
        bench.model.cache_bytes = whole

    for key in range(4):
        assert told[key] == alone(bench.model, PROMPTS[key], max_tokens=40)


def test_choices_of_one_prompt_differ_by_seed_and_prompt_is_read_once(bench: Bench) -> None:
    bench.write(1, PROMPTS[0], temperature=1.0, seed=3, choices=3)
    bench.step()
    assert len(bench.scheduler._rows) == 3
    told = bench.run()[1]
    assert len(told) == 36
    assert len({tuple(told[number::3]) for number in range(3)}) > 1


def test_an_aborted_request_leaves_the_step_at_once(bench: Bench) -> None:
    for key in range(3):
        bench.write(key, PROMPTS[key], max_tokens=300)
    bench.step()
    bench.worker._commands.put(Abort(key=1))
    bench.worker.take()
    assert [row.key for row in bench.scheduler._rows] == [0, 2]
    bench.worker._commands.put(Abort(key=0))
    bench.worker._commands.put(Abort(key=2))
    bench.worker.take()
    assert not bench.scheduler.busy


def test_a_prompt_that_fails_takes_no_other_with_it(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward = bench.model.forward

    def failing(batch: Any, rows: Any, **options: Any) -> Any:
        if any(list(row[:4]) == PROMPTS[1][:4] for row in rows):
            raise RuntimeError("no memory for this one")
        return forward(batch, rows, **options)

    monkeypatch.setattr(bench.model, "forward", failing)
    for key in range(3):
        bench.write(key, PROMPTS[key])
    told = bench.run()

    assert bench.failed == {1}
    assert {len(told[0]), len(told[2])} == {12}


def test_penalties_and_biases_are_heeded(bench: Bench) -> None:
    plain = alone(bench.model, PROMPTS[0])
    bench.write(1, PROMPTS[0], bias={7: 100.0})
    bench.write(2, PROMPTS[0], bad_words=[[plain[0]], plain[1:3]])
    bench.write(3, PROMPTS[0], allowed=[11, 12])
    bench.write(4, PROMPTS[0], bias={7: 100.0}, frequency_penalty=2.0, max_tokens=60)
    bench.write(5, PROMPTS[0], repetition_penalty=2.0, presence_penalty=2.0)
    told = bench.run()

    assert set(told[1]) == {7}
    assert plain[0] not in told[2]
    assert set(told[3]) <= {11, 12}
    assert set(told[4]) != {7}
    assert len(set(told[5])) > len(set(plain)) or told[5] != plain


def test_no_end_comes_before_the_least_length(bench: Bench) -> None:
    plain = alone(bench.model, PROMPTS[0])
    bench.write(1, PROMPTS[0], stop_token_ids=[plain[2]])
    bench.write(2, PROMPTS[0], stop_token_ids=[plain[2]], min_tokens=8)
    told = bench.run()

    assert told[1] == plain[:3]
    assert len(told[2]) >= 8 and plain[2] not in told[2][:8]
