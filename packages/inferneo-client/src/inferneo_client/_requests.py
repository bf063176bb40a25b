"""Receives the arguments of a resource's method; hands on the call and how to read its answer."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, TypeVar, cast
from urllib.parse import quote

from msgspec import Struct
from msgspec.structs import replace

from inferneo_client._calls import Call
from inferneo_client._folds import ChatFold, Fold, TextFold
from inferneo_client._options import Options, changed_options, lower
from inferneo_client._params import ChatParams, CompletionParams, Message, Prompt, body_of
from inferneo_client._tools import as_response_format, as_tools
from inferneo_client.types.answer import Answer, AnswerDecoder
from inferneo_client.types.chat import ChatCompletion, ChatCompletionChunk
from inferneo_client.types.completions import Completion
from inferneo_client.types.models import CancelledStream, Health, Model, ModelList

C = TypeVar("C", bound=Answer)
W = TypeVar("W")


class Request(Struct, Generic[W], frozen=True):
    """A call, and the type of its answer."""

    call: Call
    kind: type[W]


class StreamRequest(Struct, Generic[C, W], frozen=True):
    """A call whose answer is a stream: of which chunks, how they join, and what their text is.

    `answers` decodes chunks that are not all of one class.
    """

    call: Call
    kind: type[C]
    fold: Callable[[], Fold[C, W]]
    texts: Callable[[list[C]], list[str]]
    answers: AnswerDecoder[C] | None = None


ChatRequest = Request[ChatCompletion]
ChatStreamRequest = StreamRequest[ChatCompletionChunk, ChatCompletion]
TextRequest = Request[Completion]
TextStreamRequest = StreamRequest[Completion, Completion]


def chat(options: Options, messages: Sequence[Message], params: ChatParams) -> ChatRequest:
    """`POST /v1/chat/completions`, in one piece."""
    return Request(_chat_call(options, messages, params, None), ChatCompletion)


def chat_stream(
    options: Options, messages: Sequence[Message], params: ChatParams
) -> ChatStreamRequest:
    """`POST /v1/chat/completions`, as a stream."""
    return chat_stream_of(_chat_call(options, messages, params, True))


def chat_stream_of(call: Call) -> ChatStreamRequest:
    """A call that is answered with chat chunks."""
    return StreamRequest(call, ChatCompletionChunk, ChatFold, _chat_texts)


def _chat_call(
    options: Options, messages: Sequence[Message], params: ChatParams, stream: bool | None
) -> Call:
    given = cast("dict[str, Any]", params)
    if given.get("tools"):
        given = {**given, "tools": as_tools(given["tools"])}
    if given.get("response_format"):
        given = {**given, "response_format": as_response_format(given["response_format"])}
    body = body_of(ChatParams, given, messages=messages, stream=stream)
    return post(options, "/chat/completions", body, given, bool(stream))


def completion(options: Options, prompt: Prompt, params: CompletionParams) -> TextRequest:
    """`POST /v1/completions`, in one piece."""
    return Request(_text_call(options, prompt, params, None), Completion)


def completion_stream(
    options: Options, prompt: Prompt, params: CompletionParams
) -> TextStreamRequest:
    """`POST /v1/completions`, as a stream."""
    call = _text_call(options, prompt, params, True)
    call.choices *= len(prompt) if _has_several(prompt) else 1
    return completion_stream_of(call)


def completion_stream_of(call: Call) -> TextStreamRequest:
    """A call that is answered with chunks of text."""
    return StreamRequest(call, Completion, TextFold, _completion_texts)


def _text_call(
    options: Options, prompt: Prompt, params: CompletionParams, stream: bool | None
) -> Call:
    given = cast("dict[str, Any]", params)
    body = body_of(CompletionParams, given, prompt=prompt, stream=stream)
    return post(options, "/completions", body, given, bool(stream))


def _has_several(prompt: Prompt) -> bool:
    return not isinstance(prompt, str) and bool(prompt) and not isinstance(prompt[0], int)


def post(
    options: Options,
    path: str,
    body: bytes,
    params: Mapping[str, Any],
    streamed: bool = False,
    *,
    safe: bool = False,
) -> Call:
    """A call that has a body; `safe` says that sending it twice does no harm."""
    return Call(
        method="POST",
        path=path,
        options=_options(options, params),
        content=body,
        headers=lower(params.get("extra_headers")),
        streamed=streamed,
        safe=safe,
        choices=params.get("n") or 1,
        key=params.get("idempotency_key") or "",
    )


def _options(options: Options, params: Mapping[str, Any]) -> Options:
    timeout, max_retries = params.get("timeout"), params.get("max_retries")
    if timeout is None and max_retries is None:
        return options
    return changed_options(options, timeout=timeout, max_retries=max_retries)


def models(options: Options) -> Request[ModelList]:
    """`GET /v1/models`."""
    return Request(get(options, "/models"), ModelList)


def model(options: Options, name: str) -> Request[Model]:
    """`GET /v1/models/{name}`."""
    return Request(get(options, f"/models/{quote(name)}"), Model)


def health(options: Options) -> Request[Health]:
    """`GET /health`, which stands beside `/v1`."""
    return Request(get(options, f"{options.base_url.removesuffix('/v1')}/health"), Health)


def cancelled_stream(options: Options, identity: str) -> Request[CancelledStream]:
    """`DELETE /v1/streams/{id}`."""
    call = Call(method="DELETE", path=_stream_path(identity), options=options, safe=True)
    return Request(call, CancelledStream)


def resumed_call(options: Options, identity: str, after: int | None) -> Call:
    """`GET /v1/streams/{id}`: the events behind number `after`, or all of them."""
    headers = {} if after is None else {"last-event-id": f"{identity}:{after}"}
    return Call(
        method="GET",
        path=_stream_path(identity),
        options=options,
        headers=headers,
        streamed=True,
        safe=True,
    )


def whole_stream(options: Options, identity: str, kind: type[W]) -> Request[W]:
    """`GET /v1/streams/{id}` as one JSON answer, once it has ended."""
    return Request(get(options, _stream_path(identity)), kind)


def _stream_path(identity: str) -> str:
    return f"/streams/{quote(identity)}"


def get(options: Options, path: str) -> Call:
    """A call that only asks."""
    return Call(method="GET", path=path, options=options, safe=True)


def _chat_texts(chunks: list[ChatCompletionChunk]) -> list[str]:
    return [
        choice.delta.content
        for chunk in chunks
        for choice in chunk.choices
        if choice.delta.content and choice.index == 0
    ]


def _completion_texts(chunks: list[Completion]) -> list[str]:
    return [
        choice.text
        for chunk in chunks
        for choice in chunk.choices
        if choice.text and choice.index == 0
    ]


def with_response(answer: Any, info: Any) -> Any:
    """The answer, which knows how it came."""
    return replace(answer, response=info) if hasattr(answer, "response") else answer
