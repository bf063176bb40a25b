"""Proves what the command line takes and how it ends, run as a program of its own."""

import argparse
import os
import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from inferneo_server import Settings
from inferneo_server.cli import flags
from inferneo_server.environment import ENV_PREFIX
from inferneo_server.settings import load_settings

END_SECONDS = 60.0  # a start, and an end, on a busy machine
SIMULATED = ("--engine", "simulated", "--port", "0")


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the program to its end, with no settings but the given ones."""
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith(ENV_PREFIX)
    }
    return subprocess.run(
        [sys.executable, "-m", "inferneo_server", *arguments],
        env={**inherited, "COLUMNS": "200", **environment},
        capture_output=True,
        text=True,
        timeout=END_SECONDS,
    )


def complaint(*arguments: str, **environment: str) -> str:
    """What the program says last, when it ends because something is wrong."""
    done = run(*arguments, **environment)
    assert done.returncode != 0, done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    return done.stderr.splitlines()[-1]


def parsed(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    flags.add_settings(parser)
    return parser.parse_args(arguments)


def gathered(*flags: str) -> Any:
    arguments = [part for flag in flags for part in ("--engine-args", flag)]
    return parsed(*arguments).engine_args


def test_a_list_is_given_by_repeating_its_flag() -> None:
    origins = ["https://a.example", "https://b.example"]
    given = flags.given_settings(parsed(*(f"--cors-origins={origin}" for origin in origins)))

    assert load_settings(**given).cors_origins == origins


def test_help_names_the_command_and_the_version() -> None:
    done = run("--help")

    assert (done.returncode, done.stderr) == (0, "")
    assert "serve" in done.stdout
    assert "--version" in done.stdout


def test_help_of_serve_lists_each_setting_with_its_meaning() -> None:
    done = run("serve", "--help")

    assert (done.returncode, done.stderr) == (0, "")
    told = " ".join(done.stdout.split())
    for name, field in Settings.model_fields.items():
        assert f"--{name.replace('_', '-')}" in told
        assert str(field.description) in told
    assert "--config" in told


def test_help_never_shows_a_key_of_the_environment() -> None:
    assert "very-secret" not in run("serve", "--help", INFERNEO_API_KEY="very-secret").stdout


def test_the_version_is_told_alone() -> None:
    done = run("--version")

    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(r"\d+\.\d+\.\d+\S*\n", done.stdout)


def test_serve_may_be_left_out() -> None:
    told = complaint("serve", "--port", "x")

    assert told.startswith("inferneo-server: port: ")
    assert complaint("--port", "x") == told
    assert complaint(INFERNEO_PORT="x") == told


@pytest.mark.parametrize(
    ("flags", "engine_args"),
    [
        (["max_num_seqs=8"], {"max_num_seqs": 8}),
        (["max-num-seqs=8", "dtype=float32"], {"max_num_seqs": 8, "dtype": "float32"}),
        (["a=1", "a=2"], {"a": 2}),
        (["a=true", "b=0.5", "c=", "d=[1, x]"], {"a": True, "b": 0.5, "c": None, "d": [1, "x"]}),
        (["a=b=c"], {"a": "b=c"}),
        (['{"a": 1, "b": {"c": null}}'], {"a": 1, "b": {"c": None}}),
        (['{"a": 1, "b": 1}', "b=2", '{"c": 3}'], {"a": 1, "b": 2, "c": 3}),
        (['a={"b": 1}'], {"a": {"b": 1}}),
    ],
)
def test_arguments_of_the_engine_are_gathered_from_all_their_flags(
    flags: list[str], engine_args: dict[str, Any]
) -> None:
    assert gathered(*flags) == engine_args


@pytest.mark.parametrize(
    "arguments",
    [
        ("--lora-modules", "sql=org/sql", "--lora-modules", "a-b=~/x"),
        ("--lora-modules", "sql=org/sql", "a-b=~/x"),
        ("--lora-modules", '{"sql": "org/sql", "a-b": "~/x"}'),
        ("--lora-modules", '{"name": "sql", "path": "org/sql", "base_model_name": "m"}', "a-b=~/x"),
    ],
)
def test_adapters_are_given_as_vllms_server_takes_them(arguments: tuple[str, ...]) -> None:
    assert parsed(*arguments).lora_modules == {"sql": "org/sql", "a-b": "~/x"}


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--prot", "1"), "--prot"),
        (("--lora-modules", "sql"), "--lora-modules"),
        (("--lora-modules", "sql=/nowhere/sql"), "lora_modules: sql: there is no /nowhere/sql"),
        (("serve", "one", "extra"), "extra"),
        (("serve", "one", "--model", "another"), "--model another"),
        (("--engine", "tensorrt"), "--engine"),
        (("--port", "x"), "port: "),
        (("--port", "70000"), "port: "),
        (("--engine-args", "max_num_seqs"), "max_num_seqs"),
        (("--keep-alive-seconds", "0"), "keep_alive_seconds: "),
        (("--config", "/nowhere.yaml"), "/nowhere.yaml"),
        (("--config", "/"), "config: "),
    ],
)
def test_a_wrong_argument_ends_the_program_with_a_line_that_names_it(
    arguments: tuple[str, ...], told: str
) -> None:
    last = complaint(*arguments)

    assert last.startswith("inferneo-server")
    assert told in last


def test_the_model_may_stand_without_its_flag() -> None:
    given = flags.given_settings(parsed("Qwen/Qwen3-8B", "--port", "1"))

    assert (load_settings(**given).model, given["port"]) == ("Qwen/Qwen3-8B", "1")
    assert "model: there is no /nowhere/model" in complaint("serve", "/nowhere/model")


def test_a_model_without_the_command_is_told_which_serves_it() -> None:
    assert complaint("Qwen/Qwen3-8B") == (
        "inferneo-server: there is no command Qwen/Qwen3-8B; "
        "to serve that model: inferneo-server serve Qwen/Qwen3-8B"
    )


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--max-model-len", "4096"), "of the engine: --engine-args max_model_len=4096"),
        (("--dtype=float32", "--strict"), "of the engine: --engine-args dtype=float32"),
        (("--ssl-certfile", "cert.pem"), "here it is --tls-cert"),
        (("--enable-auto-tool-choice",), "calls are found by --tool-parser"),
        (("--modle", "a"), "did you mean --model?"),
    ],
)
def test_a_flag_of_vllms_server_is_told_what_it_is_here(
    arguments: tuple[str, ...], told: str
) -> None:
    assert complaint("serve", *arguments).endswith(told)


def test_the_arguments_of_vllm_are_those_that_it_has() -> None:
    last = complaint("serve", "some/model", "--enforce-eager", "--tensor-parallel-size", "2")

    assert last.endswith("of the engine: --engine-args enforce_eager=true")


@pytest.mark.parametrize("value", ["{bad", "a=[1"])
def test_malformed_arguments_of_the_engine_are_refused_without_a_traceback(value: str) -> None:
    assert "--engine-args" in complaint("--engine-args", value)


def test_a_setting_that_is_wrong_in_the_file_is_named_with_what_was_meant(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("server:\n  modle: a")

    assert complaint("--config", str(config)) == (
        "inferneo-server: modle: there is no such setting; did you mean model?"
    )


def test_a_busy_port_ends_the_program_with_a_line_that_says_so() -> None:
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = str(busy.getsockname()[1])
        done = run("--engine", "simulated", "--port", port)

    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    (told,) = [line for line in done.stderr.splitlines() if "already in use" in line]
    assert port in told


def test_an_engine_that_cannot_start_ends_the_program_with_its_reason() -> None:
    last = complaint(*SIMULATED, "--engine-args", "start_error=no such weights")

    assert last == "inferneo-server: inferneo-tiny cannot be served: no such weights"


def test_an_argument_that_the_engine_does_not_know_ends_the_program_with_its_name() -> None:
    assert "nonsense" in complaint(*SIMULATED, "--engine-args", "nonsense=1")


@pytest.mark.parametrize("setting", ["limits_store", "streams_store"])
def test_an_address_that_is_no_redis_is_told_by_its_setting_alone(
    setting: str, tmp_path: Path
) -> None:
    flag = f"--{setting.replace('_', '-')}=redis://here:a/0"
    done = run("--engine=simulated", "--port=0", flag, INFERNEO_STATE_DIR=str(tmp_path))

    assert done.returncode == 1
    told = done.stderr.splitlines()[-1]
    assert told.startswith(f"inferneo-server: {setting} is no address of a Redis: ")
    assert "--state-dir" not in told
