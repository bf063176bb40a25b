"""Receives token ids and sampling parameters; hands on deltas of vLLM's AsyncLLM.

The only file that imports vllm. Written against 0.32 and 0.33.
"""

import asyncio
import contextlib
import functools
import logging
import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec
from pydantic import ValidationError
from tokenizers import Encoding, Tokenizer
from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.exceptions import GracefulHTTPError, VLLMClientError, VLLMValidationError
from vllm.inputs.engine import tokens_input
from vllm.platforms import current_platform
from vllm.renderers import ChatParams
from vllm.sampling_params import RequestOutputKind, SamplingParams
from vllm.usage.usage_lib import UsageContext
from vllm.v1.engine.async_llm import AsyncLLM
from vllm.v1.engine.exceptions import EngineDeadError
from vllm.v1.engine.output_processor import RequestOutputCollector

from inferneo_core.chat import Message, Tool
from inferneo_core.errors import (
    ContextLengthExceeded,
    EngineUnavailable,
    InvalidRequest,
    Overloaded,
    ServerError,
)
from inferneo_core.sampling import SamplingFields
from inferneo_server.engines.base import Delta, DeltaStream, EngineStartError, Prompt
from inferneo_server.engines.joined import submit_all

# Up to here it costs less to tokenise in the event loop than to hop to a thread and back.
INLINE_CHARACTERS = 20_000
HEALTH_CHECK_SECONDS = 0.5
SHUTDOWN_SECONDS = 5.0
ABANDON_SECONDS = 0.2
GIB = 1024**3
RESTARTING = "The engine has died; it is being restarted"
# What calls a template has names of its own; a template itself would be a program from outside.
RESERVED_KWARGS = frozenset(
    {"chat_template", "conversation", "messages", "model_config", "self", "tokenizer"}
)

logger = logging.getLogger(__name__)


class VllmEngine:
    """One model on vLLM, on whatever platform the installed build of vLLM targets.

    Args:
        model: a Hugging Face id or a local path.
        served_name: the name that requests give.
        engine_args: fields of vLLM's AsyncEngineArgs.
    """

    def __init__(self, model: str, served_name: str, engine_args: dict[str, Any]) -> None:
        self._engine_args = {"model": model, "served_model_name": served_name} | engine_args
        # Lives as long as the engine: see lifeline.py.
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="vllm-start")
        self._loading: asyncio.Future[AsyncLLM] | None = None
        self._llm: AsyncLLM | None = None
        self._others = set(multiprocessing.active_children())
        self._defaults: dict[str, Any] = {}
        self._encode: Callable[..., Encoding] | None = None

    @property
    def max_model_len(self) -> int:
        length: int = self._alive.model_config.max_model_len
        return length

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
        self._defaults = llm.model_config.get_diff_sampling_param()
        self._encode = _encoder(llm.get_tokenizer())

    def _load(self) -> AsyncLLM:
        # Spawned processes inherit neither the server's sockets nor its locks.
        os.environ.setdefault("VLLM_WORKER_MULTIPROC_METHOD", "spawn")
        try:
            arguments = AsyncEngineArgs(**_platform_defaults() | self._engine_args)
            return AsyncLLM.from_engine_args(arguments, usage_context=UsageContext.API_SERVER)
        except Exception as error:
            logger.debug("vLLM did not start", exc_info=True)
            raise EngineStartError(_reason(error)) from error

    async def wait_failed(self) -> str:
        # vLLM offers a flag and no event; requests see the failure at once all the same.
        while self._llm is not None and not self._llm.errored:  # noqa: ASYNC110
            await asyncio.sleep(HEALTH_CHECK_SECONDS)
        return "vLLM's engine process has died"

    async def render_chat(
        self,
        messages: Sequence[Message],
        tools: Sequence[Tool] | None,
        template_kwargs: dict[str, Any] | None,
    ) -> Prompt:
        template_kwargs = template_kwargs or {}
        for name in sorted(RESERVED_KWARGS & template_kwargs.keys()):
            raise InvalidRequest(
                f"'chat_template_kwargs' cannot hold '{name}'", param="chat_template_kwargs"
            )
        arguments = {"add_generation_prompt": True} | template_kwargs | {"tokenize": False}
        if tools:
            arguments["tools"] = msgspec.to_builtins(tools)
        params = ChatParams(chat_template_kwargs=arguments)
        conversation = msgspec.to_builtins(messages)
        renderer = self._alive.renderer
        with _client_errors("messages"):
            if self._encode and _characters(messages) <= INLINE_CHARACTERS:
                _, rendered = renderer.render_messages(conversation, params)
                return self._tokenized(rendered["prompt"], special=False)
            _, (prompt,) = await renderer.render_chat_async([conversation], params)
        return Prompt(token_ids=prompt["prompt_token_ids"], rendered=prompt)

    async def render_text(self, prompt: str | Sequence[int]) -> Prompt:
        if not prompt:
            raise InvalidRequest("The prompt is empty", param="prompt")
        renderer = self._alive.renderer
        with _client_errors("prompt"):
            if not isinstance(prompt, str):
                renderer.validate_token_ids(prompt)
                return Prompt(token_ids=prompt, rendered=tokens_input(list(prompt)))
            if self._encode and len(prompt) <= INLINE_CHARACTERS:
                return self._tokenized(prompt, special=True)
            (rendered,) = await renderer.render_cmpl_async([{"prompt": prompt}])
        return Prompt(token_ids=rendered["prompt_token_ids"], rendered=rendered)

    def _tokenized(self, text: str, *, special: bool) -> Prompt:
        """Tokenise a short text here and now, past three layers that take longer than the work."""
        assert self._encode is not None
        token_ids = self._encode(text, add_special_tokens=special).ids
        return Prompt(token_ids=token_ids, rendered=tokens_input(token_ids))

    async def submit(
        self,
        request_id: str,
        prompt: Prompt,
        sampling: SamplingFields,
        *,
        max_tokens: int,
        streamed: bool,
    ) -> DeltaStream:
        choices = sampling.n or 1
        if choices > 1 and sampling.temperature == 0:
            # OpenAI gives n equal choices here, vLLM refuses: ask n times for one.
            one = msgspec.structs.replace(sampling, n=1)
            submissions = (
                self._submit(
                    f"{request_id}-{number}", prompt, one, max_tokens=max_tokens, streamed=streamed
                )
                for number in range(choices)
            )
            return await submit_all(submissions, 1)
        return await self._submit(
            request_id, prompt, sampling, max_tokens=max_tokens, streamed=streamed
        )

    async def _submit(
        self,
        request_id: str,
        prompt: Prompt,
        sampling: SamplingFields,
        *,
        max_tokens: int,
        streamed: bool,
    ) -> "VllmStream":
        llm = self._alive
        try:
            with _client_errors(None):
                params = self._sampling_params(sampling, max_tokens=max_tokens, streamed=streamed)
                collector = await llm.add_request(request_id, prompt.rendered, params)
        except GracefulHTTPError as error:
            raise Overloaded(str(error)) from error
        except EngineDeadError as error:
            raise EngineUnavailable(RESTARTING) from error
        return VllmStream(llm, collector)

    def _sampling_params(
        self, sampling: SamplingFields, *, max_tokens: int, streamed: bool
    ) -> SamplingParams:
        given = {
            name: value
            for name in _SAMPLING_NAMES
            if (value := getattr(sampling, name)) is not None
        }
        return SamplingParams(
            **self._defaults | given | {"max_tokens": max_tokens},
            output_kind=RequestOutputKind.DELTA if streamed else RequestOutputKind.FINAL_ONLY,
            skip_clone=True,
        )

    async def aclose(self) -> None:
        loading, self._loading, self._llm = self._loading, None, None
        if loading is not None:
            while not loading.done():
                # A load cannot be told to stop; without its processes it fails.
                for process in set(multiprocessing.active_children()) - self._others:
                    process.kill()
                await asyncio.wait([loading], timeout=ABANDON_SECONDS)
            if not loading.cancelled() and not loading.exception():
                await self._shut_down(loading.result())
        self._thread.shutdown(wait=False)

    async def _shut_down(self, llm: AsyncLLM) -> None:
        shutdown = functools.partial(llm.shutdown, timeout=SHUTDOWN_SECONDS)
        try:
            await asyncio.get_running_loop().run_in_executor(self._thread, shutdown)
        except Exception:
            logger.exception("vLLM did not shut down cleanly")


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
    """The deltas of one request to vLLM."""

    def __init__(self, llm: AsyncLLM, collector: RequestOutputCollector) -> None:
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
        self.cached_tokens = output.num_cached_tokens or 0
        deltas: Sequence[Delta] = output.outputs
        return deltas

    async def aclose(self) -> None:
        if not self._finished:
            self._finished = True
            # Internal: our request id is the client's business, vLLM's own one is unique.
            await self._llm.abort(self._collector.request_id, internal=True)
        self._collector.close()


_SAMPLING_NAMES = tuple(
    name
    for name in SamplingFields.__struct_fields__
    if name in SamplingParams.__struct_fields__ and name != "max_tokens"
)


def _reason(error: Exception) -> str:
    """Why vLLM does not start, in one line; its configuration fails by pydantic, at length."""
    text = str(error)
    if isinstance(error, ValidationError):
        text = "; ".join(problem["msg"].removeprefix("Value error, ") for problem in error.errors())
    return " ".join(text.split())


def _encoder(tokenizer: Any) -> Callable[..., Encoding] | None:
    """The tokenizer behind a fast Hugging Face tokenizer, for the event loop's own use; or None."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if not isinstance(backend, Tokenizer):
        return None
    # A copy: vLLM's threads change the settings of theirs while they use it.
    own: Tokenizer = Tokenizer.from_str(backend.to_str())
    own.no_truncation()
    own.no_padding()
    return own.encode


def _platform_defaults() -> dict[str, Any]:
    """Arguments that fit the machine; whatever the operator gives wins."""
    if not current_platform.is_cpu():
        return {}
    available = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    # A fixed size, since vLLM else wants most of the machine's memory to be free. Compiled graphs
    # need a C++ compiler, and minutes.
    cache = min(max(available // 8, GIB // 4), 4 * GIB)
    return {"kv_cache_memory_bytes": cache, "enforce_eager": True}


@contextlib.contextmanager
def _client_errors(param: str | None) -> Iterator[None]:
    """Raise what vLLM finds wrong with a request as our own errors."""
    try:
        yield
    except VLLMValidationError as error:
        message = str(error.args[0])
        if error.parameter in ("input_text", "input_tokens"):
            raise ContextLengthExceeded(message, param=param) from error
        raise InvalidRequest(message, param=error.parameter or param) from error
    except (VLLMClientError, ValueError) as error:
        raise InvalidRequest(str(error), param=param) from error


def _characters(messages: Sequence[Message]) -> int:
    return sum(
        len(message.content)
        if isinstance(message.content, str)
        else sum(len(part.text) for part in message.content or ())
        for message in messages
    )
