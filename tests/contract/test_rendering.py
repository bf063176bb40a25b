"""Proves that plain chats that go past vLLM's renderer become the text that it makes of them."""

import functools
from typing import Any

import pytest

from inferneo_core.chat import (
    ChatCompletionRequest,
    FunctionCall,
    FunctionDefinition,
    Message,
    TextPart,
    Tool,
    ToolCall,
)
from inferneo_core.errors import InvalidRequest
from inferneo_server.model_spec import EMBEDDED_MODEL, source_of

# Of the libraries that vLLM is made of.
pytestmark = pytest.mark.filterwarnings("ignore")

USER = Message(role="user", content="What is Inferneo?")
SYSTEM = Message(role="system", content="You are a helpful assistant.\n\nBe short.")
ANSWER = Message(role="assistant", content="  A server.\n")
BILLED = "x-anthropic-billing-header: cch=1\nBe short."
CALL = ToolCall(id="1", function=FunctionCall(name="look", arguments='{"at": "a"}'))

STRING = (
    "{{ eos_token }}{% for m in messages %}[{{ m.role }}|{{ m['content'].strip() }}]{% endfor %}"
    "{% if add_generation_prompt %}[assistant|{% endif %}{{ tools is none }}{{ documents is none }}"
)
PARTS = (
    "{% for m in messages %}{% if m.content is string %}text{% else %}{% for part in m.content %}"
    "{{ part | tojson }}{% endfor %}{% endif %}{{ m.keys() | list }}{% endfor %}"
)
NO_SYSTEM = (
    "{% if messages[0].role == 'system' %}{{ raise_exception('No system here') }}{% endif %}"
    "{% for m in messages %}{{ m.content }}{% endfor %}{{ continue_final_message is defined }}"
)
TEMPLATES = {"own": None, "string": STRING, "parts": PARTS, "no system": NO_SYSTEM}

PLAIN = [
    [USER],
    [SYSTEM, USER],
    [USER, ANSWER, USER],
    [SYSTEM, SYSTEM, ANSWER, USER, USER, ANSWER],
    [Message(role="user", content="")],
    [Message(role="user", content="Ünïcödé 漢字 🙂 <|im_end|> {{ 7 * 7 }} \\n \t")],
    [USER, Message(role="system", content="Late.")],
]
OTHERS = [
    [Message(role="user", content="Hi", name="Ann")],
    [Message(role="user", content=[TextPart(text="a"), TextPart(text="b")])],
    [Message(role="developer", content="Be short."), USER],
    [Message(role="system", content=BILLED), USER],
    [USER, Message(role="assistant", content="7", reasoning="3 + 4")],
    [USER, Message(role="assistant", tool_calls=[CALL])],
    [USER, Message(role="tool", content="7", tool_call_id="1")],
]


@functools.cache
def rendering(template: str | None) -> Any:
    from vllm.engine.arg_utils import AsyncEngineArgs
    from vllm.renderers import renderer_from_config

    from inferneo_server.engines.tokens import own_copy
    from inferneo_server.engines.vllm_device import platform_defaults
    from inferneo_server.engines.vllm_rendering import Rendering

    arguments = platform_defaults() | {"model": source_of(EMBEDDED_MODEL), "max_model_len": 1024}
    renderer = renderer_from_config(AsyncEngineArgs(**arguments).create_engine_config())
    return Rendering(renderer, own_copy(renderer.get_tokenizer()), template)


def by_vllm(rendering: Any, request: ChatCompletionRequest) -> str | None:
    """What vLLM's renderer makes of it; None where it refuses it."""
    try:
        text: str = rendering.by_vllm(request)
    except InvalidRequest:
        return None
    return text


@pytest.mark.parametrize("name", TEMPLATES)
@pytest.mark.parametrize("add", [None, True, False])
def test_a_plain_chat_is_what_vllm_makes_of_it(name: str, add: bool | None) -> None:
    both = rendering(TEMPLATES[name])
    for messages in PLAIN:
        request = ChatCompletionRequest(messages=messages, add_generation_prompt=add)
        text = both._plain.text(request)
        assert text == by_vllm(both, request)
        assert text is not None or name == "no system"


@pytest.mark.parametrize("name", TEMPLATES)
def test_what_is_more_than_plain_is_left_to_vllm(name: str) -> None:
    plain = rendering(TEMPLATES[name])._plain
    for messages in OTHERS:
        assert plain.text(ChatCompletionRequest(messages=messages)) is None
    for fields in (
        {"tools": [Tool(function=FunctionDefinition(name="look"))]},
        {"chat_template_kwargs": {"enable_thinking": True}},
        {"reasoning_effort": "high"},
        {"continue_final_message": True},
    ):
        assert plain.text(ChatCompletionRequest(messages=[USER, ANSWER], **fields)) is None


def test_a_renderer_that_does_otherwise_is_not_passed_by(monkeypatch: pytest.MonkeyPatch) -> None:
    both = rendering(None)
    assert both._proven() is not None
    tokenizer = both._renderer.get_tokenizer()
    theirs = type(tokenizer).apply_chat_template
    monkeypatch.setattr(
        type(tokenizer),
        "apply_chat_template",
        lambda self, *given, **named: theirs(self, *given, **named) + "!",
    )
    assert both._proven() is None
