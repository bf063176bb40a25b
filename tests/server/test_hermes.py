"""Proves that reasoning and calls are found however an answer is cut, in steady room and time."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct

from inferneo_server.engines.base import DetailedDelta
from inferneo_server.engines.parsing import Parsed
from inferneo_server.engines.reading import TextParser, Thinking

CLOSED = "</tool_call>"
# Long names, keys and pieces of markers alike.
WORDS = st.text(alphabet='ab "\\{}[]<>/_:,\n\u00e9\U0001f642tool_callthink', max_size=20)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=6,
)
ARGUMENTS = st.dictionaries(WORDS, VALUES, max_size=3)
MARKED = st.lists(
    st.sampled_from(
        [
            *("<think>", "</think>", "<tool_call>", CLOSED, "</tool_", "<", "\n", " ", "{", "}"),
            *('{"name": "f"', ', "arguments": ', '{"x": [1, "}"]}', '"', "\\", "text", "nul", ","),
        ]
    )
)


class Answer(Struct):
    """What a parser found, joined."""

    reasoning: str = ""
    content: str = ""
    calls: dict[int, tuple[str, str]] = {}


def parser(begun: bool = False, **wishes: bool) -> TextParser:
    thinking = Thinking(
        begun=begun,
        told=wishes.get("told", True),
        until_call=wishes.get("until_call", False),
        first=1,
        last=frozenset({2}),
    )
    calls = wishes.get("calls", True)
    return TextParser(thinking=thinking, calls=calls, one_call=wishes.get("one_call", False))


def joined(pieces: Sequence[Parsed]) -> Answer:
    answer = Answer()
    for piece in pieces:
        answer.reasoning += piece.reasoning
        answer.content += piece.content
        for call in piece.tool_calls:
            assert call.function
            assert bool(call.id) == bool(call.function.name) == (call.index not in answer.calls)
            name, arguments = answer.calls.get(call.index, (call.function.name or "", ""))
            answer.calls[call.index] = name, arguments + (call.function.arguments or "")
    assert list(answer.calls) == list(range(len(answer.calls)))
    return answer


def delta(text: str, token_ids: Sequence[int] = (9,), reason: str | None = None) -> DetailedDelta:
    return DetailedDelta(index=0, text=text, token_ids=token_ids, finish_reason=reason)


def fed(reader: TextParser, pieces: Sequence[str]) -> Answer:
    return joined(
        [*(reader.feed(delta(piece)) for piece in pieces), reader.feed(delta("", (), "stop"))]
    )


def whole(text: str, **wishes: Any) -> Answer:
    return joined([parser(**wishes).whole(text, ())])


def cut(text: str, places: Sequence[int]) -> list[str]:
    edges = [0, *sorted(place % (len(text) + 1) for place in places), len(text)]
    return [text[a:b] for a, b in zip(edges, edges[1:], strict=False)]


def call(name: str, arguments: str) -> str:
    return f'<tool_call>\n{{"name": "{name}", "arguments": {arguments}}}\n{CLOSED}'


@given(
    thought=st.text(alphabet="ab <>/\n"),
    said=st.text(alphabet="ab <>/\n"),
    wanted=st.lists(ARGUMENTS, max_size=3),
    ascii_only=st.booleans(),
    places=st.lists(st.integers(min_value=0), max_size=40),
)
def test_an_answer_is_read_alike_however_it_is_cut(
    thought: str, said: str, wanted: list[Any], ascii_only: bool, places: list[int]
) -> None:
    written = [json.dumps(each, ensure_ascii=ascii_only) for each in wanted]
    calls = "\n".join(call(f"f{number}", each) for number, each in enumerate(written))
    text = f"<think>{thought}</think>{said}{calls}"

    answer = fed(parser(), cut(text, places))

    assert answer.reasoning == thought
    assert answer.content == (said if said.strip() or not calls else "")
    assert list(answer.calls.values()) == [(f"f{n}", each) for n, each in enumerate(written)]
    assert answer == whole(text)


@given(
    marked=MARKED,
    places=st.lists(st.integers(min_value=0), max_size=40),
    begun=st.booleans(),
    until_call=st.booleans(),
)
def test_what_is_no_answer_at_all_is_read_alike_too(
    marked: list[str], places: list[int], begun: bool, until_call: bool
) -> None:
    text = "".join(marked)
    wishes = {"begun": begun, "until_call": until_call}
    assert fed(parser(**wishes), cut(text, places)) == whole(text, **wishes)
    assert fed(parser(**wishes), list(text)) == whole(text, **wishes)


def test_a_name_is_told_when_it_is_complete_and_arguments_as_they_come() -> None:
    reader = parser()
    pieces = ["<tool", '_call>{"na', 'me": "lo', 'ok"', ', "arguments": ', '{"x', '": "}', '"}}']
    found = [joined([reader.feed(delta(piece))]) for piece in pieces[:4]]
    assert [answer.calls for answer in found] == [{}, {}, {}, {0: ("look", "")}]
    later = [reader.feed(delta(piece)).tool_calls for piece in pieces[4:]]
    fragments = [[one.function and one.function.arguments for one in calls] for calls in later]
    assert fragments == [[], ['{"x'], ['": "}'], ['"}']]


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ('{"arguments": {"x": [1]}, "id": {"name": 2}, "name": "f"}', ("f", '{"x": [1]}')),
        ('{"name": "f"}', ("f", "{}")),
        ('{"id": "}", "name": "f", "arguments": null}', ("f", "{}")),
        ('{"name": "f", "arguments": "{\\"x\\": 1}"}', ("f", '"{\\"x\\": 1}"')),
        ('{"na\\u006de": "caf\\u00e9", "arguments": { } }', ("caf\u00e9", "{ }")),
        ('\n {"name" :"f" ,"arguments" :[ 1 ] ,"more": {"arguments": 2}}\n', ("f", "[ 1 ]")),
        (f'{{"name": "f", "arguments": {{"x": "{CLOSED}"}}}}', ("f", f'{{"x": "{CLOSED}"}}')),
        ('{"name": "f", "arguments": {"x": 1}, "arguments": {"y": 2}}', ("f", '{"x": 1}')),
        ('{"name": "f", "arguments": {"x": 1}', ("f", '{"x": 1}')),
        ('{"name": "f", "arguments": {"x": 1', ("f", '{"x": 1')),
    ],
)
def test_calls_of_all_shapes_are_found(body: str, found: tuple[str, str]) -> None:
    text = f"One. <tool_call>{body}{CLOSED} Two.{call('g', '{}')}"
    expected = Answer(content="One.  Two.", calls={0: found, 1: ("g", "{}")})
    assert whole(text) == expected
    assert fed(parser(), list(text)) == expected


@pytest.mark.parametrize(
    "text",
    [
        f"<tool_call>no JSON{CLOSED}",
        f'<tool_call>{{"id": 1, "more": "{{"}}{CLOSED} so',
        f'<tool_call>{{"name": 5, "arguments": {{}}}}{CLOSED}',
        f" <tool_call>{{, {CLOSED}",
        '<tool_call>{"name": "f',
        "a <tool_ca",
        "a <",
        " \n",
    ],
)
def test_what_is_no_call_is_content(text: str) -> None:
    assert whole(text) == fed(parser(), list(text)) == Answer(content=text)


def test_a_call_that_is_cut_keeps_what_it_has_beside_the_others() -> None:
    text = call("f", '{"x": 1}') + call("g", '{"y": "abc')[:-14]
    expected = Answer(calls={0: ("f", '{"x": 1}'), 1: ("g", '{"y": "abc')})
    assert whole(text) == fed(parser(), list(text)) == expected


def test_the_calls_behind_the_first_can_be_left_out() -> None:
    text = f"a{call('f', '{}')}{call('g', '{}')}<tool_call>none{CLOSED}"
    expected = Answer(content=f"a<tool_call>none{CLOSED}", calls={0: ("f", "{}")})
    assert whole(text, one_call=True) == expected
    assert fed(parser(one_call=True), list(text)) == expected


def test_where_no_tool_may_be_called_calls_are_text() -> None:
    assert whole(call("f", "{}"), calls=False) == Answer(content=call("f", "{}"))


@pytest.mark.parametrize(
    ("text", "begun", "reasoning", "content"),
    [
        ("<think>a</think>b", False, "a", "b"),
        (" <think>a</think>b", True, " a", "b"),
        ("a</think>b", True, "a", "b"),
        ("a</think>b", False, "", "a</think>b"),
        ("a<think>b</think>c", True, "a<think>b", "c"),
        ("<think>a</thin", False, "a</thin", ""),
        ("<thi", True, "<thi", ""),
        ("<thi", False, "", "<thi"),
        ("<think>a</think><think>b</think>", False, "a", "<think>b</think>"),
        ("<think>a<tool_call>", False, "a<tool_call>", ""),
    ],
)
def test_reasoning_is_what_an_answer_begins_with(
    text: str, begun: bool, reasoning: str, content: str
) -> None:
    expected = Answer(reasoning=reasoning, content=content)
    assert whole(text, begun=begun) == expected
    assert fed(parser(begun=begun), list(text)) == expected
    hidden = Answer(content=content)
    assert fed(parser(begun=begun, told=False), list(text)) == hidden


def test_a_call_ends_reasoning_where_the_model_writes_so() -> None:
    text = f"<think>a{call('f', '{}')}"
    expected = Answer(reasoning="a", calls={0: ("f", "{}")})
    assert whole(text, until_call=True) == expected
    assert fed(parser(until_call=True), list(text)) == expected


@pytest.mark.parametrize(
    ("begun", "token_ids", "count"),
    [
        (False, [1, 5, 6, 7, 2, 8], 3),  # told by the first token
        (True, [5, 6, 7, 2, 8], 3),  # begun by the prompt
        (True, [1, 5, 6, 7, 2, 8], 3),
        (False, [5, 6, 7], 0),
        (True, [5, 6, 7], 3),
    ],
)
def test_the_tokens_of_reasoning_are_counted(begun: bool, token_ids: list[int], count: int) -> None:
    written = {1: "<think>", 2: "</think>"}
    texts = [written.get(token_id, "a") for token_id in token_ids]
    at_once = parser(begun=begun)
    at_once.whole("".join(texts), token_ids)
    assert at_once.reasoning_tokens == count

    in_steps = parser(begun=begun)
    for text, token_id in zip(texts, token_ids, strict=True):
        in_steps.feed(delta(text, [token_id]))
    assert in_steps.reasoning_tokens == count


def test_reasoning_that_ends_in_other_tokens_is_counted_until_there() -> None:
    reader = parser(begun=True)
    for text in ("a", "b", "</", "think", ">", "c", "d"):
        reader.feed(delta(text))
    assert reader.reasoning_tokens == 5


def kept(thing: Any) -> Iterator[str]:
    """All text that is reachable from a parser."""
    if isinstance(thing, str):
        yield thing
    elif isinstance(thing, list):
        for each in thing:
            yield from kept(each)
    elif isinstance(thing, dict):
        yield from kept(list(thing.values()))
    elif type(thing).__module__.startswith("inferneo_server"):
        yield from kept(getattr(thing, "__dict__", {}))


@pytest.mark.parametrize(
    "opening",
    [
        *("text ", "<think>", '<think>a</think><tool_call>{"name": "f", "arguments": '),
        '<tool_call>{"name": "f", "arguments": {"x": "',
        '<tool_call>{"name": "f", "more": {"x": "',
        '<tool_call>{"name": "f", "arguments": {}, "more": "',
        '<tool_call>{"name": "f", "arguments": {}}</tool_call>',
    ],
)
@pytest.mark.parametrize("piece", ["abcd", '{"a', '\\"', "</", ' "<', "}]"])
def test_what_is_kept_of_a_long_answer_does_not_grow(opening: str, piece: str) -> None:
    reader = parser()
    reader.feed(delta(opening))
    # What a step costs hangs on its own text and on what is kept, so that is what may not grow.
    most = 0
    for _ in range(10_000 // len(piece)):
        reader.feed(delta(piece))
        most = max(most, sum(map(len, kept(reader))))
    assert most < 100
