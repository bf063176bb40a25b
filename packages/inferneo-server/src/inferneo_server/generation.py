"""Receives an engine's deltas; hands on one request's encoded events, or its whole answer."""

import time
from collections.abc import AsyncIterator

from inferneo_core.usage import PromptTokensDetails, Usage
from inferneo_server.answers import AnswerForm, Choice, finish_reason
from inferneo_server.engines.base import DeltaStream
from inferneo_server.metrics import COMPLETION_TOKENS, FIRST_TOKEN_SECONDS, PROMPT_TOKENS


class Generation:
    """The work of an engine on one request. It is read once: as `events` or as an `answer`.

    Args:
        form: how the answer is worded.
        stream: the deltas of all choices.
        choices: how many there are.
        prompt_tokens: tokens of all prompts.
        include_usage: whether the events end with the usage.
    """

    def __init__(
        self,
        form: AnswerForm,
        stream: DeltaStream,
        *,
        choices: int,
        prompt_tokens: int,
        include_usage: bool,
    ) -> None:
        self.form = form
        self.completion_tokens = 0
        self.prompt_tokens = prompt_tokens
        self._stream = stream
        self._choices = choices
        self._include_usage = include_usage
        self._began = time.perf_counter()
        self._closed = False

    @property
    def id(self) -> str:
        """The id of the answer."""
        return self.form.id

    async def events(self) -> AsyncIterator[list[bytes]]:
        """Encoded events; those of one engine step come together, to be written together.

        Raises:
            ServerError: the engine failed in mid-answer.
        """
        form = self.form
        yield [event for index in range(self._choices) for event in form.opening(index)]
        async for deltas in self._stream:
            if not self.completion_tokens:
                FIRST_TOKEN_SECONDS.observe(time.perf_counter() - self._began)
            events = []
            for delta in deltas:
                self.completion_tokens += len(delta.token_ids)
                events += form.chunks(delta)
            if events:
                yield events
        if self._include_usage:
            yield [form.usage_chunk(self.usage())]

    async def answer(self) -> bytes:
        """The whole answer, encoded.

        Raises:
            ServerError: the engine failed.
        """
        choices = [Choice() for _ in range(self._choices)]
        async for deltas in self._stream:
            for delta in deltas:
                self.completion_tokens += len(delta.token_ids)
                choice = choices[delta.index]
                choice.parts.append(delta.text)
                if reason := finish_reason(delta):
                    choice.finish_reason = reason
        return self.form.whole(choices, self.usage())

    def usage(self) -> Usage:
        """Tokens read and written so far."""
        return Usage(
            prompt_tokens=self.prompt_tokens,
            completion_tokens=self.completion_tokens,
            total_tokens=self.prompt_tokens + self.completion_tokens,
            prompt_tokens_details=PromptTokensDetails(cached_tokens=self._stream.cached_tokens),
        )

    async def aclose(self) -> None:
        """Abort what the engine still does for it. Idempotent."""
        if not self._closed:
            self._closed = True
            PROMPT_TOKENS.inc(self.prompt_tokens)
            COMPLETION_TOKENS.inc(self.completion_tokens)
            await self._stream.aclose()
