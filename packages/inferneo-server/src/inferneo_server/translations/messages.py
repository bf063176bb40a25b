"""Receives requests of `/v1/messages`; hands on the chat requests they mean."""

from collections.abc import Iterator, Sequence
from typing import Any

from inferneo_core.chat import (
    ChatCompletionRequest,
    FunctionCall,
    FunctionDefinition,
    FunctionName,
    ImagePart,
    ImageUrl,
    Message,
    NamedTool,
    Part,
    TextPart,
    Tool,
    ToolCall,
)
from inferneo_core.chat import ToolChoice as ChatToolChoice
from inferneo_core.codec import encode
from inferneo_core.errors import InvalidRequest
from inferneo_core.messages import (
    AnyChoice,
    AutoChoice,
    Base64Source,
    ImageBlock,
    InputBlock,
    InputMessage,
    MessagesRequest,
    NoChoice,
    PromptFields,
    TextBlock,
    ThinkingBlock,
    ToolChoice,
    ToolResultBlock,
    ToolUseBlock,
)
from inferneo_core.sampling import JsonSchemaFormat, ResponseFormat


def chat_request(request: PromptFields) -> ChatCompletionRequest:
    """The chat request that a request means.

    Raises:
        InvalidRequest: a block stands where it cannot.
    """
    messages = []
    if request.system:
        messages.append(Message(role="system", content=_content(request.system)))
    for index, message in enumerate(request.messages):
        messages += _messages(message, f"messages[{index}]")
    if not messages:
        raise InvalidRequest("The messages are empty", param="messages")
    sampling: dict[str, Any] = {}
    if isinstance(request, MessagesRequest):
        sampling = {
            "max_completion_tokens": request.max_tokens,
            "stream": request.stream,
            "temperature": request.temperature,
            "top_p": request.top_p,
            "top_k": request.top_k,
            "stop": request.stop_sequences,
            "ignore_eos": request.ignore_eos,
        }
    # A last message of the assistant is the beginning of the answer.
    begun = messages[-1].role == "assistant" and not messages[-1].tool_calls
    choice = request.tool_choice
    one_call = not isinstance(choice, NoChoice | None) and choice.disable_parallel_tool_use
    return ChatCompletionRequest(
        **sampling,
        model=request.model,
        messages=messages,
        continue_final_message=begun or None,
        tools=_tools(request),
        tool_choice=_tool_choice(request),
        parallel_tool_calls=False if one_call else None,
        chat_template_kwargs=_template_kwargs(request),
        reasoning_effort=request.output_config.effort if request.output_config else None,
        response_format=_response_format(request),
    )


def _template_kwargs(request: PromptFields) -> dict[str, Any] | None:
    thinking: dict[str, Any] = {}
    if request.thinking is not None:
        thinking["enable_thinking"] = request.thinking.type != "disabled"
    return thinking | (request.chat_template_kwargs or {}) or None


def _tools(request: PromptFields) -> list[Tool] | None:
    return [
        Tool(
            function=FunctionDefinition(
                name=tool.name,
                description=tool.description,
                parameters=tool.input_schema,
                strict=tool.strict,
            )
        )
        for tool in request.tools or ()
    ] or None


def _tool_choice(request: PromptFields) -> ChatToolChoice | None:
    match request.tool_choice:
        case None:
            return None
        case AutoChoice():
            return "auto"
        case AnyChoice():
            return "required"
        case NoChoice():
            return "none"
        case ToolChoice(name=name):
            return NamedTool(function=FunctionName(name=name))


def _response_format(request: PromptFields) -> ResponseFormat | None:
    wanted = request.output_config.format if request.output_config else None
    if wanted is None:
        return None
    return ResponseFormat(type="json_schema", json_schema=JsonSchemaFormat(schema_=wanted.schema_))


def _messages(message: InputMessage, param: str) -> Iterator[Message]:
    if isinstance(message.content, str):
        yield Message(role=message.role, content=message.content)
        return
    allowed = _ALLOWED[message.role]
    for index, block in enumerate(message.content):
        if not isinstance(block, allowed):
            raise InvalidRequest(
                f"A message of role '{message.role}' has no such block",
                param=f"{param}.content[{index}]",
            )
    if message.role == "assistant":
        yield _assistant(message.content)
        return
    # What tools gave comes first: it answers the calls that stand before it.
    rest: list[TextBlock | ImageBlock] = []
    for block in message.content:
        if isinstance(block, ToolResultBlock):
            content = _content(block.content or "")
            yield Message(role="tool", tool_call_id=block.tool_use_id, content=content)
        elif isinstance(block, TextBlock | ImageBlock):
            rest.append(block)
    if rest:
        yield Message(role=message.role, content=_content(rest))


_ALLOWED: dict[str, Any] = {
    "user": TextBlock | ImageBlock | ToolResultBlock,
    "system": TextBlock,
    "assistant": InputBlock,
}


def _assistant(blocks: Sequence[InputBlock]) -> Message:
    thoughts = "\n".join(block.thinking for block in blocks if isinstance(block, ThinkingBlock))
    text = [block for block in blocks if isinstance(block, TextBlock)]
    calls = [
        ToolCall(
            id=block.id,
            function=FunctionCall(name=block.name, arguments=encode(block.input).decode()),
        )
        for block in blocks
        if isinstance(block, ToolUseBlock)
    ]
    return Message(
        role="assistant",
        content=_content(text) if text else None if calls else "",
        tool_calls=calls or None,
        reasoning=thoughts or None,
        reasoning_content=thoughts or None,
    )


def _content(content: str | Sequence[TextBlock | ImageBlock]) -> str | list[Part]:
    if isinstance(content, str):
        return content
    if len(content) == 1 and isinstance(content[0], TextBlock):
        return content[0].text
    return [_part(block) for block in content]


def _part(block: TextBlock | ImageBlock) -> Part:
    if isinstance(block, TextBlock):
        return TextPart(text=block.text)
    source = block.source
    if isinstance(source, Base64Source):
        return ImagePart(image_url=ImageUrl(url=f"data:{source.media_type};base64,{source.data}"))
    return ImagePart(image_url=ImageUrl(url=source.url))
