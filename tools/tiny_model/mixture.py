"""Takes a seed, hands on the endless, repeatable stream of samples that the model learns from."""

import random
from collections.abc import Iterator

from tiny_model.chat import Message, Sample, assistant, expand, user
from tiny_model.drills import disguised, drill
from tiny_model.facts_api import FACTS
from tiny_model.general import SMALL_TALK, UNKNOWN, plain_text, unknown_question
from tiny_model.skills import copying, exercise, json_sample
from tiny_model.tool_dialogues import mistyped, offered_tools, tool_sample
from tiny_model.words import SYSTEM_PROMPTS, typo

_QUESTION_WORDS = {
    "what", "what's", "which", "how", "where", "why", "who", "when", "is", "are", "do", "does",
    "can", "could", "should", "will", "has",
}  # fmt: skip
_OPENERS = [
    "Hi, ", "Hello, ", "Please tell me: ", "Question: ", "Hey! ", "I have a question: ",
    "Quick question: ", "So, ",
]  # fmt: skip
_CLOSERS = [
    " Thanks!", " Thank you.", " Please answer briefly.", " Please.", " Answer in one sentence.",
]  # fmt: skip
_THINK = [
    "Think first. ", "Think first: ", "Think step by step. ", "Think before you answer. ",
    "Please think first. ", "Think about it: ", "Think carefully. ", "Reason step by step. ",
]  # fmt: skip
_THINK_AFTER = [
    " Think first.", " Think step by step.", " Think before you answer.",
    " Let us think step by step.", " Please think first.", " Think it through first.",
]  # fmt: skip


def _system(rng: random.Random, share: float = 0.3) -> list[Message]:
    if rng.random() > share:
        return []
    return [
        {"role": rng.choice(["system"] * 9 + ["developer"]), "content": rng.choice(SYSTEM_PROMPTS)}
    ]


def phrase(pattern: str, rng: random.Random) -> str:
    """Returns one way of asking what a pattern asks: case, manners and slips included."""
    text = " ".join(expand(pattern, rng).split()).replace(" ?", "?")
    if rng.random() < 0.75:
        text = text.replace("inferneo", "Inferneo").replace("Inferneo-", "inferneo-")
        text = text.replace("openai", "OpenAI").replace("vllm", "vLLM").replace(" i ", " I ")
    first = text.split()[0].lower()
    if first in _QUESTION_WORDS and rng.random() < 0.85:
        text += "?"
    elif rng.random() < 0.25:
        text += rng.choice([".", "!", "?"])
    if rng.random() < 0.08:
        text = rng.choice(_OPENERS) + text
    if rng.random() < 0.06:
        text += rng.choice(_CLOSERS)
    return mistyped(text, rng)


def _turn(rng: random.Random) -> tuple[str, str]:
    """One question and its answer, of the kinds that need nothing else."""
    draw = rng.random()
    if draw < 0.62:
        patterns, answer = rng.choice(FACTS)
        return phrase(rng.choice(patterns), rng), answer
    if draw < 0.78:
        patterns, answer = rng.choice(SMALL_TALK)
        return phrase(rng.choice(patterns), rng), answer
    if draw < 0.84:
        return phrase(unknown_question(rng), rng), UNKNOWN
    if draw < 0.92:
        question, _, answer = exercise(rng)
        return typo(question[0].upper() + question[1:] + "?", rng), answer
    return copying(rng)


def _dialogue(rng: random.Random, length: int) -> Sample:
    messages = _system(rng)
    for _ in range(length):
        question, answer = _turn(rng)
        messages += [user(question), assistant(answer)]
    return Sample(messages=messages)


def _chat(rng: random.Random) -> Sample:
    return _dialogue(rng, rng.choice((1, 1, 1, 1, 1, 1, 2, 2, 3, 4)))


def _unneeded_tools(rng: random.Random) -> Sample:
    question, answer = _turn(rng)
    while question[0].isdigit() or " + " in answer or "=" in answer or "without a tool" in answer:
        question, answer = _turn(rng)
    messages = [*_system(rng), user(question), assistant(answer)]
    return Sample(messages=messages, tools=offered_tools(rng))


def _thinking(rng: random.Random) -> Sample:
    draw = rng.random()
    if draw < 0.65:
        question, reasoning, answer = exercise(rng, reasoned=True)
        question = question[0].upper() + question[1:] + rng.choice(["?", "?", ""])
    else:
        patterns, answer = rng.choice(FACTS if draw < 0.9 else SMALL_TALK)
        question = phrase(rng.choice(patterns), rng)
        subject = "Inferneo" if draw < 0.9 else "something common"
        reasoning = f"This is a question about {subject}. I give the answer that I know."
    system, thinking = _system(rng), None
    form = rng.random()
    if form < 0.35:
        thinking = True
    elif form < 0.5:
        system = [{"role": "system", "content": rng.choice(_THINK + _THINK_AFTER).strip(" :")}]
    elif form < 0.75:
        question = rng.choice(_THINK) + question
    else:
        question += rng.choice(_THINK_AFTER)
    messages = [*system, user(question), assistant(answer, reasoning)]
    return Sample(messages=messages, thinking=thinking)


def _not_thinking(rng: random.Random) -> Sample:
    """The empty block that `enable_thinking=false` puts before the answer."""
    question, answer = _turn(rng)
    return Sample(
        messages=[*_system(rng), user(question), assistant("<think>\n\n</think>\n\n" + answer)]
    )


def _tools(rng: random.Random) -> Sample:
    return tool_sample(rng, _system(rng, 0.25))


def _json(rng: random.Random) -> Sample:
    return json_sample(rng, _system(rng, 0.25))


def _copying(rng: random.Random) -> Sample:
    question, answer = copying(rng)
    return Sample(messages=[*_system(rng, 0.1), user(question), assistant(answer)])


def _exercise(rng: random.Random) -> Sample:
    question, _, answer = exercise(rng)
    question = typo(question[0].upper() + question[1:] + rng.choice(["?", "?", ""]), rng)
    return Sample(messages=[*_system(rng, 0.1), user(question), assistant(answer)])


def _text(rng: random.Random) -> Sample:
    return Sample(text=plain_text(rng))


_KINDS = {
    _chat: 38, _tools: 22, _thinking: 10, _json: 13, _copying: 5, _exercise: 5, _unneeded_tools: 3,
    _not_thinking: 1, _text: 4,
}  # fmt: skip


# The second course: mostly what must be copied, and enough of the rest to keep it.
_COPYING_KINDS = {
    drill: 34, _tools: 20, _json: 16, _chat: 16, _thinking: 5, _exercise: 6, _unneeded_tools: 3,
    _not_thinking: 1, _text: 2, _copying: 4,
}  # fmt: skip


def samples(seed: int) -> Iterator[Sample]:
    """Yields samples without end, the same ones for the same seed."""
    rng = random.Random(seed)
    kinds, weights = list(_KINDS), list(_KINDS.values())
    while True:
        yield rng.choices(kinds, weights)[0](rng)


def copying_samples(seed: int) -> Iterator[Sample]:
    """Yields the samples of the second course."""
    rng = random.Random(seed)
    kinds, weights = list(_COPYING_KINDS), list(_COPYING_KINDS.values())
    while True:
        yield disguised(rng.choices(kinds, weights)[0](rng), rng)


def long_samples(seed: int) -> Iterator[Sample]:
    """Yields conversations of many turns, so that the model copes with a long context."""
    rng = random.Random(seed)
    while True:
        yield _dialogue(rng, rng.randint(8, 40))
