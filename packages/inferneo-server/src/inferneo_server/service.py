"""Receives decoded requests; hands on a reader of what the engine already works on."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Sequence
from typing import Any

from inferneo_core.chat import ChatCompletionRequest
from inferneo_core.codec import encode
from inferneo_core.completions import CompletionRequest
from inferneo_core.errors import (
    ContextLengthExceeded,
    DeadlineExceeded,
    Draining,
    ModelNotFound,
)
from inferneo_core.models import Model
from inferneo_server.access.identity import Identity
from inferneo_server.admission import Demand, Queues, allowed_priority
from inferneo_server.checks import check_chat, check_room
from inferneo_server.engines.base import Task
from inferneo_server.generation import Generation, Terms
from inferneo_server.lease import Lease
from inferneo_server.registry import Registry
from inferneo_server.rendering import Wording, render_chat, render_completion
from inferneo_server.spending import Spending
from inferneo_server.streams import Reader, Streams
from inferneo_server.submission import submit

# Characters of a prompt that a log takes.
MAX_LOGGED_PROMPT = 10_000

logger = logging.getLogger(__name__)


class Service:
    """Checks a request, renders its prompt and submits it. All that can be refused is refused here,
    before the first byte of an answer.

    Attributes:
        streams: the generations that have readers, or may get one again.
        spending: what callers may spend, and what they have spent.
        queues: where requests wait for their turn.
        draining: set when the server is about to stop; new requests are refused from then on.
    """

    def __init__(
        self,
        registry: Registry,
        streams: Streams | None = None,
        spending: Spending | None = None,
        queues: Queues | None = None,
        *,
        log_prompts: bool = False,
    ) -> None:
        self._log_prompts = log_prompts
        self.registry = registry
        self.streams = streams or Streams()
        self.spending = spending or Spending()
        self.queues = queues or Queues()
        self.draining = False

    @property
    def busy(self) -> bool:
        """Whether an answer is still being written, or waited for by who was cut off from it."""
        return self.registry.busy or self.streams.awaited

    async def lease(self, model: str | None, identity: Identity, task: Task | None = None) -> Lease:
        """The engine of a model, for a request that is answered at once: `with` it until then.

        Raises:
            ApiError: the server is about to stop, who asks may not use the model, or as in
                `Registry.lease`.
        """
        if self.draining:
            raise Draining
        return await self._lease(model, identity, task)

    async def _lease(
        self, model: str | None, identity: Identity, task: Task | None = None
    ) -> Lease:
        # The one place where a request gets at an engine, whatever brought it.
        if identity.models is not None:
            name = self._name(model)
            identity.check_model(model or name, name)
        return await self.registry.lease(model, task)

    def _name(self, model: str | None) -> str:
        """The name of a model that may be asked for by another name; of none, what was given."""
        try:
            return self.registry.called(model)
        except ModelNotFound:
            return model or ""

    @contextlib.asynccontextmanager
    async def reading(
        self,
        lease: Lease,
        identity: Identity,
        lengths: Sequence[int],
        *,
        param: str,
        priority: int | None,
    ) -> AsyncIterator[None]:
        """Charge a request that only reads, and hold its turn for the block.

        Args:
            lease: the engine that it is for.
            identity: who asks.
            lengths: the tokens of each prompt.
            param: the field that holds the prompts.
            priority: what the request asks for.

        Raises:
            ApiError: the request is refused.
        """
        allowed = allowed_priority(priority, identity)
        async with self.spending.reading(identity, lease.name, lengths, param=param) as spend:
            tokens = sum(lengths)
            places = lease.engine.max_running
            demand = Demand(
                choices=min(len(lengths), places), prompt_tokens=tokens, priority=allowed
            )
            spend.place = await self.queues.of(lease.spec.name).enter(identity, demand, places)
            yield

    def note_prompt(self, asked: Any) -> None:
        """Log what a model is asked, where the settings want that."""
        if self._log_prompts:
            # As JSON: a line of the log stays a line.
            logger.info("Asked for: %.*s", MAX_LOGGED_PROMPT, encode(asked).decode())

    def models(self, identity: Identity) -> list[Model]:
        """The models that somebody may ask for now."""
        allowed = identity.models
        return [each for each in self.registry.models if allowed is None or each.id in allowed]

    def model(self, name: str, identity: Identity) -> Model:
        """The model of that name.

        Raises:
            ModelNotAllowed: who asks may not use it.
            ModelNotFound: there is none.
        """
        if identity.models is not None:
            identity.check_model(name, self._name(name))
        return self.registry.model(name)

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
            wording: how to word the answer, where not as OpenAI does.

        Raises:
            ApiError: the request is refused.
        """
        terms = terms or Terms()
        begun = self.streams.begin(
            wording.asked if wording else request,
            terms,
            lambda: self._make(request, terms, wording),
        )
        if terms.deadline is None:
            return await begun
        try:
            async with asyncio.timeout_at(terms.deadline):
                return await begun
        except TimeoutError:
            raise DeadlineExceeded from None

    async def count_tokens(self, request: ChatCompletionRequest, identity: Identity) -> int:
        """How many tokens the prompt of a chat request has, be it longer than the model's context;
        they are charged.

        Raises:
            ApiError: the request is refused.
        """
        with await self._lease(request.model, identity) as lease:
            prompt = await lease.engine.render_chat(check_chat(request), any_length=True)
            tokens = len(prompt.token_ids)
            async with self.spending.reading(identity, lease.name, [tokens]):
                return tokens

    async def chats(self, model: str | None, identity: Identity) -> bool:
        """Whether a model that writes was taught to answer messages.

        Raises:
            ApiError: as in `lease`.
        """
        with await self._lease(model, identity, "generate") as lease:
            return lease.engine.chats

    async def fits(self, request: ChatCompletionRequest, identity: Identity) -> bool:
        """Whether the model's context holds a chat request's prompt and answer.

        Raises:
            ApiError: the request is refused for another reason.
        """
        max_tokens = request.max_completion_tokens or request.max_tokens
        with await self._lease(request.model, identity) as lease:
            try:
                prompt = await lease.engine.render_chat(check_chat(request))
                check_room([prompt], max_tokens, lease.engine, param="messages")
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
        if isinstance(request, ChatCompletionRequest):
            self.note_prompt(request.messages)
        else:
            self.note_prompt(request.prompt)
        return self._generate(request, terms, wording)

    async def _generate(
        self,
        request: ChatCompletionRequest | CompletionRequest,
        terms: Terms,
        wording: Wording | None,
    ) -> Generation:
        # Held until the engine counts the request itself.
        with await self._lease(request.model, terms.identity, "generate") as lease:
            if isinstance(request, ChatCompletionRequest):
                submission = await render_chat(lease, request, wording)
            else:
                submission = await render_completion(lease, request, wording)
            return await submit(
                submission,
                lease,
                terms,
                spending=self.spending,
                queues=self.queues,
                log_bytes=self.streams.log_bytes,
            )
