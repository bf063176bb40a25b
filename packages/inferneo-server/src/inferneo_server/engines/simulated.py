"""Receives token ids; hands on deltas by a script: for unit tests, and load tests without a model.

Deterministic: the same prompt and seed give the same words. A prompt is split into words, one
token each, so that counts are easy to foretell.
"""

import asyncio
import contextlib
import zlib
from collections.abc import Sequence, Set

from msgspec import Struct

from inferneo_core.chat import ChatCompletionRequest, TextPart
from inferneo_core.errors import EngineUnavailable, InvalidRequest
from inferneo_core.sampling import SamplingFields
from inferneo_server.engines.base import Cut, EngineStartError, PoolingOptions, Prompt, Task, Vector
from inferneo_server.engines.parsing import Parsing
from inferneo_server.engines.simulated_vectors import agreement, shortened_ids, vector

VOCABULARY = ["a", "stream", "of", "words", "that", "no", "model", "wrote", "only", "counted"]
VOCABULARY_SIZE = 8192
DEFAULT_WORDS = 32


class SimulatedDelta(Struct, frozen=True, kw_only=True):
    """See `engines.base.Delta`."""

    index: int
    text: str
    token_ids: list[int]
    finish_reason: str | None = None
    stop_reason: str | None = None


class SimulatedEngine:
    """An engine without a model.

    Args:
        max_model_len: context in tokens.
        first_token_seconds: silence before the first step.
        token_seconds: silence before each later step.
        words: how long an answer is, where `max_tokens` and `ignore_eos` do not say otherwise.
        start_seconds: how long `start` takes.
        start_error: why `start` fails; it does not, where this is None.
        fail_after_tokens: tokens of a choice after which its request fails; None never does.
        vocabulary: the words that it writes, one after another.
        tasks: what it says that it can do.
        chats: whether it says that it has a chat template.
        vector_size: how many dimensions its vectors have.
        matryoshka: whether they may be shortened.

    Raises:
        ValueError: the vocabulary is empty.
    """

    def __init__(
        self,
        *,
        max_model_len: int = 16_384,
        max_running: int = 4096,
        first_token_seconds: float = 0.0,
        token_seconds: float = 0.0,
        words: int = DEFAULT_WORDS,
        start_seconds: float = 0.0,
        start_error: str | None = None,
        fail_after_tokens: int | None = None,
        vocabulary: Sequence[str] = VOCABULARY,
        tasks: Sequence[Task] = ("generate", "embed"),
        chats: bool = True,
        vector_size: int = 384,
        matryoshka: bool = True,
    ) -> None:
        if isinstance(vocabulary, str) or not vocabulary:
            raise ValueError("'vocabulary' must be a list of words")
        self.tasks: Set[Task] = frozenset(tasks)
        self.chats = chats
        self.vector_size = vector_size
        self.matryoshka = matryoshka
        self.max_model_len = max_model_len
        self.max_running = max_running
        self.first_token_seconds = first_token_seconds
        self.token_seconds = token_seconds
        self.words = words
        self.fail_after_tokens = fail_after_tokens
        self.vocabulary = vocabulary
        self._start_seconds = start_seconds
        self._start_error = start_error
        self._failure: asyncio.Future[str] | None = None
        self._streams: set[SimulatedStream] = set()
        self._pooled = 0
        self.asleep = False

    @property
    def running(self) -> int:
        # A copy: metrics are read by another thread.
        return self._pooled + sum(stream.unfinished for stream in tuple(self._streams))

    async def start(self) -> None:
        await asyncio.sleep(self._start_seconds)
        if self._start_error:
            raise EngineStartError(self._start_error)
        self._failure = asyncio.get_running_loop().create_future()

    def fail(self, reason: str) -> None:
        """Die as an engine dies: running streams fail and `wait_failed` returns."""
        if self._failure is not None and not self._failure.done():
            self._failure.set_result(reason)
        for stream in tuple(self._streams):
            stream.fail()

    async def wait_failed(self) -> str:
        if self._failure is None:
            return "The engine was not started"
        return await asyncio.shield(self._failure)

    async def render_chat(
        self,
        request: ChatCompletionRequest,
        *,
        special_tokens: bool = False,
        any_length: bool = False,
    ) -> Prompt:
        texts = [
            message.content
            if isinstance(message.content, str)
            else " ".join(part.text for part in message.content or () if isinstance(part, TextPart))
            for message in request.messages
        ]
        return await self.render_text(" ".join(texts))

    async def render_text(self, prompt: str | Sequence[int]) -> Prompt:
        if isinstance(prompt, str):
            prompt = _token_ids(prompt) or [0]
        if not prompt:
            raise InvalidRequest("The prompt is empty", param="prompt")
        _check_vocabulary(prompt, "prompt")
        return Prompt(token_ids=prompt)

    async def tokenize(
        self, texts: Sequence[str], *, special_tokens: bool = True, cut: Cut | None = None
    ) -> list[Sequence[int]]:
        return [shortened_ids(_token_ids(text), cut) for text in texts]

    async def render_pair(self, query: str, document: str, *, cut: Cut | None = None) -> Prompt:
        first, second = _token_ids(query), shortened_ids(_token_ids(document), cut)
        return Prompt(token_ids=[*first, *second], rendered=len(first))

    async def shortened(self, texts: Sequence[str], tokens: int) -> list[str]:
        return [" ".join(text.split()[:tokens]) for text in texts]

    async def render_infill(self, prefix: str, suffix: str) -> Prompt:
        raise InvalidRequest("The simulated engine fills no gaps", param="suffix")

    def token_texts(self, token_ids: Sequence[int]) -> list[str]:
        return [self.detokenize([token_id]) for token_id in token_ids]

    def pieces(self, token_ids: Sequence[int]) -> list[str]:
        _check_vocabulary(token_ids, "tokens")
        return self.token_texts(token_ids)

    def detokenize(self, token_ids: Sequence[int]) -> str:
        _check_vocabulary(token_ids, "prompt")
        return " ".join(VOCABULARY[token_id % len(VOCABULARY)] for token_id in token_ids)

    def parsing(self, request: ChatCompletionRequest, prompt: Prompt) -> None:
        return None

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
    ) -> "SimulatedStream":
        if logprobs is not None or sampling.prompt_logprobs is not None:
            raise InvalidRequest("The simulated engine has no logprobs", param="logprobs")
        if self._failure is None or self._failure.done():
            raise EngineUnavailable("The engine has stopped")
        length = max_tokens if sampling.ignore_eos else min(self.words, max_tokens)
        stream = SimulatedStream(
            self,
            # An adapter begins elsewhere among the words.
            seed=sum(prompt.token_ids) + (sampling.seed or 0) + len(adapter or ""),
            length=length,
            finish_reason="length" if length == max_tokens else "stop",
            choices=sampling.n or 1,
            streamed=streamed,
        )
        self._streams.add(stream)
        return stream

    async def embed(
        self, request_id: str, prompts: Sequence[Prompt], options: PoolingOptions
    ) -> Sequence[Vector]:
        if options.dimensions is not None and not (
            self.matryoshka and options.dimensions <= self.vector_size
        ):
            raise InvalidRequest("The vectors cannot be shortened so", param="dimensions")
        await self._pool(len(prompts))
        size = options.dimensions or self.vector_size
        return [vector(prompt.token_ids, size, self.vector_size) for prompt in prompts]

    async def score(
        self, request_id: str, prompts: Sequence[Prompt], options: PoolingOptions
    ) -> Sequence[float]:
        await self._pool(len(prompts))
        return [agreement(prompt.token_ids, prompt.rendered) for prompt in prompts]

    async def _pool(self, prompts: int) -> None:
        """Take as long over prompts as to the first token of an answer."""
        if self._failure is None or self._failure.done():
            raise EngineUnavailable("The engine has stopped")
        self._pooled += prompts
        try:
            if not self.first_token_seconds:
                # Others get their turn even where no time passes.
                await asyncio.sleep(0)
            elif (await asyncio.wait([self._failure], timeout=self.first_token_seconds))[0]:
                raise EngineUnavailable("The engine has died")
        finally:
            self._pooled -= prompts

    def forget(self, stream: "SimulatedStream") -> None:
        """A stream has ended."""
        self._streams.discard(stream)

    def check_sleep(self) -> None:
        """It can."""

    async def sleep(self, level: int) -> None:
        self.asleep = True

    async def wake(self) -> None:
        self.asleep = False

    async def aclose(self) -> None:
        self.fail("The engine was closed")


def _token_ids(text: str) -> list[int]:
    """One token for each word."""
    return [zlib.crc32(word.encode()) % VOCABULARY_SIZE for word in text.split()]


def _check_vocabulary(token_ids: Sequence[int], param: str) -> None:
    if token_ids and max(token_ids) >= VOCABULARY_SIZE:
        raise InvalidRequest(f"Token id {max(token_ids)} is out of vocabulary", param=param)


class SimulatedStream:
    """The scripted deltas of one prompt."""

    def __init__(
        self,
        engine: SimulatedEngine,
        *,
        seed: int,
        length: int,
        finish_reason: str,
        choices: int,
        streamed: bool,
    ) -> None:
        self._engine = engine
        self._seed = seed
        self._length = length
        self._finish_reason = finish_reason
        self._choices = choices
        self._streamed = streamed
        self._written = 0
        self._failed = asyncio.Event()
        self.cached_tokens = 0

    @property
    def unfinished(self) -> int:
        """Choices that are still being written."""
        return self._choices if self._written < self._length else 0

    def __aiter__(self) -> "SimulatedStream":
        return self

    async def __anext__(self) -> Sequence[SimulatedDelta]:
        if self._written >= self._length:
            raise StopAsyncIteration
        step = 1 if self._streamed else self._length
        await self._pause(step)
        first, self._written = self._written, self._written + step
        if self._engine.fail_after_tokens is not None and first >= self._engine.fail_after_tokens:
            await self.aclose()
            raise EngineUnavailable("The engine has died")
        last = self._written >= self._length
        if last:
            self._engine.forget(self)
        return [self._delta(index, first, step, last) for index in range(self._choices)]

    async def _pause(self, step: int) -> None:
        engine = self._engine
        silence = (step - 1) * engine.token_seconds
        silence += engine.token_seconds if self._written else engine.first_token_seconds
        if silence:
            # Not `wait_for`, which swallows a cancellation that comes together with the failure.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(silence):
                    await self._failed.wait()
        else:
            # Others get their turn even where no time passes.
            await asyncio.sleep(0)
        if self._failed.is_set():
            raise EngineUnavailable("The engine has died")

    def _delta(self, index: int, first: int, step: int, last: bool) -> SimulatedDelta:
        vocabulary = self._engine.vocabulary
        token_ids = [
            (self._seed + index + position) % len(vocabulary)
            for position in range(first, first + step)
        ]
        words = " ".join(vocabulary[token_id] for token_id in token_ids)
        return SimulatedDelta(
            index=index,
            text=f" {words}" if first else words,
            token_ids=token_ids,
            finish_reason=self._finish_reason if last else None,
        )

    def fail(self) -> None:
        """The engine died."""
        self._failed.set()

    async def aclose(self) -> None:
        self._written = self._length
        self._engine.forget(self)
