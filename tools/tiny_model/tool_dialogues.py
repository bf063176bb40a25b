"""Takes the kinds of tools, hands on conversations that offer, call and answer with them."""

import json
import random
from dataclasses import dataclass
from typing import Any

from tiny_model.chat import Message, Sample, Tool, assistant, expand, user
from tiny_model.tool_data import KINDS, Kind, Values
from tiny_model.words import CITIES, NOUNS, made_up, person, typo

_OPTIONAL: dict[str, Any] = {
    "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]},
    "units": {"type": "string", "enum": ["metric", "imperial"]},
    "limit": {"type": "integer"},
    "format": {"type": "string", "enum": ["short", "long"]},
    "verbose": {"type": "boolean", "description": "Whether to tell more"},
}
_VERBS = [
    "open",
    "close",
    "start",
    "stop",
    "lock",
    "move",
    "count",
    "update",
    "delete",
    "create",
    "rename",
    "check",
    "list",
    "show",
]


@dataclass(frozen=True, kw_only=True)
class Offer:
    """One tool as a request offers it, and how to ask for it."""

    tool: Tool
    kind: Kind | None
    renamed: dict[str, str]


def _schema(name: str, description: str, types: dict[str, str], rng: random.Random) -> Tool:
    properties: dict[str, Any] = {}
    for parameter, type_ in types.items():
        properties[parameter] = {"type": type_}
        if rng.random() < 0.2:
            spoken = parameter.replace("_", " ")
            properties[parameter]["description"] = rng.choice(
                [f"The {spoken}", f"{spoken} to use", f"The {spoken}, e.g. {rng.choice(CITIES)}"]
            )
    function: dict[str, Any] = {"name": name}
    if rng.random() < 0.85:
        function["description"] = description
    function["parameters"] = {"type": "object", "properties": properties}
    required = list(types)
    if rng.random() < 0.15:
        # Optional, never in the question, so never filled.
        properties |= dict([rng.choice(list(_OPTIONAL.items()))])
        function["parameters"]["required"] = required
    elif rng.random() < 0.6:
        function["parameters"]["required"] = required
    if rng.random() < 0.07:
        function["parameters"]["additionalProperties"] = False
    return {"type": "function", "function": function}


def _prefixed(name: str, rng: random.Random) -> str:
    draw = rng.random()
    if draw < 0.75:
        return name
    word = made_up(rng)
    return rng.choice(
        [f"{word}_{name}", f"{name}_{word}", f"{word}.{name}", f"{name}{word.title()}"]
    )


def known(kind: Kind, rng: random.Random) -> Offer:
    """Offers a tool of a kind, under one of its many names."""
    renamed = {key: rng.choice(names.split("|")) for key, (names, _) in kind.parameters.items()}
    if rng.random() < 0.1:
        renamed = {key: made_up(rng) for key in renamed}
    types = {renamed[key]: type_ for key, (_, type_) in kind.parameters.items()}
    name = _prefixed(rng.choice(kind.names.split("|")), rng)
    return Offer(
        tool=_schema(name, expand(kind.description, rng), types, rng), kind=kind, renamed=renamed
    )


def invented(rng: random.Random) -> tuple[Offer, str, Values]:
    """Offers a tool that does not exist anywhere; returns a question for it and the arguments."""
    verb, noun = rng.choice(_VERBS), rng.choice([rng.choice(NOUNS), made_up(rng)])
    name = rng.choice([f"{verb}_{noun}", f"{verb}{noun.capitalize()}", f"{noun}_{verb}"])
    parameter = rng.choice(
        ["name", "id", "value", "room", "number", rng.choice(NOUNS), made_up(rng)]
    )
    numeric = rng.random() < 0.4
    value: Any = rng.randint(1, 999) if numeric else person(rng)
    schema = _schema(
        name, f"{verb.capitalize()} a {noun}.", {parameter: "integer" if numeric else "string"}, rng
    )
    pattern = (
        f"{{|please |can you }}{verb} {{the |a |}}{noun} {{|with {parameter} |number }}{value}"
    )
    if not numeric:
        pattern = pattern.replace("|number ", "|for |named ")
    return Offer(tool=schema, kind=None, renamed={}), expand(pattern, rng), {parameter: value}


def _fill(pattern: str, values: Values) -> str:
    for key in sorted(values, key=len, reverse=True):
        pattern = pattern.replace(key, str(values[key]))
    return pattern


def _ask(kind: Kind, rng: random.Random) -> tuple[str, Values]:
    values = kind.values(rng)
    pattern = expand(rng.choice(kind.questions), rng)
    # The words around the values may be mistyped, the values never: they are to be copied.
    if rng.random() < 0.7:
        pattern = pattern[0].upper() + pattern[1:]
    question = _fill(pattern, values)
    if pattern.split()[0].lower() in {"what", "how", "is", "do", "will", "can", "who", "what's"}:
        question += rng.choice(["?", "?", "?", ""])
    else:
        question += rng.choice(["", "", "."])
    if rng.random() < 0.15:
        question = rng.choice(["Please ", "Hi! ", "Can you help me? ", "Hey, "]) + question
    return question, {key: value for key, value in values.items() if key in kind.parameters}


def _call(offer: Offer, values: Values) -> dict[str, Any]:
    arguments = {offer.renamed.get(key, key): value for key, value in values.items()}
    return {"function": {"name": offer.tool["function"]["name"], "arguments": arguments}}


def _order(offer: Offer, values: Values) -> Values:
    """Sorts the arguments as the schema lists them."""
    return {key: values[key] for key in offer.renamed if key in values} or values


def tool_sample(rng: random.Random, system: list[Message]) -> Sample:
    """A question for one of one to four offered tools; the call; often the answer after it."""
    kinds = rng.sample(KINDS, rng.choice((1, 1, 1, 2, 2, 3, 4)))
    offers = [known(kind, rng) for kind in kinds]
    chosen = offers[0]
    if rng.random() < 0.18:
        chosen, question, values = invented(rng)
        offers = [chosen, *offers[1:]]
    else:
        question, values = _ask(kinds[0], rng)
    calls = [_call(chosen, _order(chosen, values))]
    messages = [*system, user(question)]
    asked = [(chosen, values)]
    if rng.random() < 0.07 and chosen.kind and chosen.kind.names.startswith(("get_w", "get_t")):
        second = chosen.kind.values(rng)
        joined = question.rstrip("?.").replace(
            values["CITY"], f"{values['CITY']} and {second['CITY']}"
        )
        messages[-1] = user(joined + rng.choice(["?", ""]))
        calls.append(_call(chosen, second))
        asked.append((chosen, second))
    messages.append({"role": "assistant", "content": "", "tool_calls": calls})
    if rng.random() < 0.45:
        messages += _answered(asked, rng)
    tools = [offer.tool for offer in offers]
    rng.shuffle(tools)
    return Sample(messages=messages, tools=tools, thinking=rng.choice([None] * 9 + [False]))


def _answered(asked: list[tuple[Offer, Values]], rng: random.Random) -> list[Message]:
    replies: list[Message] = []
    sentences = []
    for offer, values in asked:
        if offer.kind is None:
            replies.append({"role": "tool", "content": '{"status": "done"}'})
            sentences.append("It is done.")
            continue
        filled = dict(values) if "expression" not in values else values
        response = offer.kind.response(rng, filled)
        answer = _fill(offer.kind.answer, values)
        for key, value in response.items():
            answer = answer.replace(f"{{{key}}}", str(value))
        items = list(response.items())
        if rng.random() < 0.3:
            items.insert(0, ("id", rng.randint(1, 999)))
        replies.append({"role": "tool", "content": json.dumps(dict(items))})
        sentences.append(answer)
    return [*replies, assistant(" ".join(sentences))]


def offered_tools(rng: random.Random) -> list[Tool]:
    """Returns tools for a conversation that needs none of them."""
    return [known(kind, rng).tool for kind in rng.sample(KINDS, rng.choice((1, 1, 2)))]


def mistyped(text: str, rng: random.Random) -> str:
    """Returns a question as someone may type it, with or without a capital."""
    return typo(text[0].upper() + text[1:] if rng.random() < 0.8 else text, rng)
