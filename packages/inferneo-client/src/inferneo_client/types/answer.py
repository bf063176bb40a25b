"""Receives JSON of any OpenAI-compatible server; hands on structs, with what they do not know.

What fits is decoded straight from the bytes. What does not, a null for a list or a field that the
struct has not, is decoded a second time with more patience: unknown fields go to `extra`, a null
becomes the default, and an object where a text belongs is kept as its JSON.
"""

from collections.abc import Callable
from functools import cache
from typing import Any, Generic, NamedTuple, TypeVar, get_args, get_origin

import msgspec
from msgspec import Struct, field

# No server uses it: a field of that name would be `extra`'s.
_EXTRA = " extra"


class Answer(
    Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, repr_omit_defaults=True, gc=False
):
    """Something that a server answered; never part of a reference cycle."""

    unknown: dict[str, Any] | None = field(default=None, name=_EXTRA)

    @property
    def extra(self) -> dict[str, Any]:
        """The fields that came with it and that its class does not know, by name."""
        return self.unknown or {}

    def to_dict(self) -> dict[str, Any]:
        """What a server would have to send for an equal object, as plain Python objects."""
        values: dict[str, Any] = {}
        for info in msgspec.structs.fields(self):
            if info.encode_name != _EXTRA:
                values[info.encode_name] = _plain(getattr(self, info.name))
        return {**values, **self.extra}

    def to_json(self) -> str:
        """The same as a JSON document."""
        return msgspec.json.encode(self.to_dict()).decode()


T = TypeVar("T", bound=Answer)


class AnswerDecoder(Generic[T]):
    """Turns JSON into structs of one type."""

    def __init__(self, kind: type[T]) -> None:
        self.kind = kind
        # Patience costs: a stream asks for it only where this has failed.
        self.decode_exact: Callable[[bytes], T] = msgspec.json.Decoder(kind).decode

    def decode(self, document: bytes) -> T:
        """Decode a document.

        Raises:
            ValueError: it is no JSON, or no patience makes it fit.
        """
        try:
            return self.decode_exact(document)
        except msgspec.ValidationError:
            return self.convert(msgspec.json.decode(document))

    def convert(self, value: Any) -> T:
        """Make the struct of decoded JSON.

        Raises:
            ValueError: no patience makes it fit.
        """
        if not isinstance(value, dict):
            raise ValueError(f"Expected an object, got {type(value).__name__}")
        return msgspec.convert(_fit(value, self.kind), self.kind, strict=False)


@cache
def decoder(kind: type[T]) -> AnswerDecoder[T]:
    """The decoder of a type; each is built once."""
    return AnswerDecoder(kind)


class _Field(NamedTuple):
    """What has to be known of a struct's field to make a value fit."""

    nullable: bool
    text: bool
    struct: type[Answer] | None


@cache
def _plan(kind: type[Answer]) -> dict[str, _Field]:
    return {info.encode_name: _field(info.type) for info in msgspec.structs.fields(kind)}


def _field(annotation: Any) -> _Field:
    kinds = [annotation, *get_args(annotation)]
    inner = [part for kind in kinds for part in (kind, *get_args(kind))]
    structs = [kind for kind in inner if isinstance(kind, type) and issubclass(kind, Answer)]
    # Where a list may stand beside a text, it is no text that a server wrote as an object.
    text = str in kinds and not any(get_origin(kind) is list for kind in kinds)
    return _Field(type(None) in kinds, text, structs[0] if structs else None)


def _fit(raw: dict[str, Any], kind: type[Answer]) -> dict[str, Any]:
    plan = _plan(kind)
    known: dict[str, Any] = {}
    unknown: dict[str, Any] = {}
    for name, value in raw.items():
        expected = plan.get(name)
        if expected is None:
            unknown[name] = value
        elif value is not None or expected.nullable:
            known[name] = _fit_value(value, expected)
    if unknown:
        known[_EXTRA] = unknown
    return known


def _fit_value(value: Any, expected: _Field) -> Any:
    if expected.struct is not None:
        if isinstance(value, dict):
            return _fit(value, expected.struct)
        if isinstance(value, list):
            return [_fit(item, expected.struct) for item in value if isinstance(item, dict)]
    if expected.text and isinstance(value, dict | list):
        return msgspec.json.encode(value).decode()
    return value


def _plain(value: Any) -> Any:
    if isinstance(value, Answer):
        return value.to_dict()
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value
