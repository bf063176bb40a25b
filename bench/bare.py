"""Receives loads as JSON lines on stdin; hands on each run as a JSON line on stdout.

The floor: an `AsyncLLM` in one asyncio loop, prompts tokenised beforehand, and no HTTP. Started by
`contenders` as `python -m bench.bare MODEL ENGINE_ARGS`; ends with its stdin.
"""

import asyncio
import os
import sys
import time
from collections.abc import Sequence
from itertools import count
from typing import IO, Any

import msgspec
import uvloop

from bench.answers import Answer, Run
from bench.client import undisturbed
from bench.loads import PROMPTS, Load, prompt_index
from bench.processes import tree_cpu_ns


def main() -> None:
    """Serves loads until stdin ends."""
    # vLLM and the processes that it starts write to stdout: they get stderr in its place.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    uvloop.run(_serve(sys.argv[1], msgspec.json.decode(sys.argv[2]), answers))


async def _serve(model: str, engine_args: dict[str, Any], answers: IO[bytes]) -> None:
    # Here, and not above: vLLM may start processes that import this module again.
    from vllm.engine.arg_utils import AsyncEngineArgs
    from vllm.v1.engine.async_llm import AsyncLLM

    engine = AsyncLLM.from_engine_args(AsyncEngineArgs(model=model, **engine_args))
    try:
        loop = _BareLoop(engine)
        answers.write(b"ready\n")
        answers.flush()
        while line := await asyncio.to_thread(sys.stdin.buffer.readline):
            run = await loop.run(msgspec.json.decode(line, type=Load))
            answers.write(msgspec.json.encode(run) + b"\n")
            answers.flush()
    finally:
        engine.shutdown()


class _BareLoop:
    def __init__(self, engine: Any) -> None:
        from vllm.inputs import tokens_input

        self._engine = engine
        self._ids = count()
        tokenizer = engine.get_tokenizer()
        self._prompts = [
            tokens_input(
                tokenizer.apply_chat_template(
                    [{"role": "user", "content": prompt}],
                    add_generation_prompt=True,
                    return_dict=False,
                )
            )
            for prompt in PROMPTS
        ]

    async def run(self, load: Load) -> Run:
        """Runs a load as the client of the servers does: wave after wave."""
        answers: list[Answer] = []
        wall = 0
        with undisturbed():
            all_cpu = tree_cpu_ns(os.getpid())
            cpu = time.process_time_ns()
            for wave in range(load.waves):
                started = time.perf_counter_ns()
                turns = range(wave * load.repeats, (wave + 1) * load.repeats)
                for batch in await asyncio.gather(
                    *(self._connection(load, number, turns) for number in range(load.concurrency))
                ):
                    answers += batch
                wall += time.perf_counter_ns() - started
            cpu = time.process_time_ns() - cpu
            all_cpu = tree_cpu_ns(os.getpid()) - all_cpu
        return Run(
            answers=answers,
            wall=wall,
            api_cpu=cpu,
            all_cpu=all_cpu,
            client_cpu=0,
            client_waited=0,
        )

    async def _connection(self, load: Load, number: int, turns: Sequence[int]) -> list[Answer]:
        return [await self._ask(load, prompt_index(number, turn)) for turn in turns]

    async def _ask(self, load: Load, prompt: int) -> Answer:
        from vllm.sampling_params import RequestOutputKind, SamplingParams

        started = time.perf_counter_ns()
        kind = RequestOutputKind.DELTA if load.kind == "stream" else RequestOutputKind.FINAL_ONLY
        params = SamplingParams(
            temperature=0, max_tokens=load.tokens, ignore_eos=True, output_kind=kind
        )
        texts: list[str] = []
        arrivals: list[int] = []
        tokens = 0
        output = None
        async for output in self._engine.generate(
            self._prompts[prompt], params, f"bench-{next(self._ids)}"
        ):
            completion = output.outputs[0]
            tokens += len(completion.token_ids)
            if completion.text:
                arrivals.append(time.perf_counter_ns())
                texts.append(completion.text)
        assert output is not None
        ended = time.perf_counter_ns()
        return Answer(
            prompt=prompt,
            started=started,
            ended=ended,
            arrivals=arrivals or [ended],
            events=len(arrivals),
            tokens=tokens,
            prompt_tokens=len(output.prompt_token_ids),
            text="".join(texts),
            finish_reason=output.outputs[0].finish_reason,
        )


if __name__ == "__main__":
    main()
