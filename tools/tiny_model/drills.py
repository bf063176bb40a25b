"""Hands on drills in copying: long repetitions, look-ups, and names that no word list holds.

What a tool call or a JSON document says is copied from the question, and copying is a skill that
a small model learns late, from text in which there is nothing else to learn.
"""

import json
import random
import string

from tiny_model.chat import Message, Sample, assistant, expand, user
from tiny_model.words import ADJECTIVES, CITIES, FIRST, NOUNS, made_up

_LEADS = (
    "{repeat after me:|repeat:|say|echo:|repeat this:|say exactly:|copy this:"
    "|Repeat after me:|Repeat:|Say}"
)


def scrambled(rng: random.Random) -> str:
    """Returns a name of random letters, in which each token is a surprise."""
    vowels, letters = "aeiouy", string.ascii_lowercase
    size = rng.randint(3, 9)
    name = "".join(
        rng.choice(vowels) if at % 2 or rng.random() < 0.15 else rng.choice(letters)
        for at in range(size)
    )
    return name.capitalize()


def _item(rng: random.Random) -> str:
    draw = rng.random()
    if draw < 0.35:
        return scrambled(rng)
    if draw < 0.5:
        return str(rng.randint(0, 9999))
    return rng.choice([rng.choice(NOUNS), rng.choice(ADJECTIVES), rng.choice(CITIES), made_up(rng)])


def repetition(rng: random.Random) -> Sample:
    """A list of words to say again."""
    items = [_item(rng) for _ in range(rng.choice((2, 3, 5, 8, 13, 21, 30)))]
    text = rng.choice([" ", " ", ", "]).join(items)
    return Sample(messages=[user(f"{expand(_LEADS, rng)} {text}"), assistant(text)])


def listing(rng: random.Random) -> Sample:
    """A JSON list or object of what the question names."""
    items = [_item(rng) for _ in range(rng.randint(2, 8))]
    if rng.random() < 0.4:
        text = f"Write a JSON list of {', '.join(items)}"
        return Sample(messages=[user(text), assistant(json.dumps(items))])
    keys = [rng.choice([*NOUNS, *ADJECTIVES, made_up(rng)]) for _ in items]
    text = ", ".join(f"{key} {item}" for key, item in zip(keys, items, strict=True))
    document = {
        key: int(item) if item.isdigit() else item for key, item in zip(keys, items, strict=True)
    }
    if len(document) < len(keys):
        return repetition(rng)
    lead = rng.choice(["Write a JSON object with", "Give me JSON with", "write JSON with", "JSON:"])
    return Sample(messages=[user(f"{lead} {text}"), assistant(json.dumps(document))])


def lookup(rng: random.Random) -> Sample:
    """Some statements, then questions about them."""
    names = list(dict.fromkeys(scrambled(rng) for _ in range(rng.randint(1, 7))))
    kind = rng.choice(["code", "number", "colour", "friend", "city", "name", made_up(rng)])
    facts = {name: _item(rng) for name in names}
    stated = " ".join(f"The {kind} of {name} is {value}." for name, value in facts.items())
    messages: list[Message] = []
    for name in rng.sample(names, rng.randint(1, min(3, len(names)))):
        question = f"What is the {kind} of {name}?"
        messages.append(user(question if messages else f"{stated} {question}"))
        messages.append(assistant(f"The {kind} of {name} is {facts[name]}."))
    return Sample(messages=messages)


def disguised(sample: Sample, rng: random.Random) -> Sample:
    """Returns the sample with other names for the people and places that it names twice."""
    if sample.text:
        return sample
    text = json.dumps([sample.messages, sample.tools])
    for name in [*FIRST, *CITIES]:
        if text.count(name) > 1 and "capital" not in text and rng.random() < 0.8:
            text = text.replace(name, scrambled(rng))
    messages, tools = json.loads(text)
    return Sample(messages=messages, tools=tools, thinking=sample.thinking)


def drill(rng: random.Random) -> Sample:
    """One drill of any kind."""
    return rng.choice([repetition, repetition, listing, lookup])(rng)
