"""Receives nothing; hands on the contract of an engine; `tests/contract` runs over each one."""

from collections.abc import Sequence, Set
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

from msgspec import Struct

from inferneo_core.chat import ChatCompletionRequest
from inferneo_core.logprobs import PromptLogprobs, TokenLogprob
from inferneo_core.sampling import SamplingFields, Side
from inferneo_server.engines.parsing import Parsing

Task = Literal["generate", "embed", "score"]

# Numbers of single precision in the machine's order of bytes. Python 3.11 cannot say so.
if TYPE_CHECKING:
    Vector = memoryview[float]
else:
    Vector = memoryview


class Prompt(Struct, frozen=True, kw_only=True):
    """A prompt as the model reads it; `rendered` is the engine's own form of it."""

    token_ids: Sequence[int]
    rendered: Any = None


class Cut(Struct, frozen=True, kw_only=True):
    """How to shorten a text: to so many tokens, special ones included; `side` is what goes."""

    tokens: int
    side: Side = "right"


class PoolingOptions(Struct, frozen=True, kw_only=True):
    """How to embed or score.

    Attributes:
        dimensions: how many of the first ones a vector keeps; None keeps all.
        activation: whether the model's last step (normalising, a sigmoid) is done; None is the
            model's own way.
        priority: of what waits, the lower comes first.
    """

    dimensions: int | None = None
    activation: bool | None = None
    priority: int = 0


class Delta(Protocol):
    """What one engine step adds to one choice.

    Attributes:
        index: the choice, 0 to n - 1.
        text: new text; empty while a character is incomplete or may begin a stop string.
        token_ids: new tokens.
        finish_reason: `stop` or `length` on the choice's last delta, else None.
        stop_reason: the stop text or token id that ended the choice, if one did.
    """

    @property
    def index(self) -> int: ...
    @property
    def text(self) -> str: ...
    @property
    def token_ids(self) -> Sequence[int]: ...
    @property
    def finish_reason(self) -> str | None: ...
    @property
    def stop_reason(self) -> int | str | None: ...


class DetailedDelta(Struct, frozen=True, kw_only=True):
    """A delta with the logprobs of its tokens, and, the first of a choice, those of the prompt."""

    index: int
    text: str
    token_ids: Sequence[int]
    finish_reason: str | None = None
    stop_reason: int | str | None = None
    logprobs: Sequence[TokenLogprob] | None = None
    prompt_logprobs: PromptLogprobs | None = None


class DeltaStream(Protocol):
    """The deltas of one prompt, those of one engine step together; it ends with the last choice.
    A step has one delta at least.

    Attributes:
        cached_tokens: tokens of the prompt that were found in the prefix cache; known from the
            first step on.
    """

    @property
    def cached_tokens(self) -> int: ...

    def __aiter__(self) -> "DeltaStream": ...

    async def __anext__(self) -> Sequence[Delta]:
        """Wait for the next step.

        Raises:
            EngineUnavailable: the engine died.
            ServerError: the engine failed on this request.
        """
        ...

    async def aclose(self) -> None:
        """Abort what still runs. Idempotent, and safe while no `__anext__` is waiting."""
        ...


class Engine(Protocol):
    """Runs one model.

    Attributes:
        tasks: what the model can do: write, give vectors, or score pairs of texts itself.
        chats: whether the model has a chat template, in whose form it was taught to answer.
        max_model_len: the model's context in tokens, prompt and answer together.
        max_running: choices, or inputs to embed or score, that the engine runs side by side; more
            than these wait in its own queue.
        running: choices, and inputs to embed or score, that the engine is working on or holds in
            its queue.
    """

    @property
    def tasks(self) -> Set[Task]: ...
    @property
    def chats(self) -> bool: ...
    @property
    def max_model_len(self) -> int: ...
    @property
    def max_running(self) -> int: ...
    @property
    def running(self) -> int: ...

    async def start(self) -> None:
        """Load the model; returns when it can serve.

        Raises:
            EngineStartError: the model cannot be loaded; the message says why.
        """
        ...

    async def wait_failed(self) -> str:
        """Wait until the engine cannot serve any more, and say why."""
        ...

    async def render_chat(
        self,
        request: ChatCompletionRequest,
        *,
        special_tokens: bool = False,
        any_length: bool = False,
    ) -> Prompt:
        """Render a conversation by the model's chat template, with the tools that may be called.

        With `special_tokens` the tokenizer adds its own to those that the template writes, with
        `any_length` it may be longer than the model's context.

        Raises:
            InvalidRequest: the template refuses the conversation.
            ContextLengthExceeded: as in `render_text`.
        """
        ...

    async def render_text(self, prompt: str | Sequence[int]) -> Prompt:
        """Take a text, with the special tokens that the model begins a text with, or token ids.

        Raises:
            InvalidRequest: the prompt is empty, or a token id is not in the model's vocabulary.
            ContextLengthExceeded: the prompt alone fills the model's context. An engine need not
                count that far; its caller does.
        """
        ...

    async def render_infill(self, prefix: str, suffix: str) -> Prompt:
        """Render a gap to be filled.

        Raises:
            InvalidRequest: the model's tokenizer has no tokens for that.
        """
        ...

    async def tokenize(
        self, texts: Sequence[str], *, special_tokens: bool = True, cut: Cut | None = None
    ) -> list[Sequence[int]]:
        """The token ids of each text, with the special tokens that the model reads a text with.

        Raises:
            InvalidRequest: nothing of a text is left after the cut.
        """
        ...

    async def render_pair(self, query: str, document: str, *, cut: Cut | None = None) -> Prompt:
        """Render a pair of texts to be scored.

        Raises:
            InvalidRequest: the model scores no pairs.
        """
        ...

    async def shortened(self, texts: Sequence[str], tokens: int) -> list[str]:
        """The beginning of each text that has so many tokens, special ones not counted."""
        ...

    def token_texts(self, token_ids: Sequence[int]) -> list[str]:
        """The text of each token by itself."""
        ...

    def pieces(self, token_ids: Sequence[int]) -> list[str]:
        """Each token as the vocabulary spells it.

        Raises:
            InvalidRequest: a token id is not in the vocabulary.
        """
        ...

    def detokenize(self, token_ids: Sequence[int]) -> str:
        """The text of token ids.

        Raises:
            InvalidRequest: a token id is not in the vocabulary.
        """
        ...

    def parsing(self, request: ChatCompletionRequest, prompt: Prompt) -> Parsing | None:
        """How to find tool calls and reasoning in the answer to a request; None where there are
        none to be found.

        Raises:
            InvalidRequest: the model cannot call tools as the request wants it to.
        """
        ...

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
        """Hand a prompt to the engine. What is not `streamed` comes as one step at the end.

        With `logprobs`, or where the sampling asks for those of the prompt, the deltas are
        DetailedDeltas. `adapter` is the name of one that the engine was started with.

        Raises:
            InvalidRequest: the engine refuses the parameters.
            Overloaded: the engine's queue is full.
            EngineUnavailable: the engine is dead.
        """
        ...

    async def embed(
        self, request_id: str, prompts: Sequence[Prompt], options: PoolingOptions
    ) -> Sequence[Vector]:
        """Embed prompts: a vector of float32 for each, in their order. Cancelling aborts.

        Raises:
            InvalidRequest: the engine refuses the options, or a prompt is too long for it.
            Overloaded: the engine's queue is full.
            EngineUnavailable: the engine is dead, or died.
            ServerError: the engine failed on this request.
        """
        ...

    async def score(
        self, request_id: str, prompts: Sequence[Prompt], options: PoolingOptions
    ) -> Sequence[float]:
        """Score rendered pairs, in their order. Cancelling aborts.

        Raises:
            ApiError: as in `embed`.
        """
        ...

    async def aclose(self) -> None:
        """Stop the engine and end its processes. Idempotent; running streams fail."""
        ...


@runtime_checkable
class Sleeper(Protocol):
    """An engine that can give the memory of its device back and keep its process."""

    def check_sleep(self) -> None:
        """Say whether it can, as it was started.

        Raises:
            InvalidRequest: it cannot; the message says what that needs.
        """
        ...

    async def sleep(self, level: int) -> None:
        """Give the key-value cache up, and move the weights to the host's memory (level 1) or drop
        them (level 2). Nothing may run."""
        ...

    async def wake(self) -> None:
        """Serve again."""
        ...


class EngineStartError(Exception):
    """The engine cannot be started; the message is for the operator."""
