"""Receives what requests brought back; hands on answers found right, or `WrongAnswer`."""

from collections.abc import Iterable
from typing import Final

from msgspec import Struct

from bench.loads import Load


class WrongAnswer(Exception):
    """A contender answered something that it must not: the whole run is void."""


class Answer(Struct, frozen=True, kw_only=True):
    """One answered request; all times are in ns of one monotonic clock.

    Attributes:
        prompt: index into `PROMPTS`.
        started: just before the request was sent.
        ended: when the last byte had come.
        arrivals: when content came. Events that came in one read count as one arrival, as a client
            sees them at one moment: a contender that packs them gains nothing in the gaps.
        events: events with content.
        tokens: completion tokens, as the contender counts them.
        prompt_tokens: prompt tokens, as the contender counts them.
        text: the whole text.
        finish_reason: why it ended.
    """

    prompt: int
    started: int
    ended: int
    arrivals: list[int]
    events: int
    tokens: int
    prompt_tokens: int
    text: str
    finish_reason: str | None


class Run(Struct, frozen=True, kw_only=True):
    """One load, answered by one contender.

    Attributes:
        answers: in no particular order.
        wall: ns from the first request to the last byte, summed over the waves.
        api_cpu: CPU ns of the contender's API process alone; engine processes are not counted.
        all_cpu: CPU ns of all its processes, the engine's too.
        client_cpu: CPU ns of the load client; 0 where the contender drives itself.
        client_waited: ns that the load client was ready to run and had no CPU.
    """

    answers: list[Answer]
    wall: int
    api_cpu: int
    all_cpu: int
    client_cpu: int
    client_waited: int


# What a contender answered to each prompt of the probe, by prompt.
References = dict[int, Answer]

# Under load the batch changes how bf16 rounds, and a near tie between two tokens may flip: other
# text is then not wrong. Mixed-up streams, though, would leave next to no answer as it was.
LEAST_AGREEMENT: Final = 0.5


def check(answers: Iterable[Answer], load: Load) -> None:
    """Checks what each answer must be by itself.

    Raises:
        WrongAnswer: an answer has a wrong length, no text, or did not end for its length.
    """
    counted = 0
    for answer in answers:
        counted += 1
        if answer.tokens != load.tokens:
            raise WrongAnswer(f"{load.name}: {answer.tokens} tokens, not {load.tokens}")
        if answer.finish_reason != "length":
            raise WrongAnswer(f"{load.name}: finish_reason is {answer.finish_reason!r}")
        # A single token may be half a character, whose text is withheld; many are never empty.
        if load.tokens > 8 and not answer.text.strip():
            raise WrongAnswer(f"{load.name}: the text is empty")
    if counted != load.requests:
        raise WrongAnswer(f"{load.name}: {counted} answers, not {load.requests}")


def compare(expected: References, answers: Iterable[Answer]) -> None:
    """Checks that a contender answers to the probe as another did.

    Raises:
        WrongAnswer: they saw different prompts, or wrote different text.
    """
    for answer in answers:
        first = expected[answer.prompt]
        if first.prompt_tokens != answer.prompt_tokens:
            raise WrongAnswer(
                f"Prompt {answer.prompt} is {first.prompt_tokens} and {answer.prompt_tokens} "
                "tokens: not the same chat template"
            )
        if first.text != answer.text:
            raise WrongAnswer(f"Prompt {answer.prompt}: {first.text!r} and {answer.text!r}")


def agreement(expected: References, answers: Iterable[Answer]) -> float:
    """Tells which share of the answers begins as the answer to the probe did.

    Raises:
        WrongAnswer: the share is under `LEAST_AGREEMENT`.
    """
    verdicts = [_agrees(expected[answer.prompt], answer) for answer in answers]
    share = sum(verdicts) / len(verdicts)
    if share < LEAST_AGREEMENT:
        raise WrongAnswer(f"Only {share:.0%} of the answers begin as they do without load")
    return share


def _agrees(expected: Answer, answer: Answer) -> bool:
    # Half a character at the end of either is shown as U+FFFD, or withheld.
    one, other = expected.text.rstrip("\ufffd"), answer.text.rstrip("\ufffd")
    return one.startswith(other) or other.startswith(one)
