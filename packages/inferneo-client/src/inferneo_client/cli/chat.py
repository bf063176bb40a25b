"""Receives what a user says; hands on the model's answers: `inferneo chat`."""

import argparse
import contextlib
import sys
from typing import Any

from inferneo_client._sync import Inferneo
from inferneo_client.cli.connection import STREAM_RETRY, connected, model_of, sampling_of
from inferneo_client.cli.console import (
    EXTRA,
    INTERRUPTED,
    Failure,
    complain,
    document,
    harmless,
    message_of,
)
from inferneo_client.cli.markdown import PlainPrinter, Printer, markdown_printer
from inferneo_core.errors import ApiError

_HELP = """\
/model [NAME]    show the models that are served, or choose one
/system [TEXT]   show what the model shall be, or change it
/clear           forget the conversation
/help            show this
/quit            leave, as Ctrl-D does
Ctrl-C ends an answer; what it had written by then is kept."""


class Conversation:
    """What was said so far, and whom it is said to."""

    def __init__(self, client: Inferneo, model: str | None, given: argparse.Namespace) -> None:
        self.client: Inferneo = client.with_options(retry=STREAM_RETRY)
        self.model = model
        self.system: str | None = given.system
        self.history: list[dict[str, Any]] = []
        self._sampling = sampling_of(given)

    def _arguments(self) -> dict[str, Any]:
        first = [{"role": "system", "content": self.system}] if self.system else []
        return {"messages": [*first, *self.history], "model": self.model, **self._sampling}

    def whole(self, text: str) -> str:
        """Say something, and give the server's whole answer as JSON."""
        self.history.append({"role": "user", "content": text})
        return document(self.client.chat.completions.create(**self._arguments()))

    def say(self, text: str, printer: Printer) -> bool:
        """Say something, and print the answer as it comes; False where Ctrl-C has ended it.

        Raises:
            ApiError: there was no answer, or not all of it; then nothing was said.
        """
        self.history.append({"role": "user", "content": text})
        written: list[str] = []
        try:
            whole = self._print(written, printer)
        except BaseException:
            self.history.pop()
            raise
        if not whole and not written:
            self.history.pop()
        else:
            self.history.append({"role": "assistant", "content": "".join(written)})
        return whole

    def _print(self, written: list[str], printer: Printer) -> bool:
        """Leaving the block closes the stream, which tells the server to stop."""
        try:
            with self.client.chat.completions.stream(**self._arguments()) as stream:
                for event in stream:
                    if event.type == "text" and event.index == 0:
                        written.append(event.text)
                        printer.add(event.text)
                    elif event.type == "reasoning":
                        printer.think(event.text)
        except KeyboardInterrupt:
            return False
        finally:
            # A second Ctrl-C must not leave the terminal without its cursor.
            with contextlib.suppress(KeyboardInterrupt):
                printer.end()
        return True


def chat(given: argparse.Namespace) -> int:
    """Talk with a model, or have one message answered."""
    message = _message(given)
    if message is None and given.json:
        raise Failure("--json answers one message: give it as an argument, or on the input", 2)
    with connected(given) as client:
        conversation = Conversation(client, model_of(client, given), given)
        if message is None:
            return _talk(conversation, given)
        if given.json:
            print(conversation.whole(message))
            return 0
        return 0 if conversation.say(message, _printer(given)) else INTERRUPTED


def _message(given: argparse.Namespace) -> str | None:
    """What is to be asked at once; None where a user sits at a terminal, and will say."""
    parts = [" ".join(given.message)] if given.message else []
    if not sys.stdin.isatty():
        parts += [sys.stdin.read().removesuffix("\n")]
    elif not given.message and sys.stdout.isatty():
        return None
    elif not given.message:
        parts += [sys.stdin.read()]
    message = "\n\n".join(part for part in parts if part.strip())
    if not message:
        raise Failure("There is nothing to say: the input is empty", 2)
    return message


def _printer(given: argparse.Namespace) -> Printer:
    rendered = sys.stdout.isatty() and not given.plain
    return (rendered and markdown_printer(sys.stdout)) or PlainPrinter(sys.stdout)


def _talk(conversation: Conversation, given: argparse.Namespace) -> int:
    """Ask for lines until the user leaves."""
    # Where there is one, `input` edits lines by it and remembers them.
    with contextlib.suppress(ImportError):
        import readline  # noqa: F401
    if not given.plain and markdown_printer(sys.stdout) is None:
        complain(f"answers are not rendered: that takes {EXTRA}")
    print(f"{harmless(conversation.model or conversation.client.base_url)}. /help lists commands.")
    while True:
        try:
            line = input("> ").strip()
        except EOFError:
            print()
            return 0
        except KeyboardInterrupt:
            print("\n(/quit leaves)")
            continue
        if line in ("/quit", "/exit"):
            return 0
        if line:
            _answer(conversation, line, given)


def _answer(conversation: Conversation, line: str, given: argparse.Namespace) -> None:
    """What goes wrong is told, and the talk goes on."""
    try:
        if line.startswith("/"):
            _command(conversation, line)
        elif not conversation.say(line, _printer(given)):
            print("(stopped)")
    except ApiError as error:
        complain(harmless(message_of(error, conversation.client.base_url)))
    except KeyboardInterrupt:
        print("(stopped)")


def _command(conversation: Conversation, line: str) -> None:
    name, _, rest = line.partition(" ")
    rest = rest.strip()
    if name == "/help":
        print(_HELP)
    elif name == "/clear":
        conversation.history.clear()
        print("The conversation is forgotten.")
    elif name == "/system":
        if rest:
            conversation.system = rest
        print(f"The model shall be: {conversation.system or 'as it is'}")
    elif name == "/model":
        _choose(conversation, rest)
    else:
        print(f"There is no {harmless(name)}; /help lists what there is.")


def _choose(conversation: Conversation, name: str) -> None:
    served = [model.id for model in conversation.client.models.list()]
    if name and name not in served:
        print(harmless(f"There is no model {name}."))
    elif name:
        conversation.model = name
    for model in served:
        print(harmless(f"{'*' if model == conversation.model else ' '} {model}"))
