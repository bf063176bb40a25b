"""Receives deltas; hands on the chunks and whole answers of `/v1/chat/completions`."""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from msgspec import UNSET, Struct, UnsetType

from inferneo_core.chat import (
    AnswerMessage,
    ChatChoice,
    ChatChunkChoice,
    ChatCompletion,
    ChatCompletionChunk,
    ChatDelta,
    FinishReason,
)
from inferneo_core.codec import encode
from inferneo_core.logprobs import ChatLogprobs
from inferneo_core.usage import Usage
from inferneo_server.answers.base import (
    Choice,
    DoneObject,
    Mould,
    UnnamedEvents,
    envelope,
    finish_reason,
)
from inferneo_server.engines.base import Delta, DetailedDelta
from inferneo_server.engines.parsing import Parsed, Parser, Parsing


class ChatForm(UnnamedEvents):
    """The role first, then text, then the finish reason by itself."""

    done: ClassVar[DoneObject] = "chat.completion.done"
    reasoning_tokens: int | None = None

    def __init__(self, model: str) -> None:
        self.model = model
        self.usage: Callable[[], Usage] | None = None
        self.id, self._envelope = envelope("chatcmpl", model)
        self._moulds: dict[int, Mould] = {}

    def opening(self, index: int) -> list[bytes]:
        self._moulds[index] = Mould(lambda text: self._chunk(index, ChatDelta(content=text)))
        return [self._chunk(index, ChatDelta(role="assistant", content=""))]

    def chunks(self, delta: Delta) -> list[bytes]:
        chunks = [self._moulds[delta.index].fill(delta.text)] if delta.text else []
        if reason := finish_reason(delta):
            chunks.append(
                self._chunk(delta.index, ChatDelta(), reason, stop_reason=_set(delta.stop_reason))
            )
        return chunks

    def _chunk(
        self,
        index: int,
        delta: ChatDelta,
        reason: FinishReason | None = None,
        **fields: Any,
    ) -> bytes:
        choice = ChatChunkChoice(index=index, delta=delta, finish_reason=reason, **fields)
        return encode(ChatCompletionChunk(choices=[choice], **self._envelope))

    def usage_chunk(self, usage: Usage) -> bytes:
        return encode(ChatCompletionChunk(choices=[], usage=usage, **self._envelope))

    def whole(self, choices: Sequence[Choice], usage: Callable[[], Usage]) -> bytes:
        answers = [self._choice(index, choice) for index, choice in enumerate(choices)]
        return encode(ChatCompletion(choices=answers, usage=usage(), **self._envelope))

    def _choice(self, index: int, choice: Choice) -> ChatChoice:
        return ChatChoice(
            index=index,
            message=AnswerMessage(content=choice.text),
            finish_reason=choice.finish_reason,
            stop_reason=_set(choice.stop_reason),
        )


class ChatDetails(Struct, frozen=True, kw_only=True):
    """What a chat's answer tells beside its text.

    Attributes:
        parsing: finds tool calls and reasoning in the text.
        logprobs: whether to tell the logprobs of the tokens.
        token_ids: whether to tell the token ids, of the prompt too.
        prompt_token_ids: those of the prompt.
        prompt_logprobs: whether to tell the logprobs of the prompt.
        continuous_usage: whether each chunk tells the usage so far.
        named: whether the request names the tool to call, which then is no reason to end.
    """

    parsing: Parsing | None = None
    logprobs: bool = False
    token_ids: bool = False
    prompt_token_ids: Sequence[int] = ()
    prompt_logprobs: bool = False
    continuous_usage: bool = False
    named: bool = False

    @property
    def any(self) -> bool:
        """Whether there is anything to tell."""
        return bool(
            self.parsing
            or self.logprobs
            or self.token_ids
            or self.prompt_logprobs
            or self.continuous_usage
        )


class DetailedChatForm(ChatForm):
    """A chat's answer with tool calls, reasoning, logprobs or token ids."""

    def __init__(self, model: str, details: ChatDetails) -> None:
        super().__init__(model)
        self._details = details
        self._parsers: dict[int, Parser] = {}
        self._called: set[int] = set()
        self._opened = False

    @property
    def reasoning_tokens(self) -> int | None:  # type: ignore[override]
        if self._details.parsing is None or not self._details.parsing.reasons:
            return None
        return sum(parser.reasoning_tokens for parser in self._parsers.values())

    def _parser(self, index: int) -> Parser | None:
        parser = self._parsers.get(index)
        if parser is None and self._details.parsing is not None:
            parser = self._parsers[index] = self._details.parsing.parser()
        return parser

    def chunks(self, delta: Delta) -> list[bytes]:
        parser = self._parser(delta.index)
        parsed = parser.feed(delta) if parser else Parsed(content=delta.text)
        if parsed.tool_calls:
            self._called.add(delta.index)
        fields = self._fields(delta)
        reason = self._reason(delta.index, finish_reason(delta))
        chunks = []
        # What tells of tokens, or of the prompt, is sent even where no text is added.
        if parsed.says or fields or self._tells_of_prompt(delta):
            chunks.append(self._detailed(delta, _chat_delta(parsed), None, fields))
        if reason:
            stop_reason = {"stop_reason": _set(delta.stop_reason)}
            chunks.append(self._detailed(delta, ChatDelta(), reason, stop_reason))
        return chunks

    def _reason(self, index: int, reason: FinishReason | None) -> FinishReason | None:
        called = index in self._called and not self._details.named
        return "tool_calls" if called and reason == "stop" else reason

    def _fields(self, delta: Delta) -> dict[str, Any]:
        fields: dict[str, Any] = {}
        if self._details.logprobs and isinstance(delta, DetailedDelta) and delta.logprobs:
            fields["logprobs"] = ChatLogprobs(content=list(delta.logprobs))
        if self._details.token_ids and delta.token_ids:
            fields["token_ids"] = list(delta.token_ids)
        return fields

    def _detailed(
        self, delta: Delta, words: ChatDelta, reason: FinishReason | None, fields: dict[str, Any]
    ) -> bytes:
        choice = ChatChunkChoice(index=delta.index, delta=words, finish_reason=reason, **fields)
        further = {} if self._opened else self._of_prompt(delta)
        self._opened = True
        if self._details.continuous_usage and self.usage is not None:
            further["usage"] = self.usage()
        return encode(ChatCompletionChunk(choices=[choice], **self._envelope, **further))

    def _tells_of_prompt(self, delta: Delta) -> bool:
        return not self._opened and isinstance(delta, DetailedDelta) and bool(delta.prompt_logprobs)

    def _of_prompt(self, delta: Delta | None) -> dict[str, Any]:
        further: dict[str, Any] = {}
        if self._details.token_ids:
            further["prompt_token_ids"] = list(self._details.prompt_token_ids)
        if self._details.prompt_logprobs and isinstance(delta, DetailedDelta):
            further["prompt_logprobs"] = list(delta.prompt_logprobs or ())
        return further

    def whole(self, choices: Sequence[Choice], usage: Callable[[], Usage]) -> bytes:
        answers = [self._choice(index, choice) for index, choice in enumerate(choices)]
        details = choices[0].details
        further = self._of_prompt(details[0] if details else None)
        return encode(ChatCompletion(choices=answers, usage=usage(), **self._envelope, **further))

    def _choice(self, index: int, choice: Choice) -> ChatChoice:
        details = self._details
        parsed = Parsed(content=choice.text)
        if details.parsing is not None:
            parsed = self._whole_parsed(index, choice)
        entries = [entry for delta in choice.details for entry in delta.logprobs or ()]
        return ChatChoice(
            index=index,
            message=_answer_message(parsed),
            logprobs=ChatLogprobs(content=entries) if details.logprobs else None,
            finish_reason=self._reason(index, choice.finish_reason) or "stop",
            stop_reason=_set(choice.stop_reason),
            token_ids=choice.token_ids if details.token_ids else UNSET,
        )

    def _whole_parsed(self, index: int, choice: Choice) -> Parsed:
        assert self._details.parsing is not None
        parser = self._details.parsing.parser()
        parsed = parser.whole(choice.text, choice.token_ids)
        # A generation that streamed before keeps the parsers of its stream: they have counted.
        self._parsers.setdefault(index, parser)
        if parsed.tool_calls:
            self._called.add(index)
        return parsed


def _set(value: int | str | None) -> int | str | UnsetType:
    return UNSET if value is None else value


def _chat_delta(parsed: Parsed) -> ChatDelta:
    return ChatDelta(
        content=parsed.content or UNSET,
        reasoning=parsed.reasoning or UNSET,
        reasoning_content=parsed.reasoning or UNSET,
        tool_calls=parsed.tool_calls or UNSET,
    )


def _answer_message(parsed: Parsed) -> AnswerMessage:
    calls = [delta.whole() for delta in parsed.tool_calls]
    return AnswerMessage(
        content=parsed.content or (None if calls else ""),
        reasoning=parsed.reasoning or UNSET,
        reasoning_content=parsed.reasoning or UNSET,
        tool_calls=calls or UNSET,
    )
