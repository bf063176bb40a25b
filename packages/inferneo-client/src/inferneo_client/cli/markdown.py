"""Receives the pieces of an answer; hands it on to a terminal, rendered as Markdown as it comes."""

import time
from typing import Any, Protocol

from inferneo_client.cli.console import harmless

_REFRESH_SECONDS = 0.08


class Printer(Protocol):
    """Shows an answer as it comes."""

    def add(self, text: str) -> None:
        """Take the next piece."""
        ...

    def think(self, text: str) -> None:
        """Take the next piece of what the model thinks."""
        ...

    def end(self) -> None:
        """Show what is left, and end the line."""
        ...


class PlainPrinter:
    """Writes the pieces as they are; on a terminal without what it would obey."""

    def __init__(self, out: Any) -> None:
        self._out = out
        self._on_terminal = out.isatty()
        self._begun = False

    def add(self, text: str) -> None:
        self._begun = True
        self._out.write(harmless(text) if self._on_terminal else text)
        self._out.flush()

    def think(self, text: str) -> None:
        """Left out: the answer alone may be a program's input."""

    def end(self) -> None:
        if self._begun:
            self._out.write("\n")
            self._out.flush()


def markdown_printer(out: Any) -> Printer | None:
    """What renders Markdown; None where the extra `cli` is not installed."""
    try:
        import rich.console
    except ImportError:
        return None
    return MarkdownPrinter(rich.console.Console(file=out))


class MarkdownPrinter:
    """Prints each block once it is whole, and shows the last one as it grows.

    Only the block that grows is drawn again, so that an answer longer than the screen stays whole
    in what the terminal keeps.
    """

    def __init__(self, console: Any) -> None:
        from markdown_it import MarkdownIt
        from rich.live import Live

        self._console = console
        # As rich's own parser.
        self._parse = MarkdownIt().enable("strikethrough").enable("table").parse
        self._live = Live(console=console, auto_refresh=False, transient=True)
        self._text = ""
        self._thought = False
        self._shown = 0.0

    def add(self, text: str) -> None:
        if self._thought:
            self._thought = False
            self._console.print("\n")
        self._text += harmless(text)
        now = time.monotonic()
        if now - self._shown >= _REFRESH_SECONDS:
            self._shown = now
            self._show()

    def think(self, text: str) -> None:
        from rich.text import Text

        self._thought = True
        self._console.print(Text(harmless(text), style="dim"), end="")

    def _show(self) -> None:
        from rich.markdown import Markdown

        whole, self._text = self._split(self._text)
        self._live.start()
        if whole:
            self._console.print(Markdown(whole))
            self._console.print()
        self._live.update(_Tail(Markdown(self._text)), refresh=True)

    def _split(self, text: str) -> tuple[str, str]:
        """The blocks that cannot change any more, and the last one."""
        starts = [token.map[0] for token in self._parse(text) if token.map and not token.level]
        if len(starts) < 2:
            return "", text
        lines = text.splitlines(keepends=True)
        return "".join(lines[: starts[-1]]), "".join(lines[starts[-1] :])

    def end(self) -> None:
        from rich.markdown import Markdown

        self._live.stop()
        if self._text.strip():
            self._console.print(Markdown(self._text))
        self._text = ""


class _Tail:
    """The last lines of something, as many as the screen has room for."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def __rich_console__(self, console: Any, options: Any) -> Any:
        from rich.segment import Segment

        lines = console.render_lines(self._inner, options, pad=False)
        for line in lines[-max(1, console.height - 2) :]:
            yield from line
            yield Segment.line()
