"""Receives token ids and sampling parameters; hands on deltas of vLLM's AsyncLLM.

Only this file and its neighbours `vllm_*.py` import vllm. Written against 0.32 and 0.33.
"""

import asyncio
import logging
import multiprocessing
import os
from collections.abc import Mapping, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.process import BaseProcess
from typing import Any

from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.exceptions import GracefulHTTPError
from vllm.sampling_params import SamplingParams
from vllm.usage.usage_lib import UsageContext
from vllm.v1.engine.async_llm import AsyncLLM
from vllm.v1.engine.exceptions import EngineDeadError

from inferneo_core.chat import ChatCompletionRequest
from inferneo_core.errors import EngineUnavailable, Overloaded
from inferneo_core.sampling import SamplingFields
from inferneo_server.engines.base import (
    Cut,
    DeltaStream,
    EngineStartError,
    PoolingOptions,
    Prompt,
    Task,
    Vector,
)
from inferneo_server.engines.joined import submit_all
from inferneo_server.engines.parsing import Parsing
from inferneo_server.engines.tokens import Tokens, infill_tokens, own_copy
from inferneo_server.engines.vllm_adapters import (
    adapter_arguments,
    adapter_requests,
    load_adapters,
)
from inferneo_server.engines.vllm_device import (
    check_sleep,
    checked_device,
    only_visible,
    platform_defaults,
    wake_up,
    without_worker,
)
from inferneo_server.engines.vllm_errors import client_errors, start_failure
from inferneo_server.engines.vllm_parsing import Reader, VllmParsing
from inferneo_server.engines.vllm_pooling import VllmPooling, tasks_of
from inferneo_server.engines.vllm_rendering import Rendering
from inferneo_server.engines.vllm_sampling import Sampling
from inferneo_server.engines.vllm_stream import RESTARTING, DetailedStream, VllmStream
from inferneo_server.hardware.device import Device

HEALTH_CHECK_SECONDS = 0.5
SHUTDOWN_SECONDS = 5.0
ABANDON_SECONDS = 0.2

logger = logging.getLogger(__name__)


class VllmEngine:
    """One model on vLLM, on whatever platform the installed build of vLLM targets.

    Args:
        model: a Hugging Face id or a local path.
        served_name: the name that requests give.
        engine_args: fields of vLLM's AsyncEngineArgs.
        tool_parser: vLLM's name of the parser of tool calls; `none` leaves them in the text, None
            guesses by the model's template.
        reasoning_parser: vLLM's name of the parser of reasoning; None leaves it in the text.
        device: the only one that the engine may see; None leaves it all.
        adapters: LoRA adapters by the names that `submit` is given: Hugging Face ids or paths.
        chat_template: a template in the place of the model's own.

    Raises:
        EngineStartError: the installed build does not run on the device.
    """

    def __init__(
        self,
        model: str,
        served_name: str,
        engine_args: dict[str, Any],
        *,
        tool_parser: str | None = None,
        reasoning_parser: str | None = None,
        device: Device | None = None,
        adapters: Mapping[str, str] | None = None,
        chat_template: str | None = None,
    ) -> None:
        self._device = checked_device(device)
        self._adapters = adapter_requests(adapters or {})
        self._tool_parser = tool_parser
        self._reasoning_parser = reasoning_parser
        self._chat_template = chat_template
        self._engine_args = {
            "model": model,
            "served_model_name": served_name,
            **adapter_arguments(adapters or {}, engine_args),
            **engine_args,
        }
        # Lives as long as the engine: see lifeline.py.
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="vllm-start")
        self._loading: asyncio.Future[AsyncLLM] | None = None
        self._llm: AsyncLLM | None = None
        self._others: set[BaseProcess] | None = None
        self._processes: set[BaseProcess] = set()
        self._sampling: Sampling | None = None
        self._reader: Reader | None = None
        self._rendering: Rendering | None = None
        self._tokens: Tokens | None = None
        self._pooling: VllmPooling | None = None
        self._dropped = False
        self.tasks: Set[Task] = frozenset()
        self.chats = False

    @property
    def max_model_len(self) -> int:
        length: int = self._alive.model_config.max_model_len
        return length

    @property
    def max_running(self) -> int:
        count: int = self._alive.vllm_config.scheduler_config.max_num_seqs
        return count

    @property
    def running(self) -> int:
        count: int = self._llm.get_num_unfinished_requests() if self._llm else 0
        return count

    @property
    def _alive(self) -> AsyncLLM:
        if self._llm is None or self._llm.errored:
            raise EngineUnavailable(RESTARTING)
        return self._llm

    async def start(self) -> None:
        self._loading = asyncio.get_running_loop().run_in_executor(self._thread, self._load)
        # Shielded: aclose must find what a start that is given up has begun.
        self._llm = llm = await asyncio.shield(self._loading)
        config, tokenizer = llm.model_config, llm.get_tokenizer()
        self._sampling = Sampling(config.get_diff_sampling_param(), config.get_vocab_size())
        own = own_copy(tokenizer)
        encoder = config.encoder_config or {}
        self._tokens = Tokens(tokenizer, own, lower_case=encoder.get("do_lower_case", False))
        self._pooling = VllmPooling(llm, self._tokens)
        self.tasks = await tasks_of(llm)
        if self._adapters and "generate" not in self.tasks:
            raise EngineStartError("lora_modules: only a model that writes takes adapters")
        await load_adapters(llm, self._adapters.values())
        try:
            self._reader = Reader(
                tokenizer,
                config,
                self._tool_parser,
                self._reasoning_parser,
                # Not set in the tokenizer, which other engines of this model share.
                chat_template=self._chat_template,
            )
        except (TypeError, KeyError, ValueError) as error:
            raise EngineStartError(start_failure(error)) from error
        self._rendering = Rendering(llm.renderer, own, self._chat_template)
        self.chats = await self._rendering.has_template()

    def _load(self) -> AsyncLLM:
        # Spawned processes inherit neither the server's sockets nor its locks.
        os.environ.setdefault("VLLM_WORKER_MULTIPROC_METHOD", "spawn")
        try:
            with only_visible(self._device):
                # Nobody else starts processes in this block: what is new is this engine's.
                self._others = set(multiprocessing.active_children())
                arguments = AsyncEngineArgs(**platform_defaults() | self._engine_args)
                config = arguments.create_engine_config(UsageContext.API_SERVER)
                with without_worker(config, arguments):
                    llm = AsyncLLM.from_vllm_config(
                        config,
                        usage_context=UsageContext.API_SERVER,
                        enable_log_requests=arguments.enable_log_requests,
                        disable_log_stats=arguments.disable_log_stats,
                    )
                self._processes = set(multiprocessing.active_children()) - self._others
                return llm
        except Exception as error:
            logger.debug("vLLM did not start", exc_info=True)
            raise EngineStartError(start_failure(error)) from error

    async def wait_failed(self) -> str:
        # vLLM offers a flag and no event; requests see the failure at once all the same.
        while self._llm is not None and not self._llm.errored:  # noqa: ASYNC110
            await asyncio.sleep(HEALTH_CHECK_SECONDS)
        return "vLLM's engine process has died"

    async def render_chat(
        self,
        request: ChatCompletionRequest,
        *,
        special_tokens: bool = False,
        any_length: bool = False,
    ) -> Prompt:
        assert self._alive and self._rendering is not None
        return await self._rendering.chat(
            request, special_tokens=special_tokens, any_length=any_length
        )

    async def render_text(self, prompt: str | Sequence[int]) -> Prompt:
        assert self._alive and self._rendering is not None
        return await self._rendering.text(prompt)

    async def render_infill(self, prefix: str, suffix: str) -> Prompt:
        before, between, after = infill_tokens(self._alive.get_tokenizer())
        return await self.render_text(f"{before}{prefix}{between}{suffix}{after}")

    async def tokenize(
        self, texts: Sequence[str], *, special_tokens: bool = True, cut: Cut | None = None
    ) -> list[Sequence[int]]:
        assert self._tokens is not None
        return await self._tokens.tokenize(texts, special=special_tokens, cut=cut)

    async def render_pair(self, query: str, document: str, *, cut: Cut | None = None) -> Prompt:
        assert self._pooling is not None
        return await self._pooling.render_pair(query, document, cut)

    async def shortened(self, texts: Sequence[str], tokens: int) -> list[str]:
        assert self._tokens is not None
        return await self._tokens.shortened(texts, tokens)

    def token_texts(self, token_ids: Sequence[int]) -> list[str]:
        tokenizer = self._alive.get_tokenizer()
        return [tokenizer.decode([token_id]) for token_id in token_ids]

    def pieces(self, token_ids: Sequence[int]) -> list[str]:
        assert self._tokens is not None
        with client_errors("tokens"):
            self._alive.renderer.validate_token_ids(token_ids)
        return self._tokens.pieces(token_ids)

    def detokenize(self, token_ids: Sequence[int]) -> str:
        with client_errors("prompt"):
            self._alive.renderer.validate_token_ids(token_ids)
        text: str = self._alive.get_tokenizer().decode(list(token_ids))
        return text

    def parsing(self, request: ChatCompletionRequest, prompt: Prompt) -> Parsing | None:
        assert self._reader is not None
        with client_errors("tools"):
            return self._reader.parsing(request, prompt)

    async def submit(
        self,
        request_id: str,
        prompt: Prompt,
        sampling: SamplingFields,
        *,
        max_tokens: int,
        streamed: bool,
        logprobs: int | None = None,
        parsing: Parsing | None = None,
        adapter: str | None = None,
    ) -> DeltaStream:
        assert self._sampling is not None
        grammar = _grammar_field(sampling)
        choices = sampling.n or 1
        # OpenAI gives n equal choices here, vLLM refuses: ask n times for one.
        equal = choices > 1 and sampling.temperature == 0
        with client_errors(grammar):
            params = self._sampling.params(
                sampling,
                choices=1 if equal else choices,
                max_tokens=max_tokens,
                streamed=streamed,
                logprobs=logprobs,
            )
            if isinstance(parsing, VllmParsing):
                parsing.adjust(params)
        options = {
            "priority": sampling.priority or 0,
            "lora_request": self._adapters[adapter] if adapter else None,
        }
        if equal:
            submissions = (
                self._submit(f"{request_id}-{number}", prompt, params.clone(), options, grammar)
                for number in range(choices)
            )
            return await submit_all(submissions, 1)
        return await self._submit(request_id, prompt, params, options, grammar)

    async def _submit(
        self,
        request_id: str,
        prompt: Prompt,
        params: SamplingParams,
        options: dict[str, Any],
        grammar: str | None,
    ) -> VllmStream:
        llm = self._alive
        try:
            with client_errors(grammar):
                collector = await llm.add_request(request_id, prompt.rendered, params, **options)
        except GracefulHTTPError as error:
            raise Overloaded(str(error)) from error
        except EngineDeadError as error:
            raise EngineUnavailable(RESTARTING) from error
        if params.logprobs is not None or params.prompt_logprobs is not None:
            return DetailedStream(llm, collector, grammar, params.logprobs or 0)
        return VllmStream(llm, collector, grammar)

    async def embed(
        self, request_id: str, prompts: Sequence[Prompt], options: PoolingOptions
    ) -> Sequence[Vector]:
        assert self._pooling is not None
        return await self._pooling.embed(request_id, prompts, options)

    async def score(
        self, request_id: str, prompts: Sequence[Prompt], options: PoolingOptions
    ) -> Sequence[float]:
        assert self._pooling is not None
        return await self._pooling.score(request_id, prompts, options)

    def check_sleep(self) -> None:
        check_sleep(self._alive.vllm_config)

    async def sleep(self, level: int) -> None:
        await self._alive.sleep(level)
        self._dropped = level == 2

    async def wake(self) -> None:
        await wake_up(self._alive, dropped=self._dropped)
        if self._dropped:
            await load_adapters(self._alive, self._adapters.values(), again=True)

    async def aclose(self) -> None:
        loading, self._loading, self._llm = self._loading, None, None
        if loading is not None:
            while not loading.done():
                # A load cannot be told to stop; without its processes it fails.
                if self._others is not None:
                    for process in set(multiprocessing.active_children()) - self._others:
                        process.kill()
                await asyncio.wait([loading], timeout=ABANDON_SECONDS)
            if not loading.cancelled() and not loading.exception():
                await self._shut_down(loading.result())
        self._thread.shutdown(wait=False)

    async def _shut_down(self, llm: AsyncLLM) -> None:
        def shut_down() -> None:
            llm.shutdown(timeout=SHUTDOWN_SECONDS)
            # vLLM kills what does not end, and leaves it unwaited for.
            for process in self._processes:
                process.join(SHUTDOWN_SECONDS)

        try:
            await asyncio.get_running_loop().run_in_executor(self._thread, shut_down)
        except Exception:
            logger.exception("vLLM did not shut down cleanly")


def _grammar_field(sampling: SamplingFields) -> str | None:
    if sampling.structured_outputs is not None:
        return "structured_outputs"
    if sampling.response_format is not None:
        return "response_format"
    # Calls fit a grammar too, which is made of the tools.
    return "tools" if isinstance(sampling, ChatCompletionRequest) and sampling.tools else None
