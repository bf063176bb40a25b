"""The commands that ask once: what they print in a pipe, their errors and exit statuses."""

import json
import math
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

from inferneo_client.cli.console import harmless, table
from tests.client.program import SECONDS, environment, on_terminal, run
from tests.client.proxy import Fault, faulty_proxy
from tests.client.scripted import ScriptedServer, sse, whole
from tests.servers import RunningServer, running_server

PROJECT = Path(__file__).parents[2] / "packages" / "inferneo-client" / "pyproject.toml"
NOWHERE = "http://127.0.0.1:9"


@pytest.fixture
def url(simulated_server: RunningServer) -> str:
    return simulated_server.url


def test_the_entry_point_is_there() -> None:
    module, _, name = tomllib.loads(PROJECT.read_text())["project"]["scripts"][
        "inferneo"
    ].partition(":")

    assert callable(getattr(import_module(module), name))


def test_the_version_is_that_of_the_package() -> None:
    done = run("--version")

    assert done.stdout.strip() == tomllib.loads(PROJECT.read_text())["project"]["version"]
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    "command", ["chat", "complete", "embed", "models", "health", "usage", "token", "bench"]
)
def test_each_command_tells_its_flags(command: str) -> None:
    told = run(command, "--help").stdout

    assert all(flag in told for flag in ("--base-url", "--api-key", "--timeout", "--json"))


def test_what_is_piped_in_is_answered_in_plain_text(url: str) -> None:
    done = run("chat", "--base-url", url, given="hi\n")

    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.split()) == 32
    assert done.stdout.endswith("\n") and "\x1b" not in done.stdout


def test_the_environment_says_where_the_server_is(url: str) -> None:
    for given in (f"{url}/v1", url, url.removeprefix("http://")):
        assert run("chat", "hi", INFERNEO_BASE_URL=given).returncode == 0


def test_an_address_that_is_none_is_wrong_usage() -> None:
    done = run("health", "--base-url", "ftp://somewhere")

    assert (done.returncode, done.stdout) == (2, "")
    assert "begins with http:// or https://" in done.stderr


def test_a_number_that_is_none_is_told_in_words() -> None:
    last = run("chat", "hi", "--max-tokens", "x").stderr.splitlines()[-1]

    assert last == "inferneo chat: error: argument --max-tokens: x is not 1 or more"


def test_the_flags_reach_the_server(ours: ScriptedServer) -> None:
    arguments = ["--model", "m", "--system", "s", "--seed", "3", "--temperature", "0.5"]
    run("chat", "a", "b", "--base-url", ours.url, "--api-key", "k", *arguments, given="piped\n")

    head, body = next((head, body) for head, body in ours.requests if head.method == "POST")
    sent = json.loads(body)
    assert head.headers["authorization"] == "Bearer k"
    assert sent["messages"] == [
        {"role": "system", "content": "s"},
        {"role": "user", "content": "a b\n\npiped"},
    ]
    assert (sent["model"], sent["seed"], sent["temperature"]) == ("m", 3, 0.5)


def test_json_is_the_whole_answer_on_one_line(url: str) -> None:
    done = run("chat", "hi", "--json", "--base-url", url)
    answer = json.loads(done.stdout)

    assert done.stdout.count("\n") == 1
    assert len(answer["choices"][0]["message"]["content"].split()) == 32
    assert answer["usage"]["completion_tokens"] == 32
    assert "response" not in answer


@pytest.mark.parametrize("flags", [(), ("--json",)])
def test_a_text_is_written_on(url: str, flags: tuple[str, ...]) -> None:
    done = run("complete", "--base-url", url, "--max-tokens", "3", *flags, given="once upon")
    text = json.loads(done.stdout)["choices"][0]["text"] if flags else done.stdout

    assert done.returncode == 0
    assert len(text.split()) == 3


def test_models_are_listed(url: str) -> None:
    table, document = run("models", "--base-url", url), run("models", "--json", "--base-url", url)

    assert table.stdout.split()[:4] == ["model", "context", "owner", "inferneo-tiny"]
    assert json.loads(document.stdout)["data"][0]["id"] == "inferneo-tiny"


def test_what_was_used_is_told_with_its_sum(url: str) -> None:
    run("complete", "a b", "--max-tokens", "3", "--base-url", url)
    for flags in ((), ("--all",)):
        head, *rows = run("usage", *flags, "--base-url", url).stdout.splitlines()
        assert head.split()[-4:] == ["requests", "read", "written", "aborted"]
        assert rows[-1].split()[0] == "total"
        sums = [int(number) for number in rows[-1].split()[1:]]
        assert sums[0] >= 1 and sums[1] >= 2 and sums[2] >= 3
        assert "inferneo-tiny" in rows[0]
    report = json.loads(run("usage", "--json", "--base-url", url).stdout)
    assert report["total"]["requests"] == sums[0]


def test_health_is_told(url: str) -> None:
    done = run("health", "--base-url", url)

    assert (done.returncode, done.stdout) == (
        0,
        f"{url}/v1: healthy, serves inferneo-tiny, 0.1.0\n",
    )
    assert json.loads(run("health", "--json", "--base-url", url).stdout)["status"] == "healthy"


def vectors(*values: list[float]) -> bytes:
    data = [{"index": number, "embedding": value} for number, value in enumerate(values)]
    return whole(200, json.dumps({"object": "list", "data": data[::-1], "model": "m"}).encode())


def test_each_text_becomes_a_vector_on_a_line(ours: ScriptedServer) -> None:
    ours.answer = vectors([1.0, 0.5], [2.0, -1e-7])
    try:
        done = run("embed", "--base-url", ours.url, "--model", "m", given="one\n\ntwo\n")
        document = run("embed", "--base-url", ours.url, "--model", "m", "--json", "one", "two")
    finally:
        ours.answer = None

    assert [json.loads(line) for line in done.stdout.splitlines()] == [[1.0, 0.5], [2.0, -1e-7]]
    assert json.loads(document.stdout)["model"] == "m"
    sent = [json.loads(body) for head, body in ours.requests if head.path == "/v1/embeddings"]
    assert sent == [{"input": ["one", "two"], "encoding_format": "float", "model": "m"}] * 2


def test_vectors_of_a_real_server(url: str) -> None:
    done = run("embed", "--base-url", url, "one", "two words")
    document = json.loads(run("embed", "--base-url", url, "--json", "one", "two words").stdout)

    assert (done.returncode, done.stderr) == (0, "")
    vectors = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(vectors) == 2 and all(abs(math.hypot(*vector) - 1) < 1e-5 for vector in vectors)
    assert [item["embedding"] for item in document["data"]] == vectors


def test_missing_vectors_are_an_error(ours: ScriptedServer) -> None:
    ours.answer = vectors([1.0])
    try:
        done = run("embed", "--base-url", ours.url, "--model", "m", "one", "two")
    finally:
        ours.answer = None

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "inferneo: The server gave 1 vectors for 2 texts\n"


COMMANDS = [("chat", "a"), ("complete", "a"), ("embed", "a"), ("models",), ("health",)]
COMMANDS += [("usage",), ("token",), ("bench",)]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_a_server_that_is_down_is_told_in_one_line(command: tuple[str, ...]) -> None:
    done = run(*command, "--base-url", NOWHERE)

    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith(f"inferneo: No server answers at {NOWHERE}/v1: ")
    assert done.stderr.count("\n") == 1


def test_a_token_counts_as_the_key_it_was_made_with(guarded_server: RunningServer) -> None:
    to = ("--base-url", guarded_server.url)
    made = run("token", "--seconds", "60", "--api-key", "right", *to)

    assert made.returncode == 0, made.stderr
    used = run("models", "--api-key", made.stdout.strip(), *to)
    assert used.stdout.split()[3] == "inferneo-tiny"
    assert run("token", "--api-key", made.stdout.strip(), *to).returncode != 0


@pytest.fixture(scope="module")
def guarded_server() -> Iterator[RunningServer]:
    with running_server("--engine=simulated", "--api-key=right") as server:
        yield server


@pytest.mark.parametrize("command", [("chat", "a"), ("models",), ("bench",)])
def test_a_wrong_key_is_told_in_one_line(
    guarded_server: RunningServer, command: tuple[str, ...]
) -> None:
    done = run(*command, "--base-url", guarded_server.url, "--api-key", "wrong")

    assert (done.returncode, done.stdout) == (4, "")
    assert done.stderr.count("\n") == 1
    assert "--api-key" in done.stderr
    right = run("models", "--base-url", guarded_server.url, INFERNEO_API_KEY="right")
    assert right.returncode == 0


@pytest.mark.parametrize("command", ["chat", "complete", "bench"])
def test_an_unknown_model_is_told_in_one_line(url: str, command: str) -> None:
    words = ["a"] if command != "bench" else []
    done = run(command, *words, "--base-url", url, "--model", "nobody")

    assert (done.returncode, done.stdout) == (5, "")
    assert done.stderr.count("\n") == 1
    assert "'nobody'" in done.stderr and "`inferneo models`" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((), "required: command"),
        (("talk",), "invalid choice: 'talk'"),
        (("chat", "--temprature", "1"), "--temprature"),
        (("chat", "a", "--timeout", "0"), "0 is not above 0"),
        (("chat", "a", "--max-tokens", "0"), "0 is not 1 or more"),
        (("chat",), "the input is empty"),
        (("complete",), "There is nothing to do"),
        (("bench", "--concurrency", "1,x"), "not a list as 1,2,4"),
        (("bench", "--output", "report.pdf"), "neither in .html nor in .svg"),
    ],
)
def test_wrong_usage_is_told_and_is_status_2(arguments: tuple[str, ...], told: str) -> None:
    done = run(*arguments)

    assert (done.returncode, done.stdout) == (2, "")
    assert told in done.stderr.splitlines()[-1]


def test_an_answer_is_whole_though_its_connection_broke_twice(ours: ScriptedServer) -> None:
    expected = run("chat", "hi", "--base-url", ours.url, "--model", "m").stdout
    with faulty_proxy(ours.port) as proxy:
        proxy.faults += [Fault("cut", at=700), Fault("cut", at=900, reset=False)]
        done = run("chat", "hi", "--base-url", proxy.url, "--model", "m")

    assert (done.returncode, done.stderr, done.stdout) == (0, "", expected)
    assert proxy.taken == 3
    assert len(expected) > 30


def test_a_stream_that_is_lost_is_an_error_behind_what_came(other: ScriptedServer) -> None:
    other.answer = sse(b'data: {"choices":[{"index":0,"delta":{"content":"begun"}}]}\n\n')
    try:
        done = run("chat", "hi", "--base-url", other.url, "--model", "m")
    finally:
        other.answer = None

    assert (done.returncode, done.stdout) == (3, "begun\n")
    assert "ended without its end" in done.stderr


def test_output_that_nobody_reads_any_more_ends_the_program_quietly(url: str) -> None:
    done = subprocess.run(
        [
            "bash",
            "-c",
            f"{sys.executable} -m inferneo_client.cli chat hi --base-url {url} | head -c 1",
        ],
        env=environment(),
        capture_output=True,
        timeout=SECONDS,
    )

    assert (len(done.stdout), done.stderr) == (1, b"")


def test_a_terminal_is_given_nothing_to_obey(ours: ScriptedServer) -> None:
    event = json.dumps({"choices": [{"index": 0, "delta": {"content": "a\x1b[31mb\r\x9bc\n\td"}}]})
    ours.answer = sse(f"data: {event}\n\ndata: [DONE]\n\n".encode())
    try:
        terminal = on_terminal("chat", "hi", "--plain", "--base-url", ours.url, "--model", "m")
        terminal.expect("\td")
        terminal.close()
        piped = run("chat", "hi", "--base-url", ours.url, "--model", "m")
    finally:
        ours.answer = None

    assert (
        terminal.before
        == "a\N{REPLACEMENT CHARACTER}[31mb" + "\N{REPLACEMENT CHARACTER}" * 2 + "c\r\n"
    )
    assert "\x1b[31m" in piped.stdout
    assert harmless("a\u202eb\n") == "a\u202eb\n"


def test_the_program_needs_nothing_but_the_sdk() -> None:
    script = (
        "import sys; sys.modules['rich'] = None\n"
        "import inferneo_client.cli.chat, inferneo_client.cli.bench\n"
        "from inferneo_client.cli.markdown import markdown_printer\n"
        "print(markdown_printer(sys.stdout), 'rich' in sys.modules and sys.modules['rich'])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, timeout=SECONDS)

    assert done.stdout == b"None None\n"


def test_columns_stand_below_their_names() -> None:
    assert table(["a", " b"], [["long", "1"], ["x", "22"]]) == "a      b\nlong   1\nx     22"
