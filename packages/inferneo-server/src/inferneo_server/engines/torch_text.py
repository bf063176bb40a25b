"""Receives the tokens of one choice; hands on its text, without what may begin a stop string."""

from collections.abc import Callable, Sequence

# So many tokens before the answer tell whether its first word begins with a space.
PROMPT_TOKENS = 5
# No character has more bytes than four; what is not complete by then never will be.
MAX_PENDING = 8
_INCOMPLETE = "�"

Decode = Callable[[Sequence[int]], str]


class Detokenizer:
    """Turns tokens into text as they come; a character whose bytes are not all there waits.

    Args:
        decode: gives the text of token ids.
        prompt: the token ids before the first one.
    """

    def __init__(self, decode: Decode, prompt: Sequence[int]) -> None:
        self._decode = decode
        self._token_ids = list(prompt[-PROMPT_TOKENS:])
        self._context = len(self._token_ids)
        self._before = decode(self._token_ids)

    def feed(self, token_id: int) -> str:
        """The text that is complete with this token."""
        self._token_ids.append(token_id)
        text = self._new()
        pending = len(self._token_ids) - self._context
        if pending < MAX_PENDING and (not text or text.endswith(_INCOMPLETE)):
            return ""
        # What was told stays as the context in which the next tokens are read, and no more.
        self._token_ids = self._token_ids[self._context :]
        self._context = len(self._token_ids)
        self._before = self._decode(self._token_ids)
        return text

    def flush(self) -> str:
        """What is left at the end, a character that stayed incomplete too."""
        return self._new() if len(self._token_ids) > self._context else ""

    def _new(self) -> str:
        return self._decode(self._token_ids)[len(self._before) :]


class Stops:
    """Finds stop strings in a text that comes in pieces.

    Args:
        stops: the strings.
        include: whether the one that is found is part of the text.
    """

    def __init__(self, stops: Sequence[str], *, include: bool) -> None:
        self._stops = stops
        self._include = include
        self._held = ""
        self.found: str | None = None

    def feed(self, text: str) -> str:
        """The text that is sure not to be, or to be part of, a stop string. Sets `found`."""
        text = self._held + text
        places = [(at, stop) for stop in self._stops if (at := text.find(stop)) >= 0]
        if places:
            at, self.found = min(places, key=lambda place: place[0])
            self._held = ""
            return text[: at + len(self.found)] if self._include else text[:at]
        held = max(_overlap(text, stop) for stop in self._stops)
        self._held = text[len(text) - held :]
        return text[: len(text) - held]

    def flush(self) -> str:
        """What was held back and began no stop string."""
        held, self._held = self._held, ""
        return held


class Writer:
    """The text of one choice.

    Args:
        decode: gives the text of token ids.
        prompt: the token ids of the prompt.
        stops: strings that end the choice.
        include_stop: whether what ends the choice is part of it.
        min_tokens: tokens before which no string ends it.
    """

    def __init__(
        self,
        decode: Decode,
        prompt: Sequence[int],
        stops: Sequence[str] = (),
        *,
        include_stop: bool = False,
        min_tokens: int = 0,
    ) -> None:
        self._detokenizer = Detokenizer(decode, prompt)
        self._stops = Stops(stops, include=include_stop) if stops else None
        self._unchecked = min_tokens

    @property
    def stop(self) -> str | None:
        """The stop string that was found; nothing may be fed after it."""
        return self._stops.found if self._stops else None

    def feed(self, token_id: int) -> str:
        """The text to tell with this token."""
        text = self._detokenizer.feed(token_id)
        if self._unchecked > 0:
            self._unchecked -= 1
            return text
        return self._stops.feed(text) if self._stops and text else text

    def flush(self) -> str:
        """What is left at the end of a choice that no string has ended."""
        text = self._detokenizer.flush()
        if self._stops is None:
            return text
        text = self._stops.feed(text)
        return text if self._stops.found else text + self._stops.flush()


def _overlap(text: str, stop: str) -> int:
    """How many characters at the end of a text may begin a stop string."""
    for length in range(min(len(text), len(stop) - 1), 0, -1):
        if text.endswith(stop[:length]):
            return length
    return 0
