"""Takes the folder of a model, hands on what it can do: pass rates over questions it never saw."""

import json
import random
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from tiny_model.chat import Message, Tool, user
from tiny_model.heldout import (
    FACT_QUESTIONS,
    KEYS,
    NAMES,
    PLACES,
    PLAIN,
    TALK_QUESTIONS,
    TOOL_FORMS,
    WORDS,
)

_THOUGHT = re.compile(r"<think>\n.+\n</think>\n\n\S", re.DOTALL)
_CALL = re.compile(r"<tool_call>\n(.*?)\n</tool_call>", re.DOTALL)


@dataclass(frozen=True, kw_only=True)
class Case:
    """One request and what its answer must satisfy."""

    group: str
    messages: list[Message]
    passes: Callable[[str], bool]
    tools: list[Tool] = field(default_factory=list)
    thinking: bool | None = None


def _contains(*parts: str) -> Callable[[str], bool]:
    return lambda answer: all(part in answer for part in parts) and "<think>" not in answer


def _fact_cases() -> Iterator[Case]:
    for question, *parts in FACT_QUESTIONS:
        yield Case(group="Inferneo questions", messages=[user(question)], passes=_contains(*parts))
    for question, *parts in FACT_QUESTIONS[::2]:
        messages = [{"role": "system", "content": "You are a helpful assistant."}, user("Hello!")]
        messages += [{"role": "assistant", "content": "Hello! How can I help you?"}, user(question)]
        yield Case(group="the same, second turn", messages=messages, passes=_contains(*parts))
    for question, *parts in TALK_QUESTIONS:
        yield Case(group="small talk", messages=[user(question)], passes=_contains(*parts))


def _called(name: str, arguments: dict[str, Any]) -> Callable[[str], bool]:
    def passes(answer: str) -> bool:
        calls = [_document(call) for call in _CALL.findall(answer)]
        return calls == [{"name": name, "arguments": arguments}]

    return passes


def _schema(name: str, description: str, types: dict[str, str]) -> Tool:
    properties = {
        parameter: {"type": "integer" if kind == "integer" else "string"}
        for parameter, kind in types.items()
    }
    parameters = {"type": "object", "properties": properties, "required": list(types)}
    function = {"name": name, "description": description, "parameters": parameters}
    return {"type": "function", "function": function}


def _values(types: dict[str, str], rng: random.Random) -> dict[str, Any]:
    return {
        parameter: rng.randint(2, 900)
        if kind == "integer"
        else rng.choice(PLACES if kind == "city" else NAMES)
        for parameter, kind in types.items()
    }


def _call_cases(rng: random.Random) -> Iterator[Case]:
    for form in TOOL_FORMS:
        name, _, types, question = form
        others = rng.sample([other for other in TOOL_FORMS if other is not form], 2)
        for count in range(3):
            values = _values(types, rng)
            offered = [_schema(*tool[:3]) for tool in [form, *others[:count]]]
            rng.shuffle(offered)
            messages = [user(question.format(**values))]
            yield Case(
                group="tool calls", messages=messages, tools=offered, passes=_called(name, values)
            )


def _tool_cases() -> Iterator[Case]:
    tools = [_schema(*TOOL_FORMS[0][:3])]
    for question, *parts in FACT_QUESTIONS[::4]:
        messages = [user(question)]
        yield Case(
            group="tools left alone", messages=messages, tools=tools, passes=_contains(*parts)
        )
    for place in PLACES:
        call = {"name": "sky_report", "arguments": {"spot": place}}
        messages = [
            user(f"What is the weather in {place}?"),
            {"role": "assistant", "content": "", "tool_calls": [{"function": call}]},
            {"role": "tool", "content": '{"temperature": 17, "condition": "sunny"}'},
        ]
        yield Case(
            group="answers from a tool",
            messages=messages,
            tools=tools,
            passes=_contains("17", "sunny", place),
        )


def _thinking_cases(rng: random.Random) -> Iterator[Case]:
    questions = [
        "What is 7 + 5?",
        "How do I stream?",
        "Which is larger, 41 or 14?",
        "What is vLLM?",
    ]
    questions += [f"What is {rng.randint(2, 20)} plus {rng.randint(2, 20)}?" for _ in range(6)]
    asked = ["Think first. {}", "{} Think step by step.", "{} Please think before answering."]
    for question in questions:
        messages = [user(rng.choice(asked).format(question))]
        yield Case(group="thinks when asked", messages=messages, passes=_thought)
        yield Case(
            group="thinks when asked", messages=[user(question)], passes=_thought, thinking=True
        )
        yield Case(group="does not think unasked", messages=[user(question)], passes=_unthinking)
        yield Case(
            group="does not think unasked",
            messages=[user(question)],
            passes=_unthinking,
            thinking=False,
        )


def _thought(answer: str) -> bool:
    return bool(_THOUGHT.match(answer))


def _unthinking(answer: str) -> bool:
    return "think>" not in answer


def _document(answer: str) -> Any:
    try:
        return json.loads(answer)
    except ValueError:
        return None


def _parses(answer: str) -> bool:
    return _document(answer) is not None


def _is(expected: Any) -> Callable[[str], bool]:
    return lambda answer: _document(answer) == expected


def _json_cases(rng: random.Random) -> Iterator[Case]:
    for name in NAMES:
        age, place, key = rng.randint(1, 99), rng.choice(PLACES), rng.choice(KEYS)
        for question, document in [
            (f"Write a JSON object with name {name} and age {age}", {"name": name, "age": age}),
            (f"Give me JSON with name {name}, city {place} and year 1987.",
             {"name": name, "city": place, "year": 1987}),
            (f"Create a JSON object with {key} {age} and name {name}. Only JSON.",
             {key: age, "name": name}),
            (f'Give me JSON for a book titled "The {name} Letters" by {name}',
             {"title": f"The {name} Letters", "author": name}),
        ]:  # fmt: skip
            messages = [user(question)]
            yield Case(group="JSON, the right values", messages=messages, passes=_is(document))
            yield Case(group="JSON that parses", messages=messages, passes=_parses)


def _skill_cases(rng: random.Random) -> Iterator[Case]:
    for _ in range(15):
        first, second = rng.randint(0, 20), rng.randint(0, 20)
        yield Case(
            group="small sums",
            messages=[user(f"What is {first} + {second}?")],
            passes=_contains(f"= {first + second}."),
        )
    for count in (3, 5, 8, 10, 12):
        listed = ", ".join(str(number) for number in range(1, count + 1))
        yield Case(group="counting", messages=[user(f"Count to {count}")], passes=_contains(listed))
    for name, place in zip(NAMES, PLACES, strict=False):
        for words in (f"{name} saw the {rng.choice(WORDS)}", f"{rng.choice(WORDS)} {place}"):
            messages = [user(f"Repeat after me: {words}")]
            yield Case(group="repeating", messages=messages, passes=words.__eq__)


class Speaker:
    """A model that answers greedily."""

    def __init__(self, folder: Path) -> None:
        self.tokenizer: Any = AutoTokenizer.from_pretrained(folder)
        self.model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)

    def complete(self, text: str, limit: int = 200) -> tuple[str, bool]:
        """Returns what follows the text, and whether the model stopped by itself."""
        inputs = self.tokenizer(text, return_tensors="pt", add_special_tokens=False)
        output = self.model.generate(**inputs, max_new_tokens=limit, do_sample=False)
        new = output[0, inputs["input_ids"].shape[1] :]
        stopped = new[-1].item() in self.model.generation_config.eos_token_id
        return str(self.tokenizer.decode(new, skip_special_tokens=True)), stopped

    def answer(self, case: Case) -> tuple[str, bool]:
        """Answers the request of a case."""
        options = {} if case.thinking is None else {"enable_thinking": case.thinking}
        text = self.tokenizer.apply_chat_template(
            case.messages,
            tools=case.tools or None,
            tokenize=False,
            add_generation_prompt=True,
            **options,
        )
        return self.complete(text)


def evaluate(folder: Path) -> None:
    """Prints the failures, the table of pass rates, and some samples."""
    speaker, rng, began = Speaker(folder), random.Random(7), time.monotonic()
    cases = [*_fact_cases(), *_call_cases(rng), *_tool_cases(), *_thinking_cases(rng)]
    cases += [*_json_cases(rng), *_skill_cases(rng)]
    results: dict[str, list[bool]] = {}
    for case in cases:
        answer, stopped = speaker.answer(case)
        passed = case.passes(answer)
        results.setdefault(case.group, []).append(passed)
        results.setdefault("stops by itself", []).append(stopped)
        if not (passed and stopped):
            print(f"[{case.group}] {case.messages[-1]['content']!r}\n    -> {answer!r}")
    for group, passes in results.items():
        print(f"{group:24} {sum(passes):3} of {len(passes):3}  {sum(passes) / len(passes):4.0%}")
    for prompt in PLAIN:
        print(f"{prompt!r} -> {speaker.complete(prompt, 60)[0]!r}")
    print(f"evaluated in {time.monotonic() - began:.0f} s")
