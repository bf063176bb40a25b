"""Receives a whole answer and a type; hands on what the model wrote, as that type."""

from typing import Any, Generic, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from inferneo_client._errors import UnparsableAnswer
from inferneo_client._tools import parse_as
from inferneo_client.types.chat import ChatChoice, ChatCompletion

T = TypeVar("T")


class ParsedCompletion(Struct, Generic[T], frozen=True):
    """An answer of the type that was asked for.

    Attributes:
        parsed: what the first choice says.
        completion: the answer as it came.
    """

    parsed: T
    completion: ChatCompletion

    @property
    def choices(self) -> list[ChatChoice]:
        """The answer's choices; the first one's message has what was parsed, too."""
        return self.completion.choices


def parsed(completion: ChatCompletion, kind: type[T]) -> ParsedCompletion[T]:
    """Decode the first choice.

    Raises:
        UnparsableAnswer: it is not of the type, or was refused or cut short.
    """
    choice = completion.choices[0] if completion.choices else None
    text = choice.message.content if choice else None
    if choice is None or text is None:
        refusal = choice.message.refusal if choice else None
        raise UnparsableAnswer(_explained(f"there is no text: {refusal}", choice), completion)
    try:
        value: Any = parse_as(kind, text)
    except ValueError as error:
        raise UnparsableAnswer(_explained(str(error), choice), completion) from error
    first = replace(choice, message=replace(choice.message, parsed=value))
    return ParsedCompletion(value, replace(completion, choices=[first, *completion.choices[1:]]))


def _explained(reason: str, choice: Any) -> str:
    if choice is not None and choice.finish_reason == "length":
        return f"The answer was cut short ({reason}). Give it more max_tokens."
    return f"The answer is not of the type that was asked for ({reason})."
