"""Receives decoded requests; refuses what a struct alone cannot tell to be wrong."""

from collections.abc import Sequence

import msgspec

from inferneo_core.chat import AllowedTools, ChatCompletionRequest, NamedTool, Tool
from inferneo_core.completions import CompletionRequest
from inferneo_core.errors import ContextLengthExceeded, InvalidRequest
from inferneo_core.sampling import MAX_CHOICES, SamplingFields
from inferneo_server.engines.base import Engine, Prompt


def check_chat(request: ChatCompletionRequest) -> ChatCompletionRequest:
    """Return the request with the tools that may be called, and no others.

    Raises:
        InvalidRequest: its fields contradict each other.
    """
    _check_sampling(request)
    if request.top_logprobs and not request.logprobs:
        raise InvalidRequest("'top_logprobs' needs 'logprobs'", param="top_logprobs")
    if request.continue_final_message:
        if request.add_generation_prompt:
            raise InvalidRequest(
                "'continue_final_message' and 'add_generation_prompt' exclude each other",
                param="continue_final_message",
            )
        if request.messages[-1].role != "assistant":
            raise InvalidRequest(
                "'continue_final_message' needs a last message of the assistant",
                param="continue_final_message",
            )
    return _with_allowed_tools(request)


def _with_allowed_tools(request: ChatCompletionRequest) -> ChatCompletionRequest:
    choice = request.tool_choice
    if not request.tools:
        if choice not in (None, "none", "auto"):
            raise InvalidRequest("'tool_choice' needs 'tools'", param="tool_choice")
        if choice is None and request.tools is None:
            return request
        return msgspec.structs.replace(request, tools=None, tool_choice=None)
    if isinstance(choice, NamedTool):
        _tool(request.tools, choice.function.name)
    if not isinstance(choice, AllowedTools):
        return request
    allowed = choice.allowed_tools
    tools = [
        _tool(request.tools, reference.function.name if reference.function else reference.name)
        for reference in allowed.tools
    ]
    return msgspec.structs.replace(request, tools=tools, tool_choice=allowed.mode)


def _tool(tools: Sequence[Tool], name: str | None) -> Tool:
    if name is None:
        raise InvalidRequest("A tool of 'tool_choice' has no name", param="tool_choice")
    for tool in tools:
        if tool.function.name == name:
            return tool
    raise InvalidRequest(f"'tool_choice' names {name!r}, which is no tool", param="tool_choice")


def check_text(request: CompletionRequest, prompts: int) -> None:
    """Refuse a text completion of so many prompts whose fields contradict each other.

    Raises:
        InvalidRequest: they do.
    """
    _check_sampling(request)
    choices = request.n or 1
    best_of = request.best_of or choices
    if best_of < choices:
        raise InvalidRequest("'best_of' must be at least 'n'", param="best_of")
    if best_of > choices and request.stream:
        raise InvalidRequest(
            "The best of several can be told at the end only: 'best_of' excludes 'stream'",
            param="best_of",
        )
    if prompts * best_of > MAX_CHOICES:
        raise InvalidRequest(f"More than {MAX_CHOICES} prompts times n", param="prompt")
    if request.max_tokens == 0 and not request.echo:
        raise InvalidRequest("'max_tokens' of 0 needs 'echo'", param="max_tokens")
    if request.suffix is not None and (request.echo or prompts > 1):
        raise InvalidRequest("'suffix' takes one prompt, and no 'echo'", param="suffix")
    if request.suffix is not None and request.truncate_prompt_tokens is not None:
        raise InvalidRequest(
            "A gap cannot be cut: 'suffix' excludes it", param="truncate_prompt_tokens"
        )


def _check_sampling(request: SamplingFields) -> None:
    if request.stream_options and not request.stream:
        raise InvalidRequest("'stream_options' needs 'stream'", param="stream_options")
    if request.structured_outputs and request.response_format:
        raise InvalidRequest(
            "'structured_outputs' and 'response_format' exclude each other",
            param="structured_outputs",
        )


def split_prompt(
    prompt: str | list[str | int | list[int]], *, param: str = "prompt"
) -> list[str | list[int]]:
    """The prompts of a request: one text, several, one list of token ids, or several.

    Raises:
        InvalidRequest: it is empty, or a mixture.
    """
    if isinstance(prompt, str):
        return [prompt]
    texts = [part for part in prompt if isinstance(part, str)]
    ids = [part for part in prompt if isinstance(part, int)]
    lists = [part for part in prompt if isinstance(part, list)]
    if not prompt or [] in lists:
        raise InvalidRequest(f"Empty '{param}'", param=param)
    if len(texts) == len(prompt):
        return [*texts]
    if len(ids) == len(prompt):
        return [ids]
    if len(lists) == len(prompt):
        return [*lists]
    raise InvalidRequest(
        f"'{param}' must hold texts, token ids or lists of token ids, not a mixture", param=param
    )


def check_room(
    prompts: Sequence[Prompt], max_tokens: int | None, engine: Engine, *, param: str
) -> None:
    """Refuse prompts that leave too little room for their answers.

    Raises:
        ContextLengthExceeded: one does.
    """
    for prompt in prompts:
        length = len(prompt.token_ids)
        if length + (max_tokens or 1) > engine.max_model_len:
            asked = f" and {max_tokens} more were asked for" if max_tokens else ""
            raise ContextLengthExceeded(
                f"The model's context is {engine.max_model_len} tokens; "
                f"the prompt has {length}{asked}",
                param=param,
            )
