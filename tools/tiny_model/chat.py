"""Takes a conversation, hands on the text that the model reads.

The template is the one that ships beside the weights, so training and serving cannot drift apart.
"""

import json
import random
import re
from dataclasses import dataclass, field
from typing import Any

from jinja2.sandbox import ImmutableSandboxedEnvironment

Message = dict[str, Any]
Tool = dict[str, Any]

END_OF_TEXT = "<|endoftext|>"
TURN_START = "<|im_start|>"
TURN_END = "<|im_end|>"
FIM_PREFIX, FIM_SUFFIX, FIM_MIDDLE = "<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"
SPECIAL = [END_OF_TEXT, TURN_START, TURN_END, FIM_PREFIX, FIM_SUFFIX, FIM_MIDDLE]
# Not special: a decoder that skips special tokens must keep them, since parsers read them.
MARKERS = [
    "<think>",
    "</think>",
    "<tool_call>",
    "</tool_call>",
    "<tool_response>",
    "</tool_response>",
]

CHAT_TEMPLATE = """\
{%- macro text(content) -%}
    {%- if content is string -%}
        {{- content -}}
    {%- elif content is iterable and content is not mapping -%}
        {%- for part in content -%}
            {%- if part is string -%}{{- part -}}
            {%- elif part.text is defined and part.text is string -%}{{- part.text -}}
            {%- endif -%}
        {%- endfor -%}
    {%- endif -%}
{%- endmacro -%}
{%- set state = namespace(system='', first=0, after_tool=false) -%}
{%- if messages and messages[0].role in ['system', 'developer'] -%}
    {%- set state.system = text(messages[0].content) -%}
    {%- set state.first = 1 -%}
{%- endif -%}
{%- if tools or state.system or (enable_thinking is defined and enable_thinking) -%}
    {{- '<|im_start|>system\\n' + state.system -}}
    {%- if tools -%}
        {{- '\\n\\n' if state.system else '' -}}
        {{- '# Tools\\n\\nYou may call these functions:\\n<tools>' -}}
        {%- for tool in tools -%}
            {{- '\\n' -}}{{- tool | tojson -}}
        {%- endfor -%}
        {{- '\\n</tools>\\n\\nTo call one, answer:\\n<tool_call>\\n' -}}
        {{- '{"name": <function-name>, "arguments": <arguments-object>}\\n</tool_call>' -}}
    {%- endif -%}
    {%- if enable_thinking is defined and enable_thinking -%}
        {{- '\\n\\n' if (tools or state.system) else '' -}}
        {{- 'Think first.' -}}
    {%- endif -%}
    {{- '<|im_end|>\\n' -}}
{%- endif -%}
{%- for message in messages[state.first:] -%}
    {%- set content = text(message.content) -%}
    {%- if message.role in ['tool', 'function'] -%}
        {{- '\\n' if state.after_tool else '<|im_start|>user\\n' -}}
        {{- '<tool_response>\\n' + content + '\\n</tool_response>' -}}
        {%- set following = messages[state.first + loop.index] -%}
        {%- if loop.last or following.role not in ['tool', 'function'] -%}
            {{- '<|im_end|>\\n' -}}
            {%- set state.after_tool = false -%}
        {%- else -%}
            {%- set state.after_tool = true -%}
        {%- endif -%}
    {%- elif message.role == 'assistant' -%}
        {{- '<|im_start|>assistant\\n' -}}
        {%- set reasoning = text(message.reasoning_content or message.reasoning) -%}
        {%- if reasoning -%}
            {{- '<think>\\n' + reasoning.strip() + '\\n</think>\\n\\n' -}}
        {%- endif -%}
        {{- content -}}
        {%- for call in message.tool_calls or [] -%}
            {%- set function = call.function or call -%}
            {{- '\\n' if content or not loop.first else '' -}}
            {{- '<tool_call>\\n{"name": ' -}}{{- function.name | tojson -}}
            {{- ', "arguments": ' -}}
            {%- if function.arguments is string -%}{{- function.arguments or '{}' -}}
            {%- else -%}{{- (function.arguments or {}) | tojson -}}
            {%- endif -%}
            {{- '}\\n</tool_call>' -}}
        {%- endfor -%}
        {{- '<|im_end|>\\n' -}}
    {%- else -%}
        {%- set role = 'system' if message.role == 'developer' else message.role -%}
        {{- '<|im_start|>' + role + '\\n' + content + '<|im_end|>\\n' -}}
    {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{- '<|im_start|>assistant\\n' -}}
    {%- if enable_thinking is defined and enable_thinking is false -%}
        {{- '<think>\\n\\n</think>\\n\\n' -}}
    {%- endif -%}
{%- endif -%}
"""


def _environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    # As transformers does: Jinja's own filter escapes for HTML and sorts the keys.
    environment.filters["tojson"] = lambda value: json.dumps(value, ensure_ascii=False)
    return environment


_TEMPLATE = _environment().from_string(CHAT_TEMPLATE)


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One thing to learn from: a conversation, or plain text where `text` is given."""

    messages: list[Message] = field(default_factory=list)
    tools: list[Tool] = field(default_factory=list)
    thinking: bool | None = None
    text: str = ""

    def render(self) -> str:
        """Returns the text as the model will see it."""
        if self.text:
            return self.text + END_OF_TEXT
        options: dict[str, Any] = (
            {} if self.thinking is None else {"enable_thinking": self.thinking}
        )
        rendered = _TEMPLATE.render(messages=self.messages, tools=self.tools, **options)
        return rendered.rstrip("\n")


def user(content: str) -> Message:
    """A user's turn."""
    return {"role": "user", "content": content}


def assistant(content: str, reasoning: str = "") -> Message:
    """An assistant's turn, with the reasoning before it if there is any."""
    message = {"role": "assistant", "content": content}
    return message | {"reasoning_content": reasoning} if reasoning else message


_CHOICE = re.compile(r"\{([^{}]*)\}")


def expand(pattern: str, rng: random.Random) -> str:
    """Picks one of each `{a|b|c}` of a pattern, the innermost first."""
    while "{" in pattern:
        pattern = _CHOICE.sub(lambda found: rng.choice(found[1].split("|")), pattern)
    return pattern
