"""Receives the events of a streamed response; hands on their decoder, and what they make."""

from collections.abc import Iterable
from functools import cache
from typing import Any, Final, get_args

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from inferneo_client.types.answer import AnswerDecoder, decoder
from inferneo_client.types.response_events import (
    OtherEvent,
    OutputItemEvent,
    ResponseEvent,
    ResponseStateEvent,
    TextDeltaEvent,
)
from inferneo_client.types.responses import ContentPart, Response
from inferneo_client.types.responses import ResponseItem as Item

_ENDINGS = ("response.completed", "response.incomplete", "response.failed")


class ResponseFold:
    """Joins events to a `Response`: the last one that they tell, and the items since then."""

    def __init__(self) -> None:
        self._response = Response()
        self._items: dict[int, Item] = {}
        self._texts: dict[int, list[str]] = {}
        self._ended = False

    def add(self, chunks: Iterable[ResponseEvent]) -> None:
        for event in chunks:
            if isinstance(event, TextDeltaEvent):
                self._texts.setdefault(event.output_index, []).append(event.delta)
            elif isinstance(event, OutputItemEvent):
                self._items[event.output_index] = event.item
            elif isinstance(event, ResponseStateEvent):
                self._response = event.response
                self._ended = event.type in _ENDINGS

    def whole(self) -> Response:
        if self._ended:
            return self._response
        items = [self._item(index) for index in sorted(self._items)]
        return replace(self._response, output=items)

    def _item(self, index: int) -> Item:
        item, texts = self._items[index], self._texts.get(index)
        if item.content or not texts:
            return item
        return replace(item, content=[ContentPart(type="output_text", text="".join(texts))])

    def finished(self, choices: int) -> bool:
        return self._ended


class _Tag(Struct, gc=False):
    type: str = ""


_tag: Final = msgspec.json.Decoder(_Tag).decode
_KINDS: Final[dict[str, Any]] = {
    name: kind
    for kind in get_args(ResponseEvent)
    for name in get_args(next(f.type for f in msgspec.structs.fields(kind) if f.name == "type"))
}


class _EventDecoder(AnswerDecoder[Any]):
    """Decodes an event to the struct of its type."""

    def __init__(self) -> None:
        super().__init__(OtherEvent)
        self.decode_exact = self._decode_exact

    def _decode_exact(self, document: bytes) -> Any:
        kind = _KINDS.get(_tag(document).type)
        if kind is None or kind is OtherEvent:
            # Perhaps an error: the reader of the stream looks first.
            raise msgspec.ValidationError("an event of an unknown type")
        return decoder(kind).decode_exact(document)

    def convert(self, value: Any) -> Any:
        """Make the event of decoded JSON. Raises as `AnswerDecoder.convert` does."""
        if not isinstance(value, dict):
            return super().convert(value)
        name = str(value.get("type") or "")
        kind = _KINDS.get(name, OtherEvent)
        if kind is not OtherEvent:
            return decoder(kind).convert(value)
        return super().convert({**value, "type": "other", "name": name})


@cache
def event_decoder() -> AnswerDecoder[Any]:
    """The decoder of the events; there is one."""
    return _EventDecoder()
