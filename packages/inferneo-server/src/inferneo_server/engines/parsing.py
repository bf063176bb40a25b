"""Receives nothing; hands on the contract of what finds tool calls and reasoning in an answer."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

from msgspec import Struct

from inferneo_core.chat import ToolCallDelta

if TYPE_CHECKING:
    from inferneo_server.engines.base import Delta


class Asked(Struct, kw_only=True):
    """What a parser asks of the text that it is to read; None where it may be as it is.

    Attributes:
        structured_outputs: what the text must fit, as in a request.
        skip_special_tokens: whether special tokens are left out.
    """

    structured_outputs: Any = None
    skip_special_tokens: bool | None = None


class Parsed(Struct, kw_only=True):
    """What a piece of text turns out to be. Content stands behind what a call that has begun before
    gets, and before the calls that begin here."""

    content: str = ""
    reasoning: str = ""
    tool_calls: list[ToolCallDelta] = []

    @property
    def says(self) -> bool:
        """Whether there is anything to tell."""
        return bool(self.content or self.reasoning or self.tool_calls)


class Parser(Protocol):
    """Reads one choice, as it comes or at its end.

    Attributes:
        reasoning_tokens: how many of its tokens were reasoning.
    """

    @property
    def reasoning_tokens(self) -> int: ...

    def feed(self, delta: "Delta") -> Parsed:
        """Read the next delta."""
        ...

    def whole(self, text: str, token_ids: Sequence[int]) -> Parsed:
        """Read all of the choice at once."""
        ...


class Parsing(Protocol):
    """How the answer to one request is to be read.

    Attributes:
        reasons: whether the model may reason.
    """

    @property
    def reasons(self) -> bool: ...

    def parser(self) -> Parser:
        """A parser for one choice."""
        ...
