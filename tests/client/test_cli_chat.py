"""`inferneo chat` on a terminal: commands, Ctrl-C, Markdown, a network that drops."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.client.program import end_of, environment, on_terminal
from tests.client.proxy import Fault, faulty_proxy
from tests.client.recorded import chunk, delta
from tests.client.scripted import ScriptedServer, sse
from tests.integration.waiting import wait_running
from tests.servers import RunningServer, running_server

_ESCAPE = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


@pytest.fixture(scope="module")
def paced_server() -> Iterator[RunningServer]:
    """Writes for so long that an answer is always under way when it is stopped."""
    flags = ["token_seconds=0.02", "words=4000"]
    with running_server(
        "--engine=simulated", *(f"--engine-args={flag}" for flag in flags)
    ) as server:
        yield server


def talk(url: str, *flags: str, **options: Any) -> Any:
    """A chat that waits for its first line."""
    terminal = on_terminal("chat", "--base-url", url, *flags, **options)
    terminal.expect(r"/help lists commands\.\r\n")
    terminal.expect("> ")
    return terminal


def say(terminal: Any, line: str) -> str:
    """Type a line, and give what is shown before the next prompt."""
    terminal.sendline(line)
    terminal.expect_exact(f"{line}\r\n")
    terminal.expect(r"(?:^|\n|\x1b\[\?2004h)> ")
    return _ESCAPE.sub("", terminal.before).replace("\r", "")


def sent(server: ScriptedServer) -> list[list[tuple[str, str]]]:
    """The messages of each request that came."""
    return [
        [(message["role"], message["content"]) for message in json.loads(body)["messages"]]
        for head, body in server.requests
        if head.method == "POST"
    ]


@pytest.fixture
def echo(other: ScriptedServer) -> Iterator[ScriptedServer]:
    """A server that always answers `yes`."""
    events = [chunk([delta(content="yes")]), chunk([delta(finish_reason="stop")]), b"[DONE]"]
    other.answer = sse(b"".join(b"data: " + event + b"\n\n" for event in events))
    yield other
    other.answer = None


def test_the_conversation_is_kept_until_it_is_cleared(echo: ScriptedServer) -> None:
    terminal = talk(echo.url, "--model", "m", "--system", "be brief")

    assert "yes" in say(terminal, "one")
    say(terminal, "two")
    assert "forgotten" in say(terminal, "/clear")
    assert "be long" in say(terminal, "/system be long")
    say(terminal, "three")
    terminal.sendline("/quit")

    assert end_of(terminal) == 0
    system = ("system", "be brief")
    first = [system, ("user", "one")]
    assert sent(echo) == [
        first,
        [*first, ("assistant", "yes"), ("user", "two")],
        [("system", "be long"), ("user", "three")],
    ]


def test_commands_tell_of_themselves_and_a_model_can_be_chosen(
    simulated_server: RunningServer,
) -> None:
    terminal = talk(simulated_server.url)

    told = say(terminal, "/help")
    assert all(command in told for command in ("/model", "/system", "/clear", "/quit", "Ctrl-C"))
    assert "* inferneo-tiny" in say(terminal, "/model")
    assert "There is no model nobody." in say(terminal, "/model nobody")
    assert "* inferneo-tiny" in say(terminal, "/model inferneo-tiny")
    assert "There is no /nothing" in say(terminal, "/nothing")
    assert "as it is" in say(terminal, "/system")
    terminal.sendeof()

    assert end_of(terminal) == 0


def test_ctrl_c_ends_the_answer_on_the_server_too_and_the_talk_goes_on(
    paced_server: RunningServer,
) -> None:
    terminal = talk(paced_server.url)
    for _ in range(2):
        terminal.sendline("go on for ever")
        terminal.expect("words that no model")
        wait_running(paced_server, 1)
        terminal.sendintr()
        terminal.expect(r"\(stopped\)")
        terminal.expect("> ")
        wait_running(paced_server, 0)
    terminal.sendintr()
    terminal.expect(r"/quit leaves")
    terminal.expect("> ")
    assert "inferneo-tiny" in say(terminal, "/model")
    terminal.sendline("/quit")

    assert end_of(terminal) == 0


def test_what_was_written_before_ctrl_c_stays_in_the_conversation(ours: ScriptedServer) -> None:
    ours.hold = 3
    terminal = talk(ours.url, "--model", "m", "--plain")
    try:
        terminal.sendline("first")
        terminal.expect("Streams that")
        terminal.sendintr()
        terminal.expect(r"\(stopped\)")
        assert ours.wait(lambda: bool(ours.cancelled))
    finally:
        ours.hold = None
    terminal.expect("> ")
    say(terminal, "second")
    terminal.sendline("/quit")

    assert end_of(terminal) == 0
    assert sent(ours)[1] == [("user", "first"), ("assistant", "Streams that"), ("user", "second")]


def test_ctrl_c_ends_the_program_where_it_has_one_thing_to_do(paced_server: RunningServer) -> None:
    terminal = on_terminal("chat", "go on", "--base-url", paced_server.url)
    terminal.expect("words that no model")
    terminal.sendintr()

    assert end_of(terminal) == 130
    wait_running(paced_server, 0)


def test_the_talk_outlives_a_network_that_drops(ours: ScriptedServer) -> None:
    with faulty_proxy(ours.port) as proxy:
        proxy.faults += [Fault("cut", at=800), Fault("refuse"), Fault("cut", at=700)]
        terminal = talk(proxy.url, "--model", "m", "--plain")
        told = say(terminal, "hi")
        terminal.sendline("/quit")

        assert end_of(terminal) == 0
    assert 'Streams that survive: é\n\ndata: "日本 🙂\\u.' in told
    assert ours.generations == 1


def test_an_error_is_told_and_the_talk_goes_on(echo: ScriptedServer) -> None:
    terminal = talk(echo.url, "--model", "m")
    answer, echo.answer = echo.answer, b"HTTP/1.1 400 X\r\ncontent-length: 2\r\n\r\nno"
    assert "inferneo: no" in say(terminal, "one")
    echo.answer = answer
    assert "yes" in say(terminal, "two")
    terminal.sendline("/quit")

    assert end_of(terminal) == 0
    assert sent(echo)[-1] == [("user", "two")]


MARKDOWN = """\
# Title

Some **bold** text.

| a | b |
|---|---|
| 1 | 2 |

```python
x = 1
```

1. one
2. two
"""


def test_markdown_is_rendered_and_stays_whole_on_a_small_screen(other: ScriptedServer) -> None:
    text = MARKDOWN + "".join(f"\nParagraph {number}.\n" for number in range(30))
    events = [chunk([delta(content=text[at : at + 7])]) for at in range(0, len(text), 7)]
    events += [chunk([delta(finish_reason="stop")]), b"[DONE]"]
    other.answer = sse(b"".join(b"data: " + event + b"\n\n" for event in events))
    try:
        terminal = on_terminal("chat", "hi", "--base-url", other.url, "--model", "m", rows=10)
        assert end_of(terminal) == 0
    finally:
        other.answer = None

    shown = _ESCAPE.sub("", terminal.before)
    assert "**" not in shown and "```" not in shown and "|---" not in shown
    assert "\x1b[1m" in terminal.before
    positions = [shown.rindex(f"Paragraph {number}.") for number in range(30)]
    assert positions == sorted(positions)
    assert all(text in shown for text in ("Title", "bold", "x = 1", "1 one", "2 two"))


def test_without_the_extra_the_answer_is_plain_and_the_command_says_what_to_install(
    echo: ScriptedServer, tmp_path: Any
) -> None:
    (tmp_path / "rich.py").write_text("raise ImportError('no rich here')")
    path = f"{tmp_path}:{environment().get('PYTHONPATH', '')}"
    terminal = on_terminal("chat", "--base-url", echo.url, "--model", "m", PYTHONPATH=path)
    terminal.expect_exact("pip install 'inferneo-client[cli]'")
    terminal.expect("> ")
    assert "yes" in say(terminal, "hi")
    terminal.sendline("/quit")

    assert end_of(terminal) == 0
