"""Receives requests of `/v1/responses`; hands on their items, and the chat requests they mean."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any
from uuid import uuid4

import msgspec

from inferneo_core.chat import (
    AllowedTools,
    AllowedToolsField,
    ChatCompletionRequest,
    FunctionCall,
    FunctionDefinition,
    FunctionName,
    ImagePart,
    ImageUrl,
    Message,
    NamedTool,
    Part,
    RefusalPart,
    TextPart,
    Tool,
    ToolCall,
    ToolReference,
)
from inferneo_core.chat import ToolChoice as ChatToolChoice
from inferneo_core.errors import InvalidRequest, RequestError
from inferneo_core.responses import (
    AllowedFunctions,
    Content,
    FunctionCallItem,
    FunctionOutputItem,
    InputImage,
    InputText,
    Item,
    ItemReference,
    JsonFormat,
    MessageItem,
    NamedFunction,
    OutputText,
    PlainFormat,
    ReasoningItem,
    Refusal,
    ResponseRequest,
    SchemaFormat,
    decode_item,
)
from inferneo_core.sampling import JsonSchemaFormat, ResponseFormat

# Where a chat request's fields come from.
_NAMES = {
    "messages": "input",
    "max_completion_tokens": "max_output_tokens",
    "response_format": "text.format",
    "reasoning_effort": "reasoning.effort",
}

LOGPROBS = "message.output_text.logprobs"

_PREFIXES = {
    MessageItem: "msg",
    FunctionCallItem: "fc",
    FunctionOutputItem: "fco",
    ReasoningItem: "rs",
}
# What means the same under the same name.
_SAME = tuple(
    name
    for name in ResponseRequest.__struct_fields__
    if name in ChatCompletionRequest.__struct_fields__
    and name not in ("tools", "tool_choice", "stream_options", "top_logprobs")
)


def check_response(request: ResponseRequest) -> None:
    """Refuse what cannot be served, or contradicts itself.

    Raises:
        InvalidRequest: the request does.
    """
    for name in ("conversation", "prompt"):
        if getattr(request, name) is not None:
            raise InvalidRequest(
                f"'{name}' is not served; give 'input', or 'previous_response_id'",
                param=name,
            )
    if request.background and request.store is False:
        raise InvalidRequest("'background' needs 'store'", param="background")
    if request.input is None and request.previous_response_id is None:
        raise InvalidRequest("Missing required field 'input'", param="input")


@contextlib.contextmanager
def renamed_fields() -> Iterator[None]:
    """Refusals of the chat request name the fields of the response's.

    Raises:
        ApiError: what the block raises.
    """
    try:
        yield
    except RequestError as error:
        name, dot, rest = (error.param or "").partition(".")
        if name in _NAMES:
            error.param = _NAMES[name] + dot + rest
        raise


def new_id(kind: str) -> str:
    """An id of an item that nobody can guess."""
    return f"{kind}_{uuid4().hex}"


def input_items(request: ResponseRequest, before: Sequence[Item]) -> list[Item]:
    """The items of a request, each with an id and its content in parts.

    Args:
        request: as it was decoded.
        before: the conversation that went before, whose items may be named by id.

    Raises:
        InvalidRequest: an item does not fit.
    """
    given = request.input
    if given is None:
        return []
    if isinstance(given, str):
        given = [{"role": "user", "content": given}]
    elif not given:
        raise InvalidRequest("Empty 'input'", param="input")
    known = {item.id: item for item in before}
    items = []
    for index, fields in enumerate(given):
        item = decode_item(fields, f"input[{index}]")
        if isinstance(item, ItemReference):
            if item.id not in known:
                raise InvalidRequest(
                    f"There is no item '{item.id}' in the conversation", param=f"input[{index}].id"
                )
            continue  # it stands in the conversation already
        items.append(_complete(item))
    return items


def _complete(item: Item) -> Item:
    changes: dict[str, Any] = {}
    if not item.id:
        changes["id"] = new_id(_PREFIXES[type(item)])
    if isinstance(item, MessageItem) and isinstance(item.content, str):
        part = OutputText if item.role == "assistant" else InputText
        changes["content"] = [part(text=item.content)]
    return msgspec.structs.replace(item, **changes)


def chat_request(request: ResponseRequest, items: Sequence[Item]) -> ChatCompletionRequest:
    """The chat request that a request means, with its whole conversation.

    Raises:
        InvalidRequest: there is no message to answer.
    """
    messages = list(_messages(items))
    if request.instructions:
        messages.insert(0, Message(role="system", content=request.instructions))
    if not messages:
        raise InvalidRequest("Empty 'input'", param="input")
    logprobs = LOGPROBS in (request.include or ())
    given = {name: getattr(request, name) for name in _SAME}
    return ChatCompletionRequest(
        **given,
        messages=messages,
        max_completion_tokens=request.max_output_tokens,
        tools=_tools(request),
        tool_choice=_tool_choice(request),
        reasoning_effort=request.reasoning.effort if request.reasoning else None,
        response_format=_response_format(request),
        logprobs=logprobs or None,
        top_logprobs=request.top_logprobs if logprobs else None,
    )


def _tools(request: ResponseRequest) -> list[Tool] | None:
    return [
        Tool(
            function=FunctionDefinition(
                name=tool.name,
                description=tool.description,
                parameters=tool.parameters,
                strict=tool.strict,
            )
        )
        for tool in request.tools or ()
    ] or None


def _tool_choice(request: ResponseRequest) -> ChatToolChoice | None:
    match request.tool_choice:
        case NamedFunction(name=name):
            return NamedTool(function=FunctionName(name=name))
        case AllowedFunctions(mode=mode, tools=tools):
            names = [ToolReference(name=tool.name) for tool in tools]
            return AllowedTools(allowed_tools=AllowedToolsField(mode=mode, tools=names))
        case choice:
            return choice


def _response_format(request: ResponseRequest) -> ResponseFormat | None:
    match request.text.format if request.text else None:
        case None | PlainFormat():
            return None
        case JsonFormat():
            return ResponseFormat(type="json_object")
        case SchemaFormat() as wanted:
            return ResponseFormat(
                type="json_schema",
                json_schema=JsonSchemaFormat(
                    name=wanted.name,
                    description=wanted.description,
                    schema_=wanted.schema_,
                    strict=wanted.strict,
                ),
            )


def _messages(items: Sequence[Item]) -> Iterator[Message]:
    """Items as messages: what an assistant thought, said and called in a row is one message."""
    turn: list[Item] = []
    for item in items:
        if isinstance(item, FunctionOutputItem) or (
            isinstance(item, MessageItem) and item.role != "assistant"
        ):
            yield from _assistant(turn)
            turn = []
            yield _heard(item)
            continue
        if isinstance(item, MessageItem) and any(isinstance(one, MessageItem) for one in turn):
            yield from _assistant(turn)
            turn = []
        turn.append(item)
    yield from _assistant(turn)


def _heard(item: MessageItem | FunctionOutputItem) -> Message:
    if isinstance(item, FunctionOutputItem):
        return Message(role="tool", tool_call_id=item.call_id, content=_content(item.output))
    return Message(role=item.role, content=_content(item.content))


def _assistant(turn: Sequence[Item]) -> Iterator[Message]:
    if not turn:
        return
    said = [item for item in turn if isinstance(item, MessageItem)]
    thoughts = "\n".join(_thought(item) for item in turn if isinstance(item, ReasoningItem))
    calls = [
        ToolCall(id=item.call_id, function=FunctionCall(name=item.name, arguments=item.arguments))
        for item in turn
        if isinstance(item, FunctionCallItem)
    ]
    if said or calls:
        yield Message(
            role="assistant",
            content=_content(said[0].content) if said else None,
            tool_calls=calls or None,
            reasoning=thoughts or None,
            reasoning_content=thoughts or None,
        )


def _thought(item: ReasoningItem) -> str:
    return "".join(part.text for part in item.content or item.summary)


def _content(content: str | Sequence[Content]) -> str | list[Part]:
    if isinstance(content, str):
        return content
    parts = [_part(part) for part in content]
    match parts:
        case [TextPart(text=text)]:
            return text
    return parts


def _part(part: Content) -> Part:
    match part:
        case InputText(text=text) | OutputText(text=text):
            return TextPart(text=text)
        case InputImage(image_url=url, detail=detail):
            return ImagePart(image_url=ImageUrl(url=url, detail=detail))
        case Refusal(refusal=refusal):
            return RefusalPart(refusal=refusal)
