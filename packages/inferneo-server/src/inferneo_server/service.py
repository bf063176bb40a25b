"""Receives decoded requests; hands on a reader of what the engine already works on."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

import msgspec

from inferneo_core.chat import ChatCompletionRequest, NamedTool
from inferneo_core.codec import encode
from inferneo_core.completions import DEFAULT_MAX_TOKENS, CompletionRequest
from inferneo_core.errors import ContextLengthExceeded, DeadlineExceeded, Draining
from inferneo_core.sampling import SamplingFields, StreamOptions
from inferneo_server.answers.base import AnswerForm
from inferneo_server.answers.chat import ChatDetails, ChatForm, DetailedChatForm
from inferneo_server.answers.text import DetailedTextForm, TextDetails, TextForm
from inferneo_server.checks import check_chat, check_room, check_text, split_prompt
from inferneo_server.engines.base import Engine, Prompt, Task
from inferneo_server.engines.joined import submit_all
from inferneo_server.engines.parsing import Parsing
from inferneo_server.generation import Generation, Terms
from inferneo_server.registry import Registry
from inferneo_server.streams import Reader, Streams

# Characters of a prompt that a log takes.
MAX_LOGGED_PROMPT = 10_000

logger = logging.getLogger(__name__)


class Wording(msgspec.Struct, frozen=True, kw_only=True):
    """How another route's request, which was translated into a chat request, is answered.

    Attributes:
        asked: the request as it was sent: what repeats are known by.
        form: makes the form of the answer, for a model's name and what is to be told.
    """

    asked: msgspec.Struct
    form: Callable[[str, ChatDetails], AnswerForm]


class Service:
    """Checks a request, renders its prompt and submits it. All that can be refused is refused here,
    before the first byte of an answer.

    Attributes:
        streams: the generations that have readers, or may get one again.
        draining: set when the server is about to stop; new requests are refused from then on.
    """

    def __init__(
        self, registry: Registry, streams: Streams | None = None, *, log_prompts: bool = False
    ) -> None:
        self._log_prompts = log_prompts
        self.registry = registry
        self.streams = streams or Streams()
        self.draining = False

    @property
    def busy(self) -> bool:
        """Whether an answer is still being written, or waited for by who was cut off from it."""
        return self.registry.running > 0 or self.streams.awaited

    def engine(self, model: str | None, task: Task | None = None) -> Engine:
        """The engine of a model, for a request that is answered at once.

        Raises:
            ApiError: the server is about to stop, or as in `Registry.engine`.
        """
        if self.draining:
            raise Draining
        return self.registry.engine(model, task)

    async def begin(
        self,
        request: ChatCompletionRequest | CompletionRequest,
        terms: Terms | None = None,
        wording: Wording | None = None,
    ) -> Reader:
        """Begin to answer a request, or join the answer that the terms name.

        Args:
            request: what the model is asked.
            terms: what is asked for beside the answer.
            wording: how to word the answer to a chat request, where not as a chat's.

        Raises:
            ApiError: the request is refused.
        """
        terms = terms or Terms()
        try:
            async with asyncio.timeout_at(terms.deadline):
                return await self.streams.begin(
                    wording.asked if wording else request,
                    terms,
                    lambda: self._make(request, terms, wording),
                )
        except TimeoutError:
            raise DeadlineExceeded from None

    async def count_tokens(self, request: ChatCompletionRequest) -> int:
        """How many tokens the prompt of a chat request has.

        Raises:
            ApiError: the request is refused.
        """
        engine = self.registry.engine(request.model)
        return len((await engine.render_chat(check_chat(request))).token_ids)

    async def fits(self, request: ChatCompletionRequest) -> bool:
        """Whether the model's context holds a chat request's prompt and answer.

        Raises:
            ApiError: the request is refused for another reason.
        """
        engine = self.registry.engine(request.model)
        max_tokens = request.max_completion_tokens or request.max_tokens
        try:
            prompt = await engine.render_chat(check_chat(request))
            check_room([prompt], max_tokens, engine, param="messages")
        except ContextLengthExceeded:
            return False
        return True

    def _make(
        self,
        request: ChatCompletionRequest | CompletionRequest,
        terms: Terms,
        wording: Wording | None,
    ) -> Awaitable[Generation]:
        # Not sooner: what had begun before may still be joined.
        if self.draining:
            raise Draining
        if self._log_prompts:
            _log_prompt(request)
        if isinstance(request, ChatCompletionRequest):
            return self._chat(request, terms, wording)
        return self._complete(request, terms)

    async def _chat(
        self, request: ChatCompletionRequest, terms: Terms, wording: Wording | None
    ) -> Generation:
        engine = self.registry.engine(request.model, "generate")
        request = check_chat(request)
        max_tokens = request.max_completion_tokens or request.max_tokens
        prompt = await engine.render_chat(request)
        prompt = await _truncated(engine, prompt, request, max_tokens)
        check_room([prompt], max_tokens, engine, param="messages")
        parsing = engine.parsing(request, prompt)
        details = ChatDetails(
            parsing=parsing,
            logprobs=bool(request.logprobs),
            token_ids=bool(request.return_token_ids),
            prompt_token_ids=prompt.token_ids,
            prompt_logprobs=request.prompt_logprobs is not None,
            continuous_usage=_options(request).continuous_usage_stats is True,
            named=isinstance(request.tool_choice, NamedTool),
        )
        form = self._chat_form(details, wording)
        logprobs = (request.top_logprobs or 0) if request.logprobs else None
        return await self._submit(
            form, engine, request, terms, [prompt], max_tokens, logprobs=logprobs, parsing=parsing
        )

    def _chat_form(self, details: ChatDetails, wording: Wording | None) -> AnswerForm:
        name = self.registry.name
        if wording is not None:
            return wording.form(name, details)
        return DetailedChatForm(name, details) if details.any else ChatForm(name)

    async def _complete(self, request: CompletionRequest, terms: Terms) -> Generation:
        engine = self.registry.engine(request.model, "generate")
        texts = split_prompt(request.prompt)
        check_text(request, len(texts))
        # Nothing at all cannot be asked for: one token is written, and not told.
        unwritten = request.max_tokens == 0
        max_tokens = 1 if unwritten else request.max_tokens or DEFAULT_MAX_TOKENS
        if request.suffix is None:
            prompts = [await engine.render_text(text) for text in texts]
        else:
            [text] = texts
            before = text if isinstance(text, str) else engine.detokenize(text)
            prompts = [await engine.render_infill(before, request.suffix)]
        prompts = [await _truncated(engine, prompt, request, max_tokens) for prompt in prompts]
        check_room(prompts, max_tokens, engine, param="prompt")
        choices = request.n or 1
        details = TextDetails(
            logprobs=request.logprobs,
            prompt_token_ids=[prompt.token_ids for prompt in prompts],
            prompt_logprobs=request.prompt_logprobs is not None,
            token_ids=bool(request.return_token_ids),
            continuous_usage=_options(request).continuous_usage_stats is True,
            unwritten=unwritten,
            choices=choices,
            best_of=request.best_of or choices,
        )
        logprobs = request.logprobs
        if details.best_of > choices:
            # They are ranked by the logprobs of their tokens.
            request = msgspec.structs.replace(request, n=details.best_of)
            logprobs = logprobs or 0
        if request.echo:
            details = _echoing(details, engine, prompts, texts)
            if logprobs is not None and request.prompt_logprobs is None:
                request = msgspec.structs.replace(request, prompt_logprobs=logprobs)
        name = self.registry.name
        form = DetailedTextForm(name, details) if details.any else TextForm(name)
        return await self._submit(
            form, engine, request, terms, prompts, max_tokens, logprobs=logprobs
        )

    async def _submit(
        self,
        form: AnswerForm,
        engine: Engine,
        request: SamplingFields,
        terms: Terms,
        prompts: Sequence[Prompt],
        max_tokens: int | None,
        *,
        logprobs: int | None = None,
        parsing: Parsing | None = None,
    ) -> Generation:
        choices = request.n or 1
        stream = await submit_all(
            (
                engine.submit(
                    f"{form.id}-{number}",
                    prompt,
                    request,
                    max_tokens=max_tokens or engine.max_model_len - len(prompt.token_ids),
                    streamed=bool(request.stream),
                    logprobs=logprobs,
                    parsing=parsing,
                )
                for number, prompt in enumerate(prompts)
            ),
            choices,
        )
        return Generation(
            form,
            stream,
            choices=len(prompts) * choices,
            prompt_tokens=sum(len(prompt.token_ids) for prompt in prompts),
            streamed=bool(request.stream),
            # Named events end with one that tells the usage, asked for or not.
            include_usage=form.named or _options(request).include_usage is True,
            terms=terms,
            log_bytes=self.streams.log_bytes,
        )


def _log_prompt(request: ChatCompletionRequest | CompletionRequest) -> None:
    asked = request.messages if isinstance(request, ChatCompletionRequest) else request.prompt
    # As JSON: a line of the log stays a line.
    logger.info("Asked for: %.*s", MAX_LOGGED_PROMPT, encode(asked).decode())


def _options(request: SamplingFields) -> StreamOptions:
    return request.stream_options or _NO_OPTIONS


async def _truncated(
    engine: Engine, prompt: Prompt, request: SamplingFields, max_tokens: int | None
) -> Prompt:
    """The end of a prompt, where the request asks for no more of it."""
    kept = request.truncate_prompt_tokens
    if kept is None:
        return prompt
    room = engine.max_model_len - (max_tokens or 1)
    kept = room if kept < 0 else min(kept, room)
    if len(prompt.token_ids) <= kept:
        return prompt
    return await engine.render_text(prompt.token_ids[-kept:] if kept else ())


def _echoing(
    details: TextDetails,
    engine: Engine,
    prompts: Sequence[Prompt],
    texts: Sequence[str | Sequence[int]],
) -> TextDetails:
    echoed = [
        text if isinstance(text, str) else engine.detokenize(prompt.token_ids)
        for text, prompt in zip(texts, prompts, strict=True)
    ]
    tokens = [
        engine.token_texts(prompt.token_ids) if details.logprobs is not None else []
        for prompt in prompts
    ]
    return msgspec.structs.replace(details, prompts=echoed, prompt_tokens=tokens)


_NO_OPTIONS = StreamOptions()
