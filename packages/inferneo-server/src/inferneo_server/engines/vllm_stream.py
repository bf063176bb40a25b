"""Receives the outputs of vLLM for one request; hands them on as deltas."""

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

from vllm.outputs import CompletionOutput, RequestOutput
from vllm.v1.engine.async_llm import AsyncLLM
from vllm.v1.engine.exceptions import EngineDeadError
from vllm.v1.engine.output_processor import RequestOutputCollector

from inferneo_core.errors import EngineUnavailable, InvalidRequest, ServerError
from inferneo_core.logprobs import PromptLogprob, PromptLogprobs, TokenLogprob, TopLogprob
from inferneo_server.engines.base import Delta, DetailedDelta

RESTARTING = "The engine has died; it is being restarted"

logger = logging.getLogger(__name__)


class Arrival:
    """Wakes the one task that reads a collector: of asyncio.Event what vLLM uses of it, at half the
    cost, which each token pays."""

    __slots__ = ("_loop", "_waiter")

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._waiter: asyncio.Future[None] | None = None

    def set(self) -> None:
        """Something has arrived."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def clear(self) -> None:
        """It has been taken; the collector itself tells whether there is more."""

    def wait(self) -> asyncio.Future[None]:
        """Wait for the next arrival."""
        self._waiter = self._loop.create_future()
        return self._waiter


class VllmStream:
    """The deltas of one request to vLLM.

    Args:
        llm: works on it.
        collector: gets its outputs.
        grammar: the field of the request that asks for a grammar, or None.
    """

    def __init__(
        self, llm: AsyncLLM, collector: RequestOutputCollector, grammar: str | None = None
    ) -> None:
        self._grammar = grammar
        self._llm = llm
        self._collector = collector
        self._finished = False
        self._arrival = collector.ready = Arrival()
        self.cached_tokens = 0

    def __aiter__(self) -> "VllmStream":
        return self

    async def __anext__(self) -> Sequence[Delta]:
        if self._finished:
            raise StopAsyncIteration
        try:
            # Two steps come as one where the reader was slow: vLLM joins them.
            while (output := self._collector.get_nowait()) is None:
                await self._arrival.wait()
        except EngineDeadError as error:
            self._finished = True
            raise EngineUnavailable(RESTARTING) from error
        except Exception as error:
            logger.exception("vLLM failed on a request")
            raise ServerError("The engine failed on this request") from error
        self._finished = output.finished
        if self._finished and self._grammar and output.outputs[0].finish_reason == "error":
            # Some grammars are found to be wrong only when the engine compiles them.
            raise InvalidRequest(
                "The grammar that the answer is to fit cannot be compiled", param=self._grammar
            )
        self.cached_tokens = output.num_cached_tokens or 0
        return self._deltas(output)

    def _deltas(self, output: RequestOutput) -> Sequence[Delta]:
        deltas: Sequence[Delta] = output.outputs
        return deltas

    async def aclose(self) -> None:
        if not self._finished:
            self._finished = True
            # Internal: our request id is the client's business, vLLM's own one is unique.
            await self._llm.abort(self._collector.request_id, internal=True)
        self._collector.close()


class DetailedStream(VllmStream):
    """The deltas of one request with their logprobs.

    Args:
        top: how many of the likeliest tokens to tell at each place, besides the written one.
    """

    def __init__(
        self, llm: AsyncLLM, collector: RequestOutputCollector, grammar: str | None, top: int
    ) -> None:
        super().__init__(llm, collector, grammar)
        self._top = top
        self._of_prompt: PromptLogprobs | None = None
        self._prompt_told: set[int] = set()

    def _deltas(self, output: RequestOutput) -> Sequence[Delta]:
        # vLLM loses them where it joins a choice's first step to a later one of another.
        if self._of_prompt is None and output.prompt_logprobs is not None:
            self._of_prompt = _prompt_logprobs(output.prompt_logprobs)
        return [self._detailed(output, choice) for choice in output.outputs]

    def _detailed(self, output: RequestOutput, choice: CompletionOutput) -> DetailedDelta:
        first = choice.index not in self._prompt_told
        self._prompt_told.add(choice.index)
        return DetailedDelta(
            index=choice.index,
            text=choice.text,
            token_ids=choice.token_ids,
            finish_reason=choice.finish_reason,
            stop_reason=choice.stop_reason,
            logprobs=_token_logprobs(choice, self._top),
            prompt_logprobs=self._of_prompt if first else None,
        )


def _token_logprobs(choice: CompletionOutput, top: int) -> list[TokenLogprob] | None:
    if choice.logprobs is None:
        return None
    entries = []
    for token_id, candidates in zip(choice.token_ids, choice.logprobs, strict=False):
        own = candidates[token_id]
        ranked = sorted(candidates.values(), key=lambda one: one.rank or 0)[:top]
        entries.append(
            TokenLogprob(**_told(own), top_logprobs=[TopLogprob(**_told(one)) for one in ranked])
        )
    return entries


def _told(candidate: Any) -> dict[str, Any]:
    token = candidate.decoded_token or ""
    # JSON has no infinity; so unlikely is what OpenAI says in its place.
    return {
        "token": token,
        "logprob": max(candidate.logprob, -9999.0),
        "bytes": list(token.encode(errors="replace")),
    }


def _prompt_logprobs(places: Any) -> PromptLogprobs:
    return [
        place
        and {
            token_id: PromptLogprob(
                logprob=max(one.logprob, -9999.0), rank=one.rank, decoded_token=one.decoded_token
            )
            for token_id, one in place.items()
        }
        for place in places
    ]
