"""Receives the text of an answer piece by piece; hands on the reasoning that it begins with."""

import re

from inferneo_server.engines.hermes import OPEN, begun

BEGIN, END = "<think>", "</think>"


class Thoughts:
    """Finds the reasoning of one answer.

    Args:
        begun: whether the answer begins with reasoning even where it does not say so.
        until_call: whether a call of a tool ends it too.

    Attributes:
        over: whether what comes is no reasoning any more.
    """

    def __init__(self, *, begun: bool, until_call: bool) -> None:
        self.over = False
        self._begun = begun
        self._beginning = True
        self._held = ""
        self._ends = (END, OPEN) if until_call else (END,)
        self._end = re.compile("|".join(self._ends))

    def feed(self, text: str) -> tuple[str, str]:
        """The reasoning that a piece adds, and the text behind it."""
        if self.over:
            return "", text
        text, self._held = self._held + text, ""
        if not self._beginning:
            return self._thought(text)
        rest = text.lstrip()
        space = text[: len(text) - len(rest)]
        before = (space, "") if self._begun else ("", space)
        if rest.startswith(BEGIN):
            self._begun, self._beginning = True, False
            thought, behind = self._thought(rest[len(BEGIN) :])
            return before[0] + thought, before[1] + behind
        if BEGIN.startswith(rest):
            self._held = rest
            return before
        self._beginning = False
        if self._begun:
            return self._thought(text)
        self.over = True
        return "", text

    def _thought(self, text: str) -> tuple[str, str]:
        found = self._end.search(text)
        if found is None:
            end = len(text) - begun(text, self._ends)
            self._held = text[end:]
            return text[:end], ""
        self.over = True
        # A call is no part of the reasoning that it ends.
        return text[: found.start()], text[found.end() if found[0] == END else found.start() :]

    def end(self) -> tuple[str, str]:
        """What was kept, where no more comes."""
        held, self._held = self._held, ""
        return (held, "") if self._begun else ("", held)
