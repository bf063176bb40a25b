"""Receives chat requests; hands on their text by the model's chat template, without vLLM."""

import json
import math
import re
from collections.abc import Callable
from typing import Any

import jinja2
import msgspec
from jinja2 import meta, nodes
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from inferneo_core.chat import ChatCompletionRequest, Message, Part, RefusalPart, TextPart
from inferneo_core.codec import encode
from inferneo_core.errors import InvalidRequest

# A template that asks what the content is reads a list of parts itself.
_READS_PARTS = re.compile(r"content\s+is\s+(not\s+)?(string|iterable|sequence|mapping)")
# Arguments that the renderer reads itself, before the template does.
_LISTS = ("tools", "documents")
# Arguments of the renderer and of the functions that it hands on to.
_RENDERERS_OWN = frozenset(
    {"conversation", "messages", "chat_template", "model_config", "tokenizer", "self"}
)


class _Generation(Extension):
    """The blocks by which templates mark what the model is trained to write."""

    tags = {"generation"}

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def check_template(text: str) -> None:
    """Refuse a text that the renderers, which are those of transformers, could not read.

    Raises:
        ValueError: it is no Jinja, or reads no messages.
    """
    environment = ImmutableSandboxedEnvironment(extensions=[_Generation, "jinja2.ext.loopcontrols"])
    try:
        environment.from_string(text)
        read = meta.find_undeclared_variables(environment.parse(text))
    except jinja2.TemplateSyntaxError as error:
        raise ValueError(f"line {error.lineno}: {error.message}") from None
    except SyntaxError as error:
        raise ValueError(error.msg) from None  # of the program that Jinja makes of it
    except RecursionError as error:
        raise ValueError(str(error)) from None
    if "messages" not in read:
        raise ValueError("it does not read `messages`")


def characters(request: ChatCompletionRequest) -> float:
    """How long a text a request may become, roughly: the tools and what else its template is given
    count too. Infinitely long with pictures and sound, which need a thread."""
    size = sum(map(_message_characters, request.messages))
    if request.tools:
        size += len(encode(request.tools))
    if request.chat_template_kwargs:
        size += len(encode(request.chat_template_kwargs))
    return size


def _message_characters(message: Message) -> float:
    content = message.content
    size = len(content) if isinstance(content, str) else sum(map(_part_characters, content or ()))
    if message.tool_calls:
        size += sum(len(call.function.arguments) for call in message.tool_calls)
    return size + len(message.reasoning or "") + len(message.reasoning_content or "")


def _part_characters(part: Part) -> float:
    if isinstance(part, TextPart):
        return len(part.text)
    return len(part.refusal) if isinstance(part, RefusalPart) else math.inf


def template_kwargs(request: ChatCompletionRequest) -> dict[str, Any]:
    """What a request tells the chat template beside the conversation.

    Raises:
        InvalidRequest: it names what is the renderer's own, or gives what that cannot read.
    """
    for name in _RENDERERS_OWN.intersection(request.chat_template_kwargs or ()):
        raise InvalidRequest(
            f"'{name}' is nothing that a request may give the chat template",
            param="chat_template_kwargs",
        )
    for name in _LISTS:
        if not isinstance((request.chat_template_kwargs or {}).get(name), list | None):
            raise InvalidRequest(
                f"'{name}' in 'chat_template_kwargs' must be a list", param="chat_template_kwargs"
            )
    arguments: dict[str, Any] = {}
    if request.reasoning_effort is not None:
        # Templates know one or the other.
        arguments["reasoning_effort"] = request.reasoning_effort
        arguments["enable_thinking"] = request.reasoning_effort != "none"
    return arguments | (request.chat_template_kwargs or {})


def renderer_arguments(request: ChatCompletionRequest) -> dict[str, Any]:
    """What a renderer is told beside the conversation, for itself and for the template.

    Raises:
        InvalidRequest: as `template_kwargs` does.
    """
    goes_on = bool(request.continue_final_message)
    arguments = {
        "add_generation_prompt": not goes_on and request.add_generation_prompt is not False,
        "continue_final_message": goes_on,
        **template_kwargs(request),
        "tokenize": False,
    }
    if request.tools and request.tool_choice != "none":
        arguments["tools"] = msgspec.to_builtins(request.tools)
    return arguments


def render(tokenizer: Any, request: ChatCompletionRequest) -> str:
    """The text of a conversation, as the model reads it.

    Args:
        tokenizer: a Hugging Face tokenizer, which has the template.
        request: the conversation.

    Raises:
        InvalidRequest: the template refuses the conversation, or there is none.
    """
    arguments = renderer_arguments(request)
    template = tokenizer.chat_template
    reads_parts = isinstance(template, str) and bool(_READS_PARTS.search(template))
    conversation = [
        _message(message, number, reads_parts=reads_parts)
        for number, message in enumerate(msgspec.to_builtins(request.messages))
    ]
    return _rendered(lambda: tokenizer.apply_chat_template(conversation, **arguments), request)


def _rendered(work: Callable[[], str], request: ChatCompletionRequest) -> str:
    try:
        return work()
    except (ValueError, jinja2.TemplateError) as error:
        raise InvalidRequest(str(error), param="messages") from error
    except Exception as error:
        if not request.chat_template_kwargs:
            raise InvalidRequest(
                f"The chat template cannot take the conversation: {error}", param="messages"
            ) from error
        raise InvalidRequest(
            f"The chat template cannot take what it was given: {error}",
            param="chat_template_kwargs",
        ) from error


def _message(message: dict[str, Any], number: int, *, reads_parts: bool) -> dict[str, Any]:
    """A message as templates want it: text in one piece, arguments of calls as objects."""
    content = message.get("content")
    if isinstance(content, list):
        texts = [part.get("text", part.get("refusal")) for part in content]
        if None in texts:
            raise InvalidRequest(
                "The torch engine reads text only", param=f"messages[{number}].content"
            )
        parts = [{"type": "text", "text": text} for text in texts]
        message = message | {"content": parts if reads_parts else "\n".join(texts)}
    if message.get("tool_calls"):
        message = message | {"tool_calls": [_call(call) for call in message["tool_calls"]]}
    if message.get("role") == "assistant":
        message.setdefault("content", None if message.get("tool_calls") else "")
    return message


def _call(call: dict[str, Any]) -> dict[str, Any]:
    function = call.get("function")
    if not function or not isinstance(function.get("arguments"), str):
        return call
    try:
        arguments = json.loads(function["arguments"] or "{}")
    except ValueError:
        return call
    return call | {"function": function | {"arguments": arguments}}
