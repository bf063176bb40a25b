"""Receives commands and reports; hands on the bytes between the server and its torch process.

A message is its length, four bytes with the highest first, and a list in MessagePack.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
from msgspec import Struct

from inferneo_server.engines.base import DetailedDelta, Task

_LENGTH_BYTES = 4


class Options(Struct, frozen=True, kw_only=True):
    """How to load a model.

    Attributes:
        model: a Hugging Face id or a local path.
        device: `cpu`, `cuda`, `cuda:0` and so on; `auto` is the first GPU where there is one.
        dtype: of the weights and of the cache; `auto` is bfloat16 on a GPU, else float32.
        max_model_len: context in tokens; None is the model's own.
        max_num_seqs: choices that are written at once, at most.
    """

    model: str
    device: str = "auto"
    dtype: str = "auto"
    max_model_len: int | None = None
    max_num_seqs: int = 64


class Plan(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How to write one answer: the sampling fields, with the model's defaults filled in.

    Attributes:
        stop_token_ids: token ids that end a choice, beside the model's own.
        bad_words: token ids that may not follow each other.
        logprobs: of how many of the likeliest tokens to tell, None of none at all.
        structure: what the answer must fit: one name of what xgrammar compiles, and its value.
        compact: whether JSON is written without white space.
    """

    max_tokens: int
    streamed: bool = True
    choices: int = 1
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    seed: int | None = None
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    repetition_penalty: float = 1.0
    bias: dict[int, float] = {}
    allowed: list[int] | None = None
    bad_words: list[list[int]] = []
    min_tokens: int = 0
    stops: list[str] = []
    stop_token_ids: list[int] = []
    include_stop: bool = False
    ignore_eos: bool = False
    skip_special: bool = True
    logprobs: int | None = None
    prompt_logprobs: int | None = None
    structure: tuple[str, Any] | None = None
    compact: bool = False

    @property
    def penalised(self) -> bool:
        """Whether tokens that were written are less likely to be written again."""
        return bool(
            self.frequency_penalty or self.presence_penalty or self.repetition_penalty != 1.0
        )


class Write(Struct, frozen=True, kw_only=True, tag=True):
    """Write an answer; `key` is the request's number."""

    key: int
    token_ids: Sequence[int]
    plan: Plan


class Pool(Struct, frozen=True, kw_only=True, tag=True):
    """Embed or score prompts. `starts` tells of each where its second text begins, None of one
    text; `activation` whether the last step is done, `dimensions` how many numbers are kept."""

    key: int
    task: Task
    prompts: Sequence[Sequence[int]]
    starts: Sequence[int | None]
    activation: bool | None = None
    dimensions: int | None = None


class Abort(Struct, frozen=True, kw_only=True, tag=True):
    """Forget a request."""

    key: int


class Loaded(Struct, frozen=True, kw_only=True, tag=True):
    """The model is loaded.

    Attributes:
        vocabulary: how many token ids there are.
        defaults: what the model's generation_config.json says about sampling.
        vector_size: of the vectors of a model that embeds.
        shorter: lengths to which these may be cut; None where the model was not trained for any.
        shortable: whether they may be cut to any length.
        lower_case: whether the model reads lower case only.
        device: what it runs on.
    """

    tasks: Sequence[Task]
    max_model_len: int
    vocabulary: int
    defaults: dict[str, float]
    device: str
    vector_size: int = 0
    shorter: Sequence[int] = ()
    shortable: bool = False
    lower_case: bool = False


class NotLoaded(Struct, frozen=True, kw_only=True, tag=True):
    """The model cannot be loaded."""

    reason: str


class Accepted(Struct, frozen=True, kw_only=True, tag=True):
    """The grammar of a request is compiled."""

    key: int


class Step(Struct, frozen=True, kw_only=True, tag=True):
    """What one step wrote for a request."""

    key: int
    deltas: Sequence[DetailedDelta]


class Pooled(Struct, frozen=True, kw_only=True, tag=True):
    """Vectors of float32, or scores, one float32 each, in the order of the prompts."""

    key: int
    values: Sequence[bytes]


class Failed(Struct, frozen=True, kw_only=True, tag=True):
    """A request has failed; with a `param` it is that field's fault."""

    key: int
    message: str
    param: str | None = None


Command = Write | Pool | Abort
Report = Loaded | NotLoaded | Accepted | Step | Pooled | Failed

_encoder = msgspec.msgpack.Encoder()
_commands = msgspec.msgpack.Decoder(list[Command])
_reports = msgspec.msgpack.Decoder(list[Report])


def packed(messages: Sequence[Command] | Sequence[Report]) -> bytes:
    """The bytes of messages that go together."""
    body = _encoder.encode(messages)
    return len(body).to_bytes(_LENGTH_BYTES, "big") + body


class Unpacker:
    """Finds messages in bytes, however these were cut."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def bodies(self, data: bytes) -> Iterator[bytes]:
        """The bodies of the messages that are whole now."""
        self._buffer += data
        while len(self._buffer) >= _LENGTH_BYTES:
            end = _LENGTH_BYTES + int.from_bytes(self._buffer[:_LENGTH_BYTES], "big")
            if len(self._buffer) < end:
                return
            body = bytes(self._buffer[_LENGTH_BYTES:end])
            del self._buffer[:end]
            yield body

    def commands(self, data: bytes) -> Iterator[Command]:
        """The commands that are whole now."""
        for body in self.bodies(data):
            yield from _commands.decode(body)

    def reports(self, data: bytes) -> Iterator[Report]:
        """The reports that are whole now."""
        for body in self.bodies(data):
            yield from _reports.decode(body)
