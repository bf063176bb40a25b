"""Receives rendered prompts; hands on what a model makes of each as a whole: vectors, or scores."""

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

from vllm.exceptions import GracefulHTTPError
from vllm.inputs.engine import tokens_input
from vllm.model_executor.model_loader import get_model_cls
from vllm.model_executor.models.interfaces import supports_score_template
from vllm.outputs import PoolingRequestOutput
from vllm.pooling_params import PoolingParams
from vllm.v1.engine.async_llm import AsyncLLM
from vllm.v1.engine.exceptions import EngineDeadError
from vllm.v1.engine.output_processor import RequestOutputCollector

from inferneo_core.errors import EngineUnavailable, Overloaded, ServerError
from inferneo_server.engines.base import Cut, PoolingOptions, Prompt, Task, Vector
from inferneo_server.engines.tokens import Tokens
from inferneo_server.engines.vllm_errors import client_errors
from inferneo_server.engines.vllm_stream import RESTARTING

# So many are submitted before others get their turn.
SUBMIT_AT_ONCE = 8

logger = logging.getLogger(__name__)


async def tasks_of(llm: AsyncLLM) -> frozenset[Task]:
    """What the model can do.

    A model that scores pairs by a template of its own is not said to score: the template is part
    of vLLM's server, not of its engine.
    """
    supported = await llm.get_supported_tasks()
    config = llm.model_config
    tasks: set[Task] = set()
    if "generate" in supported:
        tasks.add("generate")
    if "embed" in supported:
        tasks.add("embed")
    if (
        config.get_pooling_task(supported) == "classify"
        and getattr(config.hf_config, "num_labels", 0) == 1
        and not supports_score_template(get_model_cls(config))
    ):
        tasks.add("score")
    return frozenset(tasks)


class VllmPooling:
    """Embeds and scores by a model of vLLM's pooling runner.

    Args:
        llm: runs the model.
        tokens: its tokenizer.
    """

    def __init__(self, llm: AsyncLLM, tokens: Tokens) -> None:
        self._llm = llm
        self._tokens = tokens

    async def render_pair(self, query: str, document: str, cut: Cut | None) -> Prompt:
        """See `Engine.render_pair`; `rendered` also tells where the document begins."""
        if self._llm.model_config.use_sep_token:
            token_ids, start = await self._tokens.pair(query, document, cut)
        else:
            # Generative models that were made rerankers read both as one text.
            (joined,) = await self._tokens.tokenize([query + document], special=True, cut=cut)
            token_ids, start = list(joined), None
        return Prompt(token_ids=token_ids, rendered=(tokens_input(token_ids), start))

    async def embed(
        self, request_id: str, prompts: Sequence[Prompt], options: PoolingOptions
    ) -> Sequence[Vector]:
        """See `Engine.embed`."""
        params = PoolingParams(
            task="embed", dimensions=options.dimensions, use_activation=options.activation
        )
        work = [(prompt.rendered, params) for prompt in prompts]
        outputs = await self._run(request_id, work, options.priority)
        # By way of bytes: numpy's own view of a tensor may spell its format as Python cannot read.
        return [
            memoryview(output.outputs.data.float().numpy().tobytes()).cast("f")
            for output in outputs
        ]

    async def score(
        self, request_id: str, prompts: Sequence[Prompt], options: PoolingOptions
    ) -> Sequence[float]:
        """See `Engine.score`."""
        work = []
        for prompt in prompts:
            rendered, start = prompt.rendered
            params = PoolingParams(
                task="classify",
                use_activation=options.activation,
                extra_kwargs=None if start is None else {"compressed_token_type_ids": start},
            )
            work.append((rendered, params))
        outputs = await self._run(request_id, work, options.priority)
        return [output.outputs.data.float().item() for output in outputs]

    async def _run(
        self, request_id: str, work: Sequence[tuple[Any, PoolingParams]], priority: int
    ) -> list[PoolingRequestOutput]:
        """Submit all and wait for all. Whatever ends it early, nothing goes on running."""
        waiting: list[RequestOutputCollector] = []
        done: list[PoolingRequestOutput] = []
        try:
            for number, (rendered, params) in enumerate(work):
                # Not extended at once: what has been submitted must be known when one is refused.
                waiting.append(
                    await self._submit(f"{request_id}-{number}", rendered, params, priority)
                )
                if number % SUBMIT_AT_ONCE == SUBMIT_AT_ONCE - 1:
                    await asyncio.sleep(0)
            for collector in waiting:
                # Not a comprehension, for the same reason.
                done.append(await _result(collector))  # noqa: PERF401
        finally:
            if left := [collector.request_id for collector in waiting[len(done) :]]:
                await self._llm.abort(left, internal=True)
        return done

    async def _submit(
        self, request_id: str, rendered: Any, params: PoolingParams, priority: int
    ) -> RequestOutputCollector:
        try:
            with client_errors("dimensions" if params.dimensions is not None else None):
                return await self._llm.add_request(request_id, rendered, params, priority=priority)
        except GracefulHTTPError as error:
            raise Overloaded(str(error)) from error
        except EngineDeadError as error:
            raise EngineUnavailable(RESTARTING) from error


async def _result(collector: RequestOutputCollector) -> PoolingRequestOutput:
    try:
        output = collector.get_nowait() or await collector.get()
    except EngineDeadError as error:
        raise EngineUnavailable(RESTARTING) from error
    except Exception as error:
        logger.exception("vLLM failed on a request")
        raise ServerError("The engine failed on this request") from error
    assert isinstance(output, PoolingRequestOutput)
    if output.error is not None:
        raise ServerError(f"The engine failed on this request: {output.error.message}")
    return output
