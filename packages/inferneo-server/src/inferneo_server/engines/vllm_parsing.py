"""Receives chat requests; hands on what finds tool calls and reasoning, one for each choice.

vLLM's parsers say what the model must be asked for, and read what no reader of our own does. They
take vLLM's own pydantic request, which is built only for requests that need them.
"""

import functools
import re
from collections.abc import Callable, Sequence
from typing import Any
from uuid import uuid4

import msgspec
from msgspec import UNSET
from vllm.entrypoints.openai.chat_completion.protocol import (
    ChatCompletionRequest as VllmChatRequest,
)
from vllm.parser import ParserManager
from vllm.parser.qwen3 import Qwen3Parser
from vllm.reasoning.deepseek_r1_reasoning_parser import DeepSeekR1ReasoningParser
from vllm.reasoning.deepseek_v3_reasoning_parser import DeepSeekV3ReasoningParser
from vllm.reasoning.identity_reasoning_parser import IdentityReasoningParser
from vllm.sampling_params import SamplingParams
from vllm.tool_parsers.hermes_tool_parser import Hermes2ProToolParser

from inferneo_core.chat import (
    ChatCompletionRequest,
    FunctionCallDelta,
    NamedTool,
    ToolCallDelta,
)
from inferneo_server.engines.base import Delta, Prompt
from inferneo_server.engines.chat_templates import template_kwargs
from inferneo_server.engines.hermes import OPEN
from inferneo_server.engines.parsing import Asked, Parsed, Parser
from inferneo_server.engines.reading import TextParser, Thinking
from inferneo_server.engines.structures import forcible
from inferneo_server.engines.thinking import BEGIN, END
from inferneo_server.engines.vllm_sampling import structure

# What a model without a tool parser of its own is made to write, by grammar, where it must call.
FALLBACK_TOOL_PARSER = "hermes"
MAX_SILENT, MAX_ASKED = 256, 4096


# How the templates of Hermes, of Qwen 2.5 and 3 and others ask for calls, quotes escaped or not.
_HERMES_CALL = re.compile(r'\{\\?"name\\?": <function-name>, \\?"arguments\\?": <[a-z-]+>\}')


class Reader:
    """Reads the answers of one model.

    Args:
        tokenizer: the model's.
        model_config: vLLM's.
        tool_parser: vLLM's name of the parser of tool calls, or `none`; None guesses.
        reasoning_parser: vLLM's name of the parser of reasoning, or None.
        chat_template: a template in the place of the tokenizer's.

    Raises:
        TypeError: there is no parser of that name, or it does not fit the tokenizer.
    """

    def __init__(
        self,
        tokenizer: Any,
        model_config: Any,
        tool_parser: str | None,
        reasoning_parser: str | None,
        chat_template: str | None = None,
    ) -> None:
        self._tokenizer = tokenizer
        self._model_config = model_config
        if tool_parser is None:
            tool_parser = _guessed_tool_parser(
                chat_template or getattr(tokenizer, "chat_template", None)
            )
        elif tool_parser == "none":
            tool_parser = None
        self._knows_tools = tool_parser is not None
        self._with_tools = _parser_class(tool_parser, reasoning_parser)
        self._forced = _parser_class(
            tool_parser or FALLBACK_TOOL_PARSER, reasoning_parser, strict_level="parameter"
        )
        self._silent: set[str] = set()
        self._without_tools = _parser_class(None, reasoning_parser)
        if self._with_tools is not None:
            self._with_tools(tokenizer)  # which tells whether it fits

    def parsing(self, request: ChatCompletionRequest, prompt: Prompt) -> "VllmParsing | None":
        """How to read the answer to a request; None where it is plain text."""
        forced = request.tool_choice == "required" or isinstance(request.tool_choice, NamedTool)
        tools = bool(request.tools) and (self._knows_tools or forced)
        with_tools = self._forced if forced else self._with_tools
        parser_class = with_tools if tools else self._without_tools
        if parser_class is None:
            return None
        # To build a parser costs more than many tokens: what reasons not is found out once.
        asked = repr(request.reasoning_effort) + repr(request.chat_template_kwargs)
        if not tools and asked in self._silent:
            return None
        if len(self._silent) >= MAX_SILENT:
            self._silent.clear()
        parsing = VllmParsing(
            parser_class, self._tokenizer, self._model_config, request, prompt, tools=tools
        )
        if tools or parsing.reasons:
            return parsing
        if len(asked) <= MAX_ASKED:
            self._silent.add(asked)
        return None


class VllmParsing:
    """How the answer to one request is to be read."""

    def __init__(
        self,
        parser_class: Any,
        tokenizer: Any,
        model_config: Any,
        request: ChatCompletionRequest,
        prompt: Prompt,
        *,
        tools: bool,
    ) -> None:
        self._request: Any = _vllm_request(request, tools=tools)
        self._make: Callable[[], Any] = functools.partial(
            parser_class,
            tokenizer,
            self._request.tools,
            chat_template_kwargs=template_kwargs(request),
            model_config=model_config,
        )
        first = self._make()
        # Only a grammar of its own is taken over: the request's own one is set already.
        self._before = self._request.structured_outputs
        self._request = first.adjust_request(self._request)
        self._one_call = request.parallel_tool_calls is False
        self._prompt_token_ids = list(prompt.token_ids)
        self.reasons = _reasons(first.reasoning_parser)
        self._own = None
        if _is_read_by_us(first, self._request):
            self._own = functools.partial(
                TextParser,
                thinking=self._thinking(first.reasoning_parser) if self.reasons else None,
                calls=tools and self._request.tool_choice != "none",
                one_call=self._one_call,
            )
            if self.reasons and END in tokenizer.all_special_tokens:
                self._request.skip_special_tokens = False  # its end is found in the text

    def _thinking(self, parser: Any) -> Thinking:
        until_call = _engine(parser) is Qwen3Parser
        last = {parser.vocab.get(END), parser.vocab.get(OPEN) if until_call else None}
        return Thinking(
            begun=not parser.is_reasoning_end(self._prompt_token_ids),
            told=self._request.include_reasoning,
            until_call=until_call,
            first=parser.vocab.get(BEGIN),
            last=last - {None},
        )

    def adjust(self, params: SamplingParams | Asked) -> None:
        """Set what makes the model write so that it can be read."""
        if self._request.structured_outputs is not self._before:
            params.structured_outputs = self._request.structured_outputs
        if not self._request.skip_special_tokens:
            params.skip_special_tokens = False

    def parser(self) -> Parser:
        return self.vllm_parser() if self._own is None else self._own()

    def vllm_parser(self) -> "VllmParser":
        """vLLM's own parser for one choice, which costs more the longer the answer is."""
        return VllmParser(
            self._make(), self._request, self._prompt_token_ids, one_call=self._one_call
        )


class VllmParser:
    """Reads one choice."""

    def __init__(
        self, parser: Any, request: VllmChatRequest, prompt_token_ids: list[int], *, one_call: bool
    ) -> None:
        self._parser = parser
        self._request = request
        self._prompt_token_ids = prompt_token_ids
        self._one_call = one_call
        self._token_ids: list[int] = []
        self._start_token = _start_token(parser.reasoning_parser)
        parser.set_prompt_token_ids(prompt_token_ids)

    @property
    def reasoning_tokens(self) -> int:
        count: int = self._parser.count_reasoning_tokens(self._token_ids)
        return count

    def feed(self, delta: Delta) -> Parsed:
        token_ids = list(delta.token_ids)
        self._token_ids += token_ids
        message = self._parser.parse_delta(
            delta.text,
            token_ids,
            self._request,
            prompt_token_ids=self._prompt_token_ids,
            finished=delta.finish_reason is not None,
        )
        if message is None:
            return Parsed()
        return Parsed(
            content=message.content or "",
            reasoning=self._begun(message.reasoning or ""),
            tool_calls=self._allowed([_call_delta(call) for call in message.tool_calls]),
        )

    def _begun(self, reasoning: str) -> str:
        """Reasoning without the token that begins it, which vLLM leaves there where steps come
        together."""
        if reasoning and self._start_token:
            reasoning, self._start_token = reasoning.replace(self._start_token, "", 1), ""
        return reasoning

    def whole(self, text: str, token_ids: Sequence[int]) -> Parsed:
        self._token_ids = list(token_ids)
        reasoning, content, calls = self._parser.parse(
            text, self._request, enable_auto_tools=True, model_output_token_ids=token_ids
        )
        if not self._request.include_reasoning:
            reasoning = None
        return Parsed(
            content=content or "",
            reasoning=reasoning or "",
            tool_calls=self._allowed(
                [
                    ToolCallDelta(
                        index=index,
                        id=call.id or f"call_{uuid4().hex}",
                        type="function",
                        function=FunctionCallDelta(name=call.name, arguments=call.arguments),
                    )
                    for index, call in enumerate(calls or ())
                ]
            ),
        )

    def _allowed(self, calls: list[ToolCallDelta]) -> list[ToolCallDelta]:
        return [call for call in calls if not call.index] if self._one_call else calls


def _guessed_tool_parser(template: Any) -> str | None:
    """The parser of the calls that a template asks for, where that is certain."""
    if isinstance(template, str) and "<tool_call>" in template and _HERMES_CALL.search(template):
        return "hermes"
    return None


def _parser_class(
    tool_parser: str | None, reasoning_parser: str | None, strict_level: str = "auto"
) -> Any:
    return ParserManager.get_parser(
        tool_parser_name=tool_parser,
        reasoning_parser_name=reasoning_parser,
        enable_auto_tools=tool_parser is not None,
        tool_strict_level=strict_level,
    )


def _vllm_request(request: ChatCompletionRequest, *, tools: bool) -> VllmChatRequest:
    fields: dict[str, Any] = {
        "messages": [{"role": "user", "content": ""}],  # parsers do not look at them
        "include_reasoning": request.include_reasoning is not False,
        "chat_template_kwargs": template_kwargs(request),
    }
    if request.skip_special_tokens is not None:
        fields["skip_special_tokens"] = request.skip_special_tokens
    if tools:
        fields["tools"] = forcible(msgspec.to_builtins(request.tools), "tools")
        fields["tool_choice"] = msgspec.to_builtins(request.tool_choice or "auto")
        fields["parallel_tool_calls"] = request.parallel_tool_calls is not False
        structured = structure(request)
        if structured is not None:
            fields["structured_outputs"] = structured
    return VllmChatRequest.model_validate(fields)


def _reasons(parser: Any) -> bool:
    # Some parsers hand on to another one, by what the request says.
    parser = getattr(parser, "_parser", parser)
    return parser is not None and not isinstance(parser, IdentityReasoningParser)


def _is_read_by_us(parser: Any, request: VllmChatRequest) -> bool:
    """Whether our own reader knows what that parser of vLLM's would look for."""
    tools, reasoning = parser.tool_parser, parser.reasoning_parser
    if isinstance(reasoning, DeepSeekV3ReasoningParser):
        reasoning = reasoning._parser
    known = {type(None), IdentityReasoningParser, DeepSeekR1ReasoningParser}
    if type(reasoning) not in known and _engine(reasoning) is not Qwen3Parser:
        return False
    if type(tools) is Hermes2ProToolParser:
        # Where vLLM is set not to force the model's own form, forced calls are bare JSON.
        return request.tool_choice == "auto" or not tools.supports_required_and_named
    return tools is None


def _engine(parser: Any) -> Any:
    return getattr(parser, "_parser_engine_cls", None)


def _start_token(parser: Any) -> str:
    parser = getattr(parser, "_parser", parser)
    token: str = getattr(parser, "start_token", "")
    return token


def _call_delta(call: Any) -> ToolCallDelta:
    function = call.function
    return ToolCallDelta(
        index=call.index,
        id=call.id or UNSET,
        type="function" if call.id else UNSET,
        function=UNSET
        if function is None
        else FunctionCallDelta(
            name=function.name or UNSET,
            arguments=UNSET if function.arguments is None else function.arguments,
        ),
    )
