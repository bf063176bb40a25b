"""Receives prompts and sampling fields; hands on deltas of a model on PyTorch and transformers.

The model runs in a process of its own (`torch_process.py`), and the prompts are rendered here.
"""

import asyncio
from collections.abc import Awaitable, Sequence, Set
from importlib.util import find_spec
from typing import Any

import msgspec

from inferneo_core.chat import ChatCompletionRequest, NamedTool
from inferneo_core.errors import (
    ApiError,
    EngineUnavailable,
    InvalidRequest,
    Overloaded,
)
from inferneo_core.sampling import SamplingFields
from inferneo_server.engines.base import (
    Cut,
    EngineStartError,
    PoolingOptions,
    Prompt,
    Task,
    Vector,
)
from inferneo_server.engines.chat_templates import characters, render
from inferneo_server.engines.parsing import Asked, Parsing
from inferneo_server.engines.tokens import INLINE_CHARACTERS, Tokens, infill_tokens, own_copy
from inferneo_server.engines.torch_link import RESTARTING, Link
from inferneo_server.engines.torch_messages import (
    Abort,
    Accepted,
    Loaded,
    Options,
    Plan,
    Pool,
    Pooled,
    Report,
    Step,
    Write,
)
from inferneo_server.engines.torch_plan import Planning, structure_field
from inferneo_server.engines.torch_stream import TorchStream

MAX_QUEUE = 1024


class TorchEngine:
    """One model on PyTorch, on a CPU or a GPU.

    Args:
        model: a Hugging Face id or a local path.
        engine_args: `device`, `dtype`, `max_model_len` and `max_num_seqs` as in
            `torch_messages.Options`, and `max_queue`, how many choices, and inputs to embed or
            score, may wait beside those that run.
        tool_parser: vLLM's name of the parser of tool calls, as in VllmEngine. Without vLLM tool
            calls stay in the text.
        reasoning_parser: vLLM's name of the parser of reasoning, likewise.
        chat_template: a template in the place of the model's own.

    Raises:
        EngineStartError: an argument is not known, or its value does not fit.
    """

    def __init__(
        self,
        model: str,
        engine_args: dict[str, Any],
        *,
        tool_parser: str | None = None,
        reasoning_parser: str | None = None,
        chat_template: str | None = None,
    ) -> None:
        self._options, self._max_queue = _options(model, engine_args)
        self._parsers = (tool_parser, reasoning_parser)
        self._chat_template = chat_template
        self._link = Link()
        self._loaded: Loaded | None = None
        self._tokenizer: Any = None
        self._reader: Any = None
        self._tokens: Tokens | None = None
        self._planning: Planning | None = None
        self._streams: set[TorchStream] = set()
        self._pooled = 0
        self.tasks: Set[Task] = frozenset()
        self.chats = False

    @property
    def max_model_len(self) -> int:
        return self._alive.max_model_len

    @property
    def max_running(self) -> int:
        return self._options.max_num_seqs

    @property
    def running(self) -> int:
        # A copy: metrics are read by another thread.
        return self._pooled + sum(stream.unfinished for stream in tuple(self._streams))

    @property
    def _alive(self) -> Loaded:
        if self._loaded is None or not self._link.alive:
            raise EngineUnavailable(RESTARTING)
        return self._loaded

    async def start(self) -> None:
        # Side by side: both import libraries for seconds.
        reading = asyncio.create_task(asyncio.to_thread(self._read_tokenizer))
        try:
            loaded = await self._link.start(self._options)
            await asyncio.shield(reading)
        finally:
            if not reading.done():
                # A thread cannot be stopped; nobody waits for what it finds.
                reading.add_done_callback(lambda done: done.cancelled() or done.exception())
        own = own_copy(self._tokenizer)
        self._tokens = Tokens(self._tokenizer, own, lower_case=loaded.lower_case)
        self._planning = Planning(loaded.defaults, loaded.vocabulary, self._encode)
        self._loaded = loaded
        self.tasks = frozenset(loaded.tasks)
        self.chats = bool(self._tokenizer.chat_template)

    def _read_tokenizer(self) -> None:
        """Load the tokenizer, and vLLM's parsers where they are installed."""
        # Here, since it takes seconds, in which the process begins to load the model.
        import transformers

        transformers.utils.logging.set_verbosity_error()
        try:
            self._tokenizer = transformers.AutoTokenizer.from_pretrained(self._options.model)
            if self._chat_template is not None:
                self._tokenizer.chat_template = self._chat_template
            if find_spec("vllm") is not None:
                from inferneo_server.engines.vllm_parsing import Reader

                self._reader = Reader(self._tokenizer, None, *self._parsers)
        except Exception as error:
            raise EngineStartError(" ".join(str(error).split())) from error

    def _encode(self, text: str) -> Sequence[int]:
        token_ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False)
        return token_ids

    async def wait_failed(self) -> str:
        if self._link.failed is None:
            return "The engine was not started"
        return await asyncio.shield(self._link.failed)

    async def render_chat(
        self,
        request: ChatCompletionRequest,
        *,
        special_tokens: bool = False,
        any_length: bool = False,
    ) -> Prompt:
        assert self._alive and self._tokens is not None
        if characters(request) <= INLINE_CHARACTERS:
            text = render(self._tokenizer, request)
        else:
            text = await asyncio.to_thread(render, self._tokenizer, request)
        (token_ids,) = await self._tokens.tokenize([text], special=special_tokens, cut=None)
        return Prompt(token_ids=token_ids)

    async def render_text(self, prompt: str | Sequence[int]) -> Prompt:
        if not prompt:
            raise InvalidRequest("The prompt is empty", param="prompt")
        if isinstance(prompt, str):
            (token_ids,) = await self.tokenize([prompt])
            return Prompt(token_ids=token_ids)
        self._check(prompt, "prompt")
        return Prompt(token_ids=prompt)

    def _check(self, token_ids: Sequence[int], param: str) -> None:
        if token_ids and max(token_ids) >= self._alive.vocabulary:
            raise InvalidRequest(f"Token id {max(token_ids)} is out of vocabulary", param=param)

    async def render_infill(self, prefix: str, suffix: str) -> Prompt:
        before, between, after = infill_tokens(self._tokenizer)
        return await self.render_text(f"{before}{prefix}{between}{suffix}{after}")

    async def tokenize(
        self, texts: Sequence[str], *, special_tokens: bool = True, cut: Cut | None = None
    ) -> list[Sequence[int]]:
        assert self._tokens is not None
        return await self._tokens.tokenize(texts, special=special_tokens, cut=cut)

    async def render_pair(self, query: str, document: str, *, cut: Cut | None = None) -> Prompt:
        assert self._tokens is not None
        token_ids, start = await self._tokens.pair(query, document, cut)
        return Prompt(token_ids=token_ids, rendered=start)

    async def shortened(self, texts: Sequence[str], tokens: int) -> list[str]:
        assert self._tokens is not None
        return await self._tokens.shortened(texts, tokens)

    def token_texts(self, token_ids: Sequence[int]) -> list[str]:
        return [self._tokenizer.decode([token_id]) for token_id in token_ids]

    def pieces(self, token_ids: Sequence[int]) -> list[str]:
        assert self._tokens is not None
        self._check(token_ids, "tokens")
        return self._tokens.pieces(token_ids)

    def detokenize(self, token_ids: Sequence[int]) -> str:
        self._check(token_ids, "prompt")
        text: str = self._tokenizer.decode(list(token_ids))
        return text

    def parsing(self, request: ChatCompletionRequest, prompt: Prompt) -> Parsing | None:
        if self._reader is None:
            if request.tool_choice == "required" or isinstance(request.tool_choice, NamedTool):
                raise InvalidRequest(
                    "To force a tool call the torch engine needs vLLM's parsers, which are not "
                    "installed here",
                    param="tool_choice",
                )
            return None
        try:
            parsing: Parsing | None = self._reader.parsing(request, prompt)
        except ValueError as error:
            raise InvalidRequest(str(error), param="tools") from error
        return parsing

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
    ) -> TorchStream:
        assert self._alive and self._planning is not None
        asked = Asked()
        if parsing is not None:
            parsing.adjust(asked)  # type: ignore[attr-defined]  # they are vLLM's, if any
        plan = self._planning.plan(
            sampling,
            max_tokens=max_tokens,
            streamed=streamed,
            logprobs=logprobs,
            asked=asked,
        )
        self._check_queue(plan.choices)
        stream, accepted = self._begin(prompt, plan)
        if plan.structure is not None:
            await self._accepted(stream, accepted, structure_field(sampling) or "tool_choice")
        return stream

    def _check_queue(self, more: int) -> None:
        if self.running + more > self._options.max_num_seqs + self._max_queue and self.running:
            raise Overloaded("The engine's queue is full")

    def _begin(self, prompt: Prompt, plan: Plan) -> tuple[TorchStream, "asyncio.Future[None]"]:
        """Send a request to the process; the future is done when its grammar is compiled."""
        accepted: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def receive(report: Report | ApiError) -> None:
            if isinstance(report, Step):
                stream.receive(report.deltas)
            elif isinstance(report, Accepted):
                _settle(accepted, None)
            elif isinstance(report, ApiError):
                _settle(accepted, report)
                stream.fail(report)

        def closed(goes_on: bool) -> None:
            self._streams.discard(stream)
            self._link.forget(key)
            if goes_on:
                self._link.send(Abort(key=key))

        stream = TorchStream(plan.choices, closed)
        key = self._link.register(receive)
        self._streams.add(stream)
        self._link.send(Write(key=key, token_ids=prompt.token_ids, plan=plan))
        return stream, accepted

    async def _accepted(self, stream: TorchStream, accepted: Awaitable[None], field: str) -> None:
        try:
            await accepted
        except BaseException as error:
            await stream.aclose()
            if isinstance(error, InvalidRequest):
                error.param = error.param or field
            raise

    async def embed(
        self, request_id: str, prompts: Sequence[Prompt], options: PoolingOptions
    ) -> Sequence[Vector]:
        size, loaded = options.dimensions, self._alive
        if size is not None and not (
            size in loaded.shorter
            or size == loaded.vector_size
            or (loaded.shortable and not loaded.shorter and size < loaded.vector_size)
        ):
            raise InvalidRequest(
                f"The model's vectors of {loaded.vector_size} dimensions cannot be cut to {size}",
                param="dimensions",
            )
        values = await self._pool("embed", prompts, [None] * len(prompts), options)
        return [memoryview(each).cast("f") for each in values]

    async def score(
        self, request_id: str, prompts: Sequence[Prompt], options: PoolingOptions
    ) -> Sequence[float]:
        starts = [prompt.rendered for prompt in prompts]
        values = await self._pool("score", prompts, starts, options)
        return [memoryview(each).cast("f")[0] for each in values]

    async def _pool(
        self,
        task: Task,
        prompts: Sequence[Prompt],
        starts: Sequence[int | None],
        options: PoolingOptions,
    ) -> Sequence[bytes]:
        if options.priority:
            raise InvalidRequest("The torch engine knows no 'priority'", param="priority")
        self._check_queue(len(prompts))
        done: asyncio.Future[Pooled] = asyncio.get_running_loop().create_future()
        key = self._link.register(lambda report: _settle(done, report))
        self._pooled += len(prompts)
        try:
            self._link.send(
                Pool(
                    key=key,
                    task=task,
                    prompts=[prompt.token_ids for prompt in prompts],
                    starts=starts,
                    activation=options.activation,
                    dimensions=options.dimensions,
                )
            )
            return (await done).values
        finally:
            self._pooled -= len(prompts)
            self._link.forget(key)
            if done.cancelled():
                self._link.send(Abort(key=key))

    async def aclose(self) -> None:
        for stream in tuple(self._streams):
            stream.fail(EngineUnavailable("The engine was closed"))
        await self._link.aclose()


def _settle(future: "asyncio.Future[Any]", result: Any) -> None:
    if future.done():
        return
    if isinstance(result, ApiError):
        future.set_exception(result)
        # Whoever waited may be gone.
        future.exception()
    else:
        future.set_result(result)


def _options(model: str, engine_args: dict[str, Any]) -> tuple[Options, int]:
    """The engine's arguments, checked.

    Raises:
        EngineStartError: one is not known, or its value does not fit.
    """
    known = sorted({*Options.__struct_fields__, "max_queue"} - {"model"})
    if unknown := sorted(set(engine_args) - set(known)):
        raise EngineStartError(
            f"the torch engine has no argument {', '.join(unknown)}; it has {', '.join(known)}"
        )
    given = dict(engine_args)
    try:
        max_queue = msgspec.convert(given.pop("max_queue", MAX_QUEUE), int)
        options = msgspec.convert(given | {"model": model}, Options)
    except msgspec.ValidationError as error:
        raise EngineStartError(f"an argument of the torch engine does not fit: {error}") from None
    limits = {
        "max_num_seqs": options.max_num_seqs,
        "max_model_len": options.max_model_len or 1,
        "max_queue": max_queue + 1,
    }
    for name, value in limits.items():
        if value < 1:
            raise EngineStartError(f"{name} of the torch engine must be positive")
    return options, max_queue
