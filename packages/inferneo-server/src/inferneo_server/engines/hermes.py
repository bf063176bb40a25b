"""Receives the text of an answer piece by piece; hands on its content and the calls in it.

Calls are those of Hermes, Qwen and others:
`<tool_call>{"name": "f", "arguments": {"x": 1}}</tool_call>`.
Each character is looked at once, and only what cannot be told yet is kept.
"""

import json
import re
from collections.abc import Callable
from uuid import uuid4

from msgspec import UNSET

from inferneo_core.chat import FunctionCallDelta, ToolCallDelta

OPEN, CLOSE = "<tool_call>", "</tool_call>"

_SOLID = re.compile(r"\S")
# What changes the state of JSON, or ends it.
_STRUCTURE = re.compile(r'["{}\[\],<]')
_IN_STRING = re.compile(r'[^"\\]*(?:\\.[^"\\]*)*', re.DOTALL)


class Calls:
    """Finds the calls of one answer.

    A call's name is told once it is complete, its arguments as they come and as they are written.
    They end where their JSON does: a `</tool_call>` in a string is part of that string. Arguments
    that are no object, list or string are `{}`. What turns out to be no call is content. White
    space before a call is left out where there is nothing else.

    Args:
        one: whether calls behind the first are left out.
    """

    def __init__(self, *, one: bool) -> None:
        self._one = one
        self._count = 0
        # Not bound: an object that held its own method would wait for the garbage collector.
        self._read: Callable[[Calls, str, int], int] = Calls._read_content
        self._held = ""
        self._blank: list[str] | None = []
        self._said: list[str] = []
        self._told: list[_Told] = []

    def feed(self, text: str) -> tuple[str, list[ToolCallDelta]]:
        """The content and the calls that a piece adds."""
        text, self._held = self._held + text, ""
        at = 0
        while at < len(text):
            at = self._read(self, text, at)
        content, calls = "".join(self._said), [told.delta() for told in self._told]
        self._said.clear()
        self._told.clear()
        return content, calls

    def end(self) -> str:
        """The content that was kept, where no more comes."""
        if self._read is Calls._read_content:
            self._say(self._held)
        elif self._read is not Calls._read_close and not self._named:
            self._raw.append(self._held)
            self._give_up()
        if self._blank and not self._count:
            self._said += self._blank
        return "".join(self._said)

    def _say(self, content: str) -> None:
        if self._blank is not None:
            if not content.strip():
                self._blank.append(content)
                return
            self._said += self._blank
            self._blank = None
        self._said.append(content)

    def _tell(self, arguments: str, name: str | None = None) -> None:
        if self._one and self._count:
            return
        if not self._told or self._told[-1].index != self._count:
            self._told.append(_Told(self._count, name))
        self._told[-1].arguments.append(arguments)

    # The states: each reads from `at` on, and returns where it stopped.

    def _read_content(self, text: str, at: int) -> int:
        found = text.find(OPEN, at)
        if found >= 0:
            self._say(text[at:found])
            self._begin()
            return found + len(OPEN)
        end = len(text) - begun(text, (OPEN,), at)
        self._held = text[end:]
        self._say(text[at:end])
        return len(text)

    def _begin(self) -> None:
        self._read = Calls._read_start
        self._raw: list[str] = [OPEN]
        self._early: list[str] = []
        self._named = self._argued = self._taking = False
        self._quoted = self._escaped = False
        self._depth = 0
        self._key: str | None = None
        self._word: list[str] | None = None

    def _read_start(self, text: str, at: int) -> int:
        solid = _SOLID.search(text, at)
        if solid is None:
            self._raw.append(text[at:])
            return len(text)
        if solid[0] == "{":
            self._read = Calls._read_body
        else:
            self._give_up()
        return at

    def _give_up(self) -> None:
        """What has been read of the call is content."""
        self._say("".join(self._raw))
        self._read = Calls._read_content

    def _read_body(self, text: str, at: int) -> int:
        begin, taken = at, at if self._taking else -1
        end = len(text)
        while at < end and self._read is Calls._read_body:
            if self._quoted:
                at = self._read_string(text, at)
                ended = not self._quoted and self._depth == 1
            else:
                found = _STRUCTURE.search(text, at)
                if found is None:
                    at = end
                    break
                at = found.end()
                mark = found[0]
                if mark == "<":
                    if self._breaks_off(text, found.start()):
                        at = end = found.start()
                    continue
                if self._depth == 1 and self._begins_arguments(mark):
                    taken = found.start()
                ended = self._structure(mark)
            if ended and self._taking:
                self._taking = False
                self._argue(text[taken:at])
        if self._taking:
            self._argue(text[taken:at])
        if not self._named:
            self._raw.append(text[begin:at])
        if self._read is Calls._read_close:
            self._finish()
        return at + len(self._held)

    def _breaks_off(self, text: str, at: int) -> bool:
        """Whether the call ends there, in the midst of its JSON, or may do so."""
        rest = text[at : at + len(CLOSE)]
        if rest == CLOSE:
            self._read = Calls._read_close
        elif CLOSE.startswith(rest):
            self._held = rest
        else:
            return False
        return True

    def _read_string(self, text: str, at: int) -> int:
        begin = at
        match = _IN_STRING.match(text, at + self._escaped)
        assert match is not None  # it fits nothing at all too
        at = match.end()
        self._escaped = False
        if self._word is not None:
            self._word.append(text[begin:at])
        if at == len(text):
            return at
        if text[at] == '"':
            self._quoted = False
            if self._word is not None:
                self._know(_unescaped("".join(self._word)))
        else:
            # A backslash, the last character that there is yet.
            self._escaped = True
            if self._word is not None:
                self._word.append("\\")
        return at + 1

    def _know(self, word: str) -> None:
        """A key of the call, or its name, is complete."""
        self._word = None
        if self._key is None:
            self._key = word
        elif word:
            self._named = True
            self._blank = []
            self._tell("".join(self._early), word)

    def _begins_arguments(self, mark: str) -> bool:
        if mark not in '"{[' or self._key != "arguments" or self._argued:
            return False
        self._argued = self._taking = True
        return True

    def _structure(self, mark: str) -> bool:
        """Note a mark outside of strings; whether it ends a value of the call itself."""
        if mark == '"':
            self._quoted = True
            wanted = self._key is None or (self._key == "name" and not self._named)
            if wanted and self._depth == 1:
                self._word = []
        elif mark in "{[":
            self._depth += 1
        elif mark in "}]":
            self._depth -= 1
            if self._depth == 0:
                self._read = Calls._read_close
            return self._depth == 1
        elif self._depth == 1:
            self._key = None
        return False

    def _argue(self, fragment: str) -> None:
        if self._named:
            if fragment:
                self._tell(fragment)
        else:
            self._early.append(fragment)

    def _finish(self) -> None:
        if not self._named:
            self._give_up()
            return
        if not self._argued:
            self._tell("{}")
        self._count += 1

    def _read_close(self, text: str, at: int) -> int:
        solid = _SOLID.search(text, at)
        if solid is None:
            return len(text)
        at = solid.start()
        rest = text[at : at + len(CLOSE)]
        if rest != CLOSE and CLOSE.startswith(rest):
            self._held = rest
            return len(text)
        self._read = Calls._read_content
        return at + len(CLOSE) if rest == CLOSE else at


class _Told:
    """What one piece adds to one call."""

    __slots__ = ("arguments", "index", "name")

    def __init__(self, index: int, name: str | None) -> None:
        self.index = index
        self.name = name
        self.arguments: list[str] = []

    def delta(self) -> ToolCallDelta:
        arguments = "".join(self.arguments)
        if self.name is None:
            function = FunctionCallDelta(arguments=arguments)
            return ToolCallDelta(index=self.index, function=function)
        function = FunctionCallDelta(name=self.name, arguments=arguments or UNSET)
        return ToolCallDelta(
            index=self.index, id=f"call_{uuid4().hex}", type="function", function=function
        )


def begun(text: str, markers: tuple[str, ...], at: int = 0) -> int:
    """How many characters at the end of a text, from `at` on, may begin one of the markers, whose
    only `<` is their first character, and none of which is longer than `</tool_call>`."""
    found = text.rfind("<", max(at, len(text) - len(CLOSE) + 1))
    if found < 0:
        return 0
    rest = text[found:]
    return len(rest) if any(marker.startswith(rest) for marker in markers) else 0


def _unescaped(word: str) -> str:
    if "\\" not in word:
        return word
    try:
        return str(json.loads(f'"{word}"', strict=False))
    except ValueError:
        return word
