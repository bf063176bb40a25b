"""Hands on small exercises: arithmetic, counting, thinking first, JSON, copying."""

import json
import random
from typing import Any

from tiny_model.chat import Message, Sample, assistant, expand, user
from tiny_model.words import (
    ADJECTIVES,
    COLOURS,
    COUNT_WORDS,
    COUNTRY_CAPITALS,
    NOUNS,
    city,
    made_up,
    person,
    thing,
    title,
)

Exercise = tuple[str, str, str]
"""A question, the reasoning that leads to the answer, and the answer."""


def _sum(rng: random.Random) -> Exercise:
    high = rng.choice((10, 10, 20, 100))
    first, second = rng.randint(0, high), rng.randint(0, high)
    operator, word, result = rng.choice(
        [("+", "plus", first + second), ("-", "minus", first - second)]
        + ([("*", "times", first * second)] if high <= 20 else [])
    )
    spoken = rng.choice([operator, operator, word])
    gap = "" if spoken == operator and rng.random() < 0.25 else " "
    lead = "{what is|what's|how much is|calculate|compute|tell me|}"
    question = expand(f"{lead} {first}{gap}{spoken}{gap}{second}", rng).strip()
    reasoning = f"I need to work out {first} {operator} {second}. The result is {result}."
    return question, reasoning, f"{first} {operator} {second} = {result}."


def _compare(rng: random.Random) -> Exercise:
    first, second = rng.sample(range(1, rng.choice((20, 100, 1000))), 2)
    larger = rng.random() < 0.6
    result = max(first, second) if larger else min(first, second)
    word = "larger" if larger else "smaller"
    alias = rng.choice(["larger", "bigger", "greater"] if larger else ["smaller", "less"])
    question = expand(
        f"{{which is|what is|which number is}} {alias}{{,|:}} {first} or {second}", rng
    )
    reasoning = f"I compare {first} and {second}. The {word} one is {result}."
    return question, reasoning, f"{result} is {word}."


def _count(rng: random.Random) -> Exercise:
    end = rng.randint(2, 20)
    draw = rng.random()
    spoken = COUNT_WORDS[end] if draw < 0.25 else str(end)
    if draw > 0.85:
        question = expand(f"count {{down |backwards }}from {spoken}{{| to 1| to one}}", rng)
        numbers = ", ".join(str(number) for number in range(end, 0, -1))
    else:
        question = expand(
            f"{{|please |can you }}count {{|from 1 |from one }}{{to|up to}} {spoken}", rng
        )
        numbers = ", ".join(str(number) for number in range(1, end + 1))
    return question, f"I count the numbers one by one, with {end} numbers in all.", f"{numbers}."


def _capital(rng: random.Random) -> Exercise:
    country, capital = rng.choice(list(COUNTRY_CAPITALS.items()))
    if rng.random() < 0.15:
        question = f"{capital} is the capital of which country"
        return question, f"{capital} is in {country}.", f"{capital} is the capital of {country}."
    question = expand(f"{{what is|what's|name|tell me|}} the capital {{city |}}of {country}", rng)
    answer = f"The capital of {country} is {capital}."
    return question.strip(), f"They ask for the capital of {country}. It is {capital}.", answer


def _spell(rng: random.Random) -> Exercise:
    word = rng.choice([rng.choice(NOUNS), rng.choice(COLOURS), rng.choice(ADJECTIVES)])
    question = expand(
        f"{{how many letters {{are in|has|are in the word}}|count the letters of}} {word}", rng
    )
    letters = ", ".join(word)
    return question, f"The letters are {letters}. That makes {len(word)}.", f"{len(word)} letters."


def _people(rng: random.Random) -> Exercise:
    name, item = person(rng), rng.choice(NOUNS)
    has, more = rng.randint(1, 12), rng.randint(1, 12)
    if rng.random() < 0.5 and has > more:
        question = f"{name} has {has} {item}s and gives away {more}. How many are left"
        result, operator = has - more, "-"
        answer = f"{name} has {result} {item}s left."
    else:
        question = f"{name} has {has} {item}s and gets {more} more. How many {item}s are there now"
        result, operator = has + more, "+"
        answer = f"{name} has {result} {item}s now."
    return question, f"I work out {has} {operator} {more}, which is {result}.", answer


_EXERCISES = [_sum, _sum, _sum, _compare, _count, _count, _capital, _people, _people]


def exercise(rng: random.Random, *, reasoned: bool = False) -> Exercise:
    """Returns a question with its answer; with letters to count only where it may think."""
    return rng.choice([*_EXERCISES, _spell, _compare] if reasoned else _EXERCISES)(rng)


def copying(rng: random.Random) -> tuple[str, str]:
    """Returns a question whose answer repeats a part of it."""
    words = [
        rng.choice([made_up(rng), rng.choice(NOUNS), rng.choice(ADJECTIVES)])
        for _ in range(rng.randint(1, 7))
    ]
    text = " ".join(words).capitalize() if rng.random() < 0.5 else " ".join(words)
    if rng.random() < 0.2:
        text = " ".join(str(rng.randint(0, 9999)) for _ in range(rng.randint(1, 4)))
    form = rng.randrange(6)
    if form < 3:
        lead = expand(
            "{repeat after me:|repeat:|say|echo:|repeat this:|say exactly:|copy this:}", rng
        )
        return f"{lead} {text}", text
    name, place = person(rng), city(rng)
    if form == 3:
        question = expand("{what is my name|who am i|do you know my name}", rng)
        return f"My name is {name}. {question.capitalize()}?", f"Your name is {name}."
    if form == 4:
        return f"{name} lives in {place}. Where does {name} live?", f"{name} lives in {place}."
    colour, noun = rng.choice(COLOURS), rng.choice([rng.choice(NOUNS), made_up(rng)])
    return f"The {noun} is {colour}. What colour is the {noun}?", f"The {noun} is {colour}."


_VALUES: dict[str, Any] = {
    "name": person,
    "age": lambda rng: rng.randint(1, 99),
    "city": city,
    "title": title,
    "author": person,
    "year": lambda rng: rng.randint(1500, 2030),
    "price": lambda rng: rng.randint(1, 500),
    "color": lambda rng: rng.choice(COLOURS),
    "item": thing,
    "count": lambda rng: rng.randint(1, 99),
    "active": lambda rng: rng.random() < 0.5,
    "country": lambda rng: rng.choice([name for name in COUNTRY_CAPITALS if " " not in name]),
    "id": lambda rng: rng.randint(1, 9999),
    "user": person,
    "score": lambda rng: rng.randint(0, 100),
    "pages": lambda rng: rng.randint(20, 900),
    "size": lambda rng: rng.choice(["small", "medium", "large"]),
    "email": lambda rng: f"{made_up(rng)}@example.com",
}
_THINGS = [
    "person",
    "user",
    "book",
    "city",
    "car",
    "product",
    "order",
    "movie",
    "song",
    "game",
    "recipe",
    "pet",
    "house",
    "company",
]
_PLEASE = "{write|give me|create|make|generate|return|produce|show me}"


def _spoken(value: Any) -> str:
    return json.dumps(value) if isinstance(value, bool) else str(value)


def _given(rng: random.Random) -> tuple[str, Any]:
    """A document whose keys and values the question names."""
    keys = rng.sample(list(_VALUES), rng.choice((1, 2, 2, 2, 3, 4)))
    values = {key: _VALUES[key](rng) for key in keys}
    if rng.random() < 0.2:
        values[made_up(rng)] = rng.choice([person(rng), rng.randint(1, 999)])
    link = rng.choice([" ", " ", " ", ": ", " = "])
    parts = [f"{key}{link}{_spoken(value)}" for key, value in values.items()]
    text = (
        ", ".join(parts[:-1]) + rng.choice([" and ", ", "]) + parts[-1] if parts[1:] else parts[0]
    )
    noun = rng.choice(_THINGS)
    lead = expand(
        f"{_PLEASE} {{a |}}JSON{{| object| document}} {{with|with|for a {noun} with|where}} ", rng
    )
    return lead + text, values


def _free(rng: random.Random) -> tuple[str, Any]:
    """A document whose values the model makes up, the same for the same keys."""
    fixed: dict[str, Any] = {
        "name": "Anna", "age": 30, "city": "Paris", "title": "The Blue Door", "author": "Ben",
        "year": 2020, "price": 10, "color": "blue", "item": "lamp", "count": 3, "active": True,
        "country": "France", "id": 1, "user": "Anna", "score": 90, "pages": 200, "size": "small",
        "email": "anna@example.com",
    }  # fmt: skip
    shapes = {
        "person": ["name", "age", "city"], "user": ["name", "email"], "city": ["name", "country"],
        "book": ["title", "author", "year"], "product": ["name", "price"], "car": ["name", "color"],
    }  # fmt: skip
    if rng.random() < 0.5:
        keys = rng.sample(list(fixed), rng.randint(1, 4))
        listed = ", ".join(keys[:-1]) + " and " + keys[-1] if keys[1:] else keys[0]
        noun = rng.choice(_THINGS)
        question = expand(
            f"{{reply|answer|respond|{_PLEASE}}} {{in JSON|JSON|a JSON object|only JSON}}"
            f"{{| for a {noun}| about a {noun}}} with {{the keys|keys|the fields|fields}} {listed}",
            rng,
        )
        return question, {key: fixed[key] for key in keys}
    noun, keys = rng.choice(list(shapes.items()))
    question = expand(
        f"{_PLEASE} {{a JSON {noun}|JSON for a {noun}|a JSON object for a {noun}|"
        f"a {noun} as JSON|a {noun} in JSON|an example {noun} in JSON|"
        f"a JSON document about a {noun}}}",
        rng,
    )
    return question, {key: fixed[key] for key in keys}


_LISTS: list[tuple[str, list[Any]]] = [
    ("colours", COLOURS),
    ("numbers", list(range(1, 9))),
    ("cities", ["Paris", "London", "Berlin", "Rome", "Madrid", "Vienna"]),
    ("fruits", ["apple", "orange", "grape", "melon", "peach", "plum"]),
]


def _about(rng: random.Random) -> tuple[str, Any]:
    """A document about one named thing, a list, or one object inside another."""
    form = rng.randrange(6)
    if form == 0:
        name, author = title(rng), person(rng)
        question = (
            f"{_PLEASE} JSON for a {{book|film|song}} {{titled|called|named}} QUOTE by {author}"
        )
        quote = rng.choice([f'"{name}"', name])
        return expand(question, rng).replace("QUOTE", quote), {"title": name, "author": author}
    if form == 1:
        name = person(rng)
        return expand(f"{_PLEASE} a JSON object {{for|named|with the name}} {name}", rng), {
            "name": name
        }
    if form == 2:
        items = [rng.choice([rng.choice(NOUNS), made_up(rng)]) for _ in range(rng.randint(2, 5))]
        listed = ", ".join(items[:-1]) + " and " + items[-1]
        return expand(f"{_PLEASE} a JSON {{list|array}} {{of|with}} {listed}", rng), items
    if form == 3:
        count = rng.randint(2, 6)
        what, values = rng.choice(_LISTS)
        spoken = rng.choice([str(count), COUNT_WORDS[count]])
        return expand(f"{_PLEASE} a JSON {{list|array}} of {spoken} {what}", rng), values[:count]
    if form == 4:
        name, place, country = person(rng), city(rng), rng.choice(list(COUNTRY_CAPITALS))
        question = (
            f"{_PLEASE} JSON with name {name} and address with city {place} and country {country}"
        )
        document = {"name": name, "address": {"city": place, "country": country}}
        return expand(question, rng), document
    name, items = person(rng), rng.sample(NOUNS, rng.randint(2, 3))
    listed = " and ".join([", ".join(items[:-1]), items[-1]])
    return expand(f"{_PLEASE} JSON with name {name} and items {listed}", rng), {
        "name": name,
        "items": items,
    }


def json_sample(rng: random.Random, system: list[Message]) -> Sample:
    """A request for a document, answered by the document alone."""
    question, document = rng.choice([_given, _given, _given, _free, _free, _about, _about])(rng)
    if rng.random() < 0.35:
        question = question[0].upper() + question[1:]
    layout = rng.random()
    text = json.dumps(document, ensure_ascii=False)
    if layout < 0.1:
        question += rng.choice([", indented", " (indented)", ". Indent it", ", pretty printed"])
        text = json.dumps(document, ensure_ascii=False, indent=2)
    elif layout < 0.35:
        question += rng.choice(
            [". Only JSON", ". Reply with JSON only", ". No other text", ", nothing else"]
        )
    return Sample(messages=[*system, user(question + rng.choice([".", "", ""])), assistant(text)])
