"""Receives decoded requests; hands on a reader of what the engine already works on."""

import asyncio
from collections.abc import Awaitable, Sequence

from inferneo_core.chat import ChatCompletionRequest
from inferneo_core.completions import DEFAULT_MAX_TOKENS, CompletionRequest
from inferneo_core.errors import (
    ContextLengthExceeded,
    DeadlineExceeded,
    Draining,
    InvalidRequest,
)
from inferneo_core.sampling import MAX_CHOICES, SamplingFields
from inferneo_server.answers import AnswerForm, ChatForm, TextForm
from inferneo_server.engines.base import Engine, Prompt
from inferneo_server.engines.joined import submit_all
from inferneo_server.generation import Generation, Terms
from inferneo_server.registry import Registry
from inferneo_server.streams import Reader, Streams


class Service:
    """Checks a request, renders its prompt and submits it. All that can be refused is refused here,
    before the first byte of an answer.

    Attributes:
        streams: the generations that have readers, or may get one again.
        draining: set when the server is about to stop; new requests are refused from then on.
    """

    def __init__(self, registry: Registry, streams: Streams | None = None) -> None:
        self.registry = registry
        self.streams = streams or Streams()
        self.draining = False

    @property
    def busy(self) -> bool:
        """Whether an answer is still being written, or waited for by who was cut off from it."""
        return self.registry.running > 0 or self.streams.awaited

    async def begin(
        self, request: ChatCompletionRequest | CompletionRequest, terms: Terms | None = None
    ) -> Reader:
        """Begin to answer a request, or join the answer that the terms name.

        Raises:
            ApiError: the request is refused.
        """
        terms = terms or Terms()
        try:
            async with asyncio.timeout_at(terms.deadline):
                return await self.streams.begin(request, terms, lambda: self._make(request, terms))
        except TimeoutError:
            raise DeadlineExceeded from None

    def _make(
        self, request: ChatCompletionRequest | CompletionRequest, terms: Terms
    ) -> Awaitable[Generation]:
        # Not sooner: what had begun before may still be joined.
        if self.draining:
            raise Draining
        if isinstance(request, ChatCompletionRequest):
            return self._chat(request, terms)
        return self._complete(request, terms)

    async def _chat(self, request: ChatCompletionRequest, terms: Terms) -> Generation:
        engine = self.registry.engine(request.model)
        prompt = await engine.render_chat(
            request.messages, request.tools, request.chat_template_kwargs
        )
        max_tokens = request.max_completion_tokens or request.max_tokens
        _check_room([prompt], max_tokens, engine, param="messages")
        form = ChatForm(self.registry.name)
        return await self._submit(form, engine, request, terms, [prompt], max_tokens)

    async def _complete(self, request: CompletionRequest, terms: Terms) -> Generation:
        engine = self.registry.engine(request.model)
        prompts = [await engine.render_text(text) for text in _split_prompt(request.prompt)]
        if len(prompts) * (request.n or 1) > MAX_CHOICES:
            raise InvalidRequest(f"More than {MAX_CHOICES} prompts times n", param="prompt")
        max_tokens = request.max_tokens or DEFAULT_MAX_TOKENS
        _check_room(prompts, max_tokens, engine, param="prompt")
        form = TextForm(self.registry.name)
        return await self._submit(form, engine, request, terms, prompts, max_tokens)

    async def _submit(
        self,
        form: AnswerForm,
        engine: Engine,
        request: SamplingFields,
        terms: Terms,
        prompts: Sequence[Prompt],
        max_tokens: int | None,
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
            include_usage=bool(request.stream_options and request.stream_options.include_usage),
            terms=terms,
            log_bytes=self.streams.log_bytes,
        )


def _split_prompt(prompt: str | list[str | int | list[int]]) -> list[str | list[int]]:
    """The prompts of a request: one text, several, one list of token ids, or several."""
    if isinstance(prompt, str):
        return [prompt]
    texts = [part for part in prompt if isinstance(part, str)]
    ids = [part for part in prompt if isinstance(part, int)]
    lists = [part for part in prompt if isinstance(part, list)]
    if not prompt or [] in lists:
        raise InvalidRequest("Empty 'prompt'", param="prompt")
    if len(texts) == len(prompt):
        return [*texts]
    if len(ids) == len(prompt):
        return [ids]
    if len(lists) == len(prompt):
        return [*lists]
    raise InvalidRequest(
        "'prompt' must hold texts, token ids or lists of token ids, not a mixture", param="prompt"
    )


def _check_room(
    prompts: Sequence[Prompt], max_tokens: int | None, engine: Engine, *, param: str
) -> None:
    """Raise ContextLengthExceeded where a prompt leaves too little room for its answer."""
    for prompt in prompts:
        length = len(prompt.token_ids)
        if length + (max_tokens or 1) > engine.max_model_len:
            asked = f" and {max_tokens} more were asked for" if max_tokens else ""
            raise ContextLengthExceeded(
                f"The model's context is {engine.max_model_len} tokens; "
                f"the prompt has {length}{asked}",
                param=param,
            )
