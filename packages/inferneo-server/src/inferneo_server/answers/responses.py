"""Receives deltas; hands on the events and whole answers of `/v1/responses`."""

import time
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Literal

import msgspec
from msgspec import UNSET, Struct

from inferneo_core.chat import ToolCallDelta
from inferneo_core.codec import encode
from inferneo_core.errors import ApiError, Cancelled, RequestError
from inferneo_core.logprobs import TokenLogprob
from inferneo_core.responses import (
    FunctionCallItem,
    IncompleteDetails,
    ItemStatus,
    MessageItem,
    OutputText,
    PlainFormat,
    ReasoningConfig,
    ReasoningItem,
    ReasoningText,
    Response,
    ResponseFault,
    ResponseInputTokensDetails,
    ResponseOutputTokensDetails,
    ResponseRequest,
    ResponseStatus,
    ResponseUsage,
    TextConfig,
)
from inferneo_core.usage import Usage
from inferneo_server.answers.base import Choice, DoneObject
from inferneo_server.answers.chat import ChatDetails
from inferneo_server.answers.turn import Turn, of_calls, whole_calls
from inferneo_server.engines.base import Delta
from inferneo_server.engines.parsing import Parsed
from inferneo_server.translations.responses import new_id

OutputItem = MessageItem | FunctionCallItem | ReasoningItem
_Kind = Literal["message", "reasoning", "function_call"]
_LASTS = {"completed": "response.completed", "incomplete": "response.incomplete"}


class ResponseForm:
    """The response's own events around those of its items, each of which is opened and done.

    Args:
        request: what was asked for, which the answer repeats.
        model: the name of the model that answers.
        details: what is to be read beside text.
    """

    named: ClassVar[bool] = True
    done: ClassVar[DoneObject] = "response.done"

    def __init__(self, request: ResponseRequest, model: str, details: ChatDetails) -> None:
        self.id = new_id("resp")
        self.model = model
        self.usage: Callable[[], Usage] | None = None
        self.output: list[OutputItem] = []
        self._request = request
        self._created_at = int(time.time())
        self._count = 0
        self._turn = Turn(details)
        self._open: _OpenItem | None = None
        self._calls: set[int] = set()
        self._last: Response | None = None

    @property
    def reasoning_tokens(self) -> int | None:
        return self._turn.reasoning_tokens

    def opening(self, index: int) -> list[bytes]:
        return [
            self._event("response.created", response=self.response("in_progress")),
            self._event("response.in_progress", response=self.response("in_progress")),
        ]

    def chunks(self, delta: Delta) -> list[bytes]:
        parsed = self._turn.feed(delta)
        events: list[bytes] = []
        if parsed.reasoning:
            events += self._opened("reasoning")
            events.append(self._say(parsed.reasoning))
        # Of a call that goes on, first: nothing can be added to an item that is closed.
        ongoing, begun = of_calls(parsed)
        events += self._call_events(ongoing)
        if parsed.content:
            events += self._opened("message")
            events.append(self._say(parsed.content))
        events += self._call_events(begun)
        if self._turn.finish_reason and self._open:
            # The last item alone is cut where the answer is.
            cut = self._turn.finish_reason == "length"
            events += self._closed("incomplete" if cut else "completed")
        return events

    def _call_events(self, calls: Sequence[ToolCallDelta]) -> list[bytes]:
        events: list[bytes] = []
        for call in calls:
            events += self._opened("function_call", call)
            if call.function and call.function.arguments:
                events.append(self._say(call.function.arguments))
        return events

    def _opened(self, kind: _Kind, call: Any = None) -> list[bytes]:
        """Make sure that an item of that kind is open."""
        if call is not None:
            if call.index in self._calls:
                return []  # calls are written one after the other
        elif self._open is not None and self._open.kind == kind:
            return []
        events = self._closed() if self._open else []
        item = self._open = _OpenItem(kind, len(self.output), call)
        if call is not None:
            self._calls.add(call.index)
        self.output.append(item.item("in_progress", whole=False))
        events.append(
            self._event("response.output_item.added", output_index=item.index, item=self.output[-1])
        )
        if part := item.part(whole=False):
            events.append(self._part_event("added", item, part))
        return events

    def _say(self, text: str) -> bytes:
        """The event of new text; all else in it is encoded once."""
        item = self._open
        assert item is not None
        item.parts.append(text)
        logprobs = b""
        if item.kind == "message":
            said = self._turn.logprobs()
            item.logprobs += said
            logprobs = b',"logprobs":' + encode(said)
        else:
            self._turn.logprobs()  # those of other tokens are not told
        self._count += 1
        return b'{"type":"%b","sequence_number":%d,%b,"delta":%b%b}' % (
            item.delta_type,
            self._count - 1,
            item.place,
            encode(text),
            logprobs,
        )

    def _closed(self, status: ItemStatus = "completed") -> list[bytes]:
        """The events that end the open item."""
        item = self._open
        assert item is not None
        self._open = None
        whole = self.output[item.index] = item.item(status)
        events = [item.done(self._event)]
        if part := item.part(whole=True):
            events.append(self._part_event("done", item, part))
        events.append(self._event("response.output_item.done", output_index=item.index, item=whole))
        return events

    def _part_event(self, what: str, item: "_OpenItem", part: Struct) -> bytes:
        return self._event(f"response.content_part.{what}", **item.fields, part=part)

    def _event(self, kind: str, **fields: Any) -> bytes:
        self._count += 1
        return encode({"type": kind, "sequence_number": self._count - 1, **fields})

    def usage_chunk(self, usage: Usage) -> bytes:
        response = self._ended(usage)
        return self._event(_LASTS[response.status], response=response)

    def end(self, error: ApiError | None) -> bytes:
        if error is None:
            return b""
        # Not `_event`: each reader is told, at the same number.
        if isinstance(error, RequestError):
            told = {"code": error.code, "message": error.message, "param": None}
            return encode({"type": "error", "sequence_number": self._count, **told})
        failed = {"sequence_number": self._count, "response": self.failed(error)}
        return encode({"type": "response.failed", **failed})

    def whole(self, choices: Sequence[Choice], usage: Callable[[], Usage]) -> bytes:
        if self._last is None:
            if not self._turn.finish_reason:
                self._read(self._turn.whole(choices[0]))
            self._ended(usage())
        return encode(self._last)

    def _read(self, parsed: Parsed) -> None:
        cut = self._turn.finish_reason == "length"
        pieces: list[tuple[_Kind, Any, str]] = []
        if parsed.reasoning:
            pieces.append(("reasoning", None, parsed.reasoning))
        if parsed.content:
            pieces.append(("message", None, parsed.content))
        pieces += [
            ("function_call", delta, call.function.arguments)
            for delta, call in zip(parsed.tool_calls, whole_calls(parsed), strict=True)
        ]
        for index, (kind, call, text) in enumerate(pieces):
            item = _OpenItem(kind, index, call)
            item.parts.append(text)
            if kind == "message":
                item.logprobs = self._turn.logprobs()
            last = index == len(pieces) - 1
            self.output.append(item.item("incomplete" if cut and last else "completed"))

    def _ended(self, usage: Usage) -> Response:
        cut = self._turn.finish_reason == "length"
        self._last = msgspec.structs.replace(
            self.response("incomplete" if cut else "completed"),
            completed_at=None if cut else int(time.time()),
            incomplete_details=IncompleteDetails(reason="max_output_tokens") if cut else None,
            usage=_usage(usage),
        )
        return self._last

    def failed(self, error: Exception) -> Response:
        """The response of a generation that failed, or was cancelled."""
        if isinstance(error, Cancelled):
            return self.response("cancelled")
        message = error.message if isinstance(error, ApiError) else "The server failed"
        return msgspec.structs.replace(
            self.response("failed"), error=ResponseFault(message=message)
        )

    def response(self, status: ResponseStatus) -> Response:
        """The response as it stands; the last one once it has ended well."""
        asked = self._request
        text = asked.text or TextConfig()
        return self._last or Response(
            id=self.id,
            created_at=self._created_at,
            status=status,
            background=bool(asked.background),
            instructions=asked.instructions,
            max_output_tokens=asked.max_output_tokens,
            max_tool_calls=asked.max_tool_calls,
            model=self.model,
            output=list(self.output),
            parallel_tool_calls=asked.parallel_tool_calls is not False,
            previous_response_id=asked.previous_response_id,
            prompt_cache_key=asked.prompt_cache_key or UNSET,
            reasoning=asked.reasoning or ReasoningConfig(),
            safety_identifier=asked.safety_identifier or UNSET,
            store=asked.store is not False,
            temperature=asked.temperature,
            text=msgspec.structs.replace(text, format=text.format or PlainFormat()),
            tool_choice=asked.tool_choice or "auto",
            tools=asked.tools or [],
            top_logprobs=asked.top_logprobs or 0,
            top_p=asked.top_p,
            truncation=asked.truncation or "disabled",
            user=asked.user or UNSET,
            metadata=asked.metadata or {},
        )


class _OpenItem:
    """An item that is being written."""

    _PREFIXES: ClassVar[dict[str, str]] = {
        "message": "msg",
        "reasoning": "rs",
        "function_call": "fc",
    }
    _DELTAS: ClassVar[dict[str, bytes]] = {
        "message": b"response.output_text",
        "reasoning": b"response.reasoning_text",
        "function_call": b"response.function_call_arguments",
    }

    def __init__(self, kind: _Kind, index: int, call: Any) -> None:
        self.kind = kind
        self.index = index
        self.id = new_id(self._PREFIXES[kind])
        self.parts: list[str] = []
        self.logprobs: list[TokenLogprob] = []
        self.call_id = (call.id or new_id("call")) if call is not None else ""
        self.name = (call.function and call.function.name) or "" if call is not None else ""
        self.fields: dict[str, Any] = {"item_id": self.id, "output_index": index}
        if kind != "function_call":
            self.fields["content_index"] = 0
        self.place = encode(self.fields)[1:-1]
        self.delta_type = self._DELTAS[kind] + b".delta"

    def part(self, *, whole: bool) -> OutputText | ReasoningText | None:
        """The item's one part of content, empty or whole; a call has none."""
        text = "".join(self.parts) if whole else ""
        match self.kind:
            case "message":
                return OutputText(text=text, logprobs=self.logprobs if whole else [])
            case "reasoning":
                return ReasoningText(text=text)
            case "function_call":
                return None

    def item(self, status: ItemStatus, *, whole: bool = True) -> OutputItem:
        """The item, empty or whole."""
        part = self.part(whole=whole)
        match part:
            case OutputText():
                content = [part] if whole else []
                return MessageItem(id=self.id, role="assistant", status=status, content=[*content])
            case ReasoningText():
                return ReasoningItem(id=self.id, content=[part] if whole else [], status=status)
            case None:
                return FunctionCallItem(
                    id=self.id,
                    call_id=self.call_id,
                    name=self.name,
                    arguments="".join(self.parts) if whole else "",
                    status=status,
                )

    def done(self, event: Callable[..., bytes]) -> bytes:
        """The event that tells the whole text."""
        text = "".join(self.parts)
        kind = f"{self._DELTAS[self.kind].decode()}.done"
        match self.kind:
            case "message":
                return event(kind, **self.fields, text=text, logprobs=self.logprobs)
            case "reasoning":
                return event(kind, **self.fields, text=text)
            case "function_call":
                return event(kind, **self.fields, name=self.name, arguments=text)


def _usage(usage: Usage) -> ResponseUsage:
    cached = usage.prompt_tokens_details.cached_tokens if usage.prompt_tokens_details else 0
    details = usage.completion_tokens_details
    return ResponseUsage(
        input_tokens=usage.prompt_tokens,
        input_tokens_details=ResponseInputTokensDetails(cached_tokens=cached),
        output_tokens=usage.completion_tokens,
        output_tokens_details=ResponseOutputTokensDetails(
            reasoning_tokens=details.reasoning_tokens if details else 0
        ),
        total_tokens=usage.total_tokens,
    )
