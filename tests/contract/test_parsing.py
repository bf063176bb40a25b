"""Proves that what is found in an answer does not hang on how it was cut into steps, and that our
own reader finds what vLLM's parsers do."""

import functools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import inferneo_server
from inferneo_core.chat import (
    ChatCompletionRequest,
    FunctionDefinition,
    FunctionName,
    Message,
    NamedTool,
    Tool,
)
from inferneo_server.engines.base import DetailedDelta, Prompt
from inferneo_server.engines.parsing import Asked, Parsed, Parser
from inferneo_server.engines.reading import TextParser

# Of the libraries that vLLM is made of.
pytestmark = pytest.mark.filterwarnings("ignore")

MODEL = Path(inferneo_server.__file__).parent / "embedded" / "inferneo-tiny"
THOUGHT = "<think>\nThree and four.\n</think>\n\n"
LOOK = (
    '<tool_call>\n{"name": "look", "arguments": {"at": "a } \\" \\u00e9", "n": [1, {}]}}\n'
    "</tool_call>"
)
TELL = '<tool_call>{"name": "tell", "arguments": {"x": {"y": null}}}</tool_call>'
MESSAGES = [Message(role="user", content="What is 3 plus 4?")]
TOOLS = [Tool(function=FunctionDefinition(name=name)) for name in ("look", "tell")]
NAMED = NamedTool(function=FunctionName(name="look"))

Answer = tuple[str, str, list[tuple[str, str]]]


@functools.cache
def tokenizer() -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(MODEL)


@functools.cache
def reader(reasoning_parser: str | None, tool_parser: str | None = None) -> Any:
    from inferneo_server.engines.vllm_parsing import Reader

    return Reader(tokenizer(), None, tool_parser, reasoning_parser)


def parsing_of(reasoning_parser: str | None, prompt: str = "Hello", **fields: Any) -> Any:
    request = ChatCompletionRequest(messages=MESSAGES, **fields)
    prompt_token_ids = tokenizer().encode(prompt)
    return reader(reasoning_parser).parsing(request, Prompt(token_ids=prompt_token_ids))


def joined(pieces: Sequence[Parsed]) -> Answer:
    """The reasoning, the content, and the calls."""
    calls: dict[int, tuple[str, str]] = {}
    for call in (call for piece in pieces for call in piece.tool_calls):
        assert call.function
        name, arguments = calls.get(call.index, ("", ""))
        name, arguments = (
            name + (call.function.name or ""),
            arguments + (call.function.arguments or ""),
        )
        calls[call.index] = name, arguments
    content = "".join(piece.content for piece in pieces)
    return "".join(piece.reasoning for piece in pieces), content, list(calls.values())


def in_steps(parser: Parser, text: str, step: int) -> Answer:
    token_ids = tokenizer().encode(text, add_special_tokens=False)
    pieces = []
    for at in range(0, len(token_ids), step):
        cut = token_ids[at : at + step]
        reason = "stop" if at + step >= len(token_ids) else None
        delta = DetailedDelta(
            index=0, text=tokenizer().decode(cut), token_ids=cut, finish_reason=reason
        )
        pieces.append(parser.feed(delta))
    return joined(pieces)


def at_once(parser: Parser, text: str) -> Answer:
    token_ids = tokenizer().encode(text, add_special_tokens=False)
    return joined([parser.whole(text, token_ids)])


def read(answer: Answer) -> tuple[str, str, list[tuple[str, Any]]]:
    """An answer without what may differ: how arguments are written, white space beside calls."""
    reasoning, content, calls = answer
    loaded = [(name, json.loads(arguments)) for name, arguments in calls]
    return reasoning, content if content.strip() or not calls else "", loaded


@pytest.mark.parametrize("step", [1, 2, 3, 5, 100])
def test_reasoning_is_found_in_steps_of_any_length(step: int) -> None:
    parsing = parsing_of("deepseek_v3", reasoning_effort="high")
    for parser in (parsing.parser(), parsing.vllm_parser()):
        found = in_steps(parser, THOUGHT + "Seven.", step)
        assert found == ("\nThree and four.\n", "\n\nSeven.", [])


@pytest.mark.parametrize("step", [1, 2, 7, 100])
@pytest.mark.parametrize("choice", ["auto", "required", NAMED], ids=["auto", "required", "named"])
@pytest.mark.parametrize(
    "reasoner", [None, "deepseek_r1", "deepseek_v3", "qwen3"], ids=lambda name: name or "none"
)
@pytest.mark.parametrize(
    "text",
    ["Seven. <tool> < 8", LOOK, f"I look:\n{LOOK}", LOOK + TELL, f"So.{LOOK}\n{TELL}", f"\n{TELL}"],
)
def test_the_own_reader_finds_what_vllms_does(
    reasoner: str | None, choice: Any, text: str, step: int
) -> None:
    effort = {"reasoning_effort": "high"} if reasoner else {}
    parsing = parsing_of(reasoner, tools=TOOLS, tool_choice=choice, **effort)
    text = THOUGHT + text if reasoner else text
    own = parsing.parser()
    assert isinstance(own, TextParser)

    found = in_steps(own, text, step)
    assert read(found) == read(in_steps(parsing.vllm_parser(), text, step))
    assert read(found) == read(at_once(parsing.vllm_parser(), text))
    assert found == at_once(parsing.parser(), text)


@pytest.mark.parametrize("reasoner", ["deepseek_r1", "qwen3"])
@pytest.mark.parametrize("prompt", ["Hello", "<think>", "<think>a</think>"])
@pytest.mark.parametrize("text", ["Seven", "Three.</think>Seven", "Three."])
def test_reasoning_begins_where_the_prompt_says(reasoner: str, prompt: str, text: str) -> None:
    parsing = parsing_of(reasoner, prompt)
    expected = in_steps(parsing.vllm_parser(), text, 1)
    assert isinstance(parsing.parser(), TextParser)
    assert in_steps(parsing.parser(), text, 1) == at_once(parsing.parser(), text) == expected


def test_a_call_ends_the_reasoning_of_qwen() -> None:
    parsing = parsing_of("qwen3", tools=TOOLS)
    text = f"<think>I look.\n{LOOK}"
    found = in_steps(parsing.parser(), text, 1)
    assert read(found) == read(in_steps(parsing.vllm_parser(), text, 1))
    assert found[0] == "I look.\n"
    assert [name for name, _ in found[2]] == ["look"]


@pytest.mark.parametrize("reasoner", ["deepseek_r1", "deepseek_v3", "qwen3"])
def test_reasoning_is_counted_as_vllm_does_and_where_the_prompt_began_it_too(reasoner: str) -> None:
    effort = {"reasoning_effort": "high"}
    text = THOUGHT + "Seven."
    own, theirs = parsing_of(reasoner, **effort).parser(), parsing_of(reasoner, **effort)
    vllms = theirs.vllm_parser()
    in_steps(own, text, 1)
    in_steps(vllms, text, 1)
    assert own.reasoning_tokens == vllms.reasoning_tokens > 0

    begun = parsing_of(reasoner, "<think>", **effort).parser()
    in_steps(begun, text.removeprefix("<think>"), 1)
    assert begun.reasoning_tokens == own.reasoning_tokens


@pytest.mark.parametrize(("barred", "effort"), [(True, "none"), (False, "none"), (True, "high")])
def test_nothing_is_looked_for_where_nothing_may_be(barred: bool, effort: str) -> None:
    fields: dict[str, Any] = {"tools": TOOLS, "tool_choice": "none"} if barred else {}
    parsing = parsing_of("deepseek_v3", reasoning_effort=effort, **fields)
    if parsing is not None:
        found = in_steps(parsing.parser(), THOUGHT + LOOK, 1)
        assert found == (
            ("\nThree and four.\n", "\n\n" + LOOK, [])
            if effort == "high"
            else ("", THOUGHT + LOOK, [])
        )
    else:
        assert not barred


def test_the_form_of_calls_is_told_by_the_template_that_is_given() -> None:
    from inferneo_server.engines.vllm_parsing import Reader

    request = ChatCompletionRequest(messages=MESSAGES, tools=TOOLS)
    prompt = Prompt(token_ids=[1])
    own = tokenizer().chat_template
    for template, read in ((None, True), (own, True), ("{{ messages }}", False)):
        given = Reader(tokenizer(), None, None, None, template)
        assert (given.parsing(request, prompt) is not None) is read


def test_other_forms_are_left_to_vllm() -> None:
    from inferneo_server.engines.vllm_parsing import VllmParser

    request = ChatCompletionRequest(messages=MESSAGES, tools=TOOLS)
    prompt = Prompt(token_ids=[1])
    for tool_parser, reasoning_parser in (("qwen3_coder", None), ("hermes", "glm45")):
        parsing = reader(reasoning_parser, tool_parser).parsing(request, prompt)
        assert parsing is not None
        assert isinstance(parsing.parser(), VllmParser)


def test_markers_that_are_special_tokens_stay_in_the_text() -> None:
    from transformers import AutoTokenizer

    from inferneo_server.engines.vllm_parsing import Reader

    special: Any = AutoTokenizer.from_pretrained(MODEL, additional_special_tokens=["</think>"])
    for each, skipped in ((tokenizer(), None), (special, False)):
        request = ChatCompletionRequest(messages=MESSAGES, reasoning_effort="high")
        parsing: Any = Reader(each, None, None, "deepseek_v3").parsing(
            request, Prompt(token_ids=[1])
        )
        asked = Asked()
        parsing.adjust(asked)
        assert asked.skip_special_tokens is skipped
