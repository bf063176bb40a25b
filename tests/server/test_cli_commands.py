"""Proves what the commands beside `serve` tell, run as programs against a real server."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from inferneo_server import Settings
from inferneo_server.environment import ENV_PREFIX
from inferneo_server.setting_groups import OTHER, group_of, grouped
from tests.servers import RunningServer, running_server

END_SECONDS = 60.0


def run(
    *arguments: str, path: Path | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run the program to its end, with no settings but the given ones."""
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith(ENV_PREFIX)
    }
    if path is not None:
        inherited["PYTHONPATH"] = f"{path}{os.pathsep}{inherited.get('PYTHONPATH', '')}"
    return subprocess.run(
        [sys.executable, "-m", "inferneo_server", *arguments],
        env={**inherited, **environment},
        capture_output=True,
        text=True,
        timeout=END_SECONDS,
    )


def told(*arguments: str, path: Path | None = None, **environment: str) -> str:
    done = run(*arguments, path=path, **environment)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def complaint(
    *arguments: str, status: int = 1, path: Path | None = None, **environment: str
) -> str:
    done = run(*arguments, path=path, **environment)
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr.splitlines()[-1]


@pytest.fixture
def config(tmp_path: Path) -> str:
    path = tmp_path / "config.yaml"
    path.write_text("server:\n  host: 127.0.0.2\nmodel: a/b\nport: 1\nengine_args: {a: 1}\n")
    return str(path)


def test_help_names_every_command() -> None:
    shown = told("--help")

    assert all(name in shown for name in ("serve", "models", "devices", "config"))


def test_a_command_that_is_not_there_is_refused_with_the_one_that_was_meant() -> None:
    assert complaint("confg", "check", status=2) == (
        "inferneo-server: there is no command confg; did you mean config?"
    )


@pytest.mark.parametrize("command", [(), ("config", "check")])
def test_a_flag_that_is_not_there_is_refused_with_the_one_that_was_meant(
    command: tuple[str, ...],
) -> None:
    assert complaint(*command, "--prot", "1", status=2).endswith(
        "--prot is not known; did you mean --port?"
    )


def test_the_devices_of_the_machine_are_shown_with_what_runs_on_them() -> None:
    shown = told("devices")

    assert "cpu" in shown
    assert "to install it: pip install" in shown


def test_the_devices_are_there_as_json() -> None:
    shown = json.loads(told("devices", "--json"))

    assert shown["devices"][-1]["device"] == "cpu:0"
    assert {one["engine"] for one in shown["backends"]} == {"vllm", "torch"}


def sources(*arguments: str, **environment: Any) -> dict[str, Any]:
    explained = json.loads(told("config", "check", "--json", *arguments, **environment))
    assert explained.keys() == Settings.model_fields.keys()
    return {name: (one["value"], one["sources"]) for name, one in explained.items()}


def test_each_setting_is_told_with_the_source_that_won(config: str) -> None:
    explained = sources("--config", config, "--port", "3", INFERNEO_PORT="2", INFERNEO_MODEL="c/d")

    assert explained["port"] == (3, ["--port"])
    assert explained["model"] == ("c/d", ["INFERNEO_MODEL"])
    assert explained["host"] == ("127.0.0.2", [config])
    assert explained["drain_seconds"] == (30.0, ["default"])


def test_a_mapping_is_told_with_all_sources_that_it_is_joined_from(config: str) -> None:
    explained = sources(
        *("--config", config, "--engine-args", "c=3"),
        INFERNEO_ENGINE_ARGS='{"b": 2}',
        INFERNEO_ENGINE_ARGS__D="4",
    )

    assert explained["engine_args"] == (
        {"a": 1, "b": 2, "c": 3, "d": 4},
        ["--engine-args", "INFERNEO_ENGINE_ARGS", "INFERNEO_ENGINE_ARGS__D", config],
    )


def test_secrets_are_not_shown() -> None:
    environment: dict[str, Any] = {
        "INFERNEO_API_KEY": "very-secret",
        "INFERNEO_API_KEYS": '["very-secret-too"]',
    }
    flags = ("--engine-args", "hf_token=very-secret")

    for form in ((), ("--json",), ("--all",)):
        shown = told("config", "check", *form, *flags, **environment)
        assert "very-secret" not in shown
        assert "INFERNEO_API_KEY" in shown


def test_a_value_of_several_lines_is_shown_in_one() -> None:
    shown = told("config", "check", "--chat-template", "{% for m in messages %}\n{% endfor %}")
    assert r'  chat_template  "{% for m in messages %}\n{% endfor %}"  --chat-template' in shown


def test_only_what_differs_from_the_defaults_is_shown_unless_all_is_asked_for() -> None:
    assert "drain_seconds" not in told("config", "check", "--port", "3")
    assert "drain_seconds" in told("config", "check", "--all")


@pytest.mark.parametrize("command", [("config", "check"), ("serve",)])
def test_a_variable_that_is_nearly_a_setting_is_refused(command: tuple[str, ...]) -> None:
    assert complaint(*command, INFERNEO_PROT="1") == (
        "inferneo-server: INFERNEO_PROT: there is no such setting; did you mean INFERNEO_PORT?"
    )


def test_a_variable_that_resembles_no_setting_is_refused_by_the_check_alone() -> None:
    assert "INFERNEO_ZZZ" in complaint("config", "check", INFERNEO_ZZZ="1")
    ended = run("--engine", "simulated", "--host", "nowhere.invalid", INFERNEO_ZZZ="1")
    assert "WARNING INFERNEO_ZZZ: there is no such setting" in ended.stderr
    assert "cannot listen on nowhere.invalid:8000: " in ended.stderr.splitlines()[-1]


def test_the_clients_variables_are_no_fault() -> None:
    told("config", "check", INFERNEO_BASE_URL="http://127.0.0.1:1", INFERNEO_API_KEY="a")


def test_each_fault_of_the_settings_has_a_line_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("modle: a\nport: x\n")

    done = run("config", "check", "--config", str(path))

    assert done.returncode == 1
    assert sorted(line.split(": ")[1] for line in done.stderr.splitlines()) == ["modle", "port"]


@pytest.mark.parametrize("origin", ["https://a.example/", "https://a.example/page", "a.example"])
def test_an_origin_that_no_browser_would_send_is_told_as_it_would(origin: str) -> None:
    last = complaint("config", "check", "--cors-origins", origin)

    assert last == (
        f"inferneo-server: cors_origins.0: '{origin}' is no origin; did you mean https://a.example?"
    )


def test_a_variable_that_holds_no_json_is_told_by_its_name() -> None:
    last = complaint("config", "check", INFERNEO_ENGINE_ARGS="{bad")

    assert last.startswith("inferneo-server: INFERNEO_ENGINE_ARGS: a list or a table is given as")


def test_a_certificate_that_is_not_there_is_refused_by_the_check_too() -> None:
    assert "/nowhere.pem cannot be read" in complaint(
        "config", "check", "--tls-cert", "/nowhere.pem"
    )


def test_a_model_whose_folder_is_not_there_is_refused_at_once() -> None:
    for command in (("serve",), ("config", "check")):
        last = complaint(*command, "--model", "/nowhere/model")
        assert last == "inferneo-server: model: there is no /nowhere/model"


def test_an_engine_that_is_not_installed_is_told_with_what_installs_it(tmp_path: Path) -> None:
    (tmp_path / "vllm").mkdir()
    (tmp_path / "vllm" / "__init__.py").write_text("raise ImportError('No module named vllm')")

    last = run("--port", "0", path=tmp_path).stderr.splitlines()[-1]

    assert last.startswith("inferneo-server: inferneo-tiny cannot be served: vLLM cannot be")
    assert "inferneo-server[vllm]" in last


def test_the_configured_models_are_listed(config: str) -> None:
    assert "a/b" in told("models", "configured", "--config", config)
    (model,) = json.loads(told("models", "configured", "--json", "--config", config))
    assert (model["name"], model["model"]) == ("a/b", "a/b")


def test_the_models_of_a_server_are_listed(simulated_server: RunningServer) -> None:
    shown = told("models", "list", "--url", simulated_server.url)

    assert "inferneo-tiny" in shown
    listed = json.loads(told("models", "list", "--json", "--url", f"{simulated_server.url}/v1"))
    assert [model["id"] for model in listed] == ["inferneo-tiny"]


def test_a_server_loads_and_unloads_a_model_when_it_is_told_to() -> None:
    with running_server("--engine", "simulated") as server:
        url = ("--url", server.url)
        loaded = told("models", "load", "inferneo-tiny", "--name", "other", *url)
        assert loaded == "other: ready on cpu:0 (simulated)\n"
        assert "other" in told("models", "list", *url)
        assert told("models", "unload", "other", *url) == "other: unloaded\n"
        assert "other" not in told("models", "list", *url)
        refused = complaint("models", "load", "a/b", "--device", "tpu:7", *url)

    assert "There is no device 'tpu:7' here. There are: " in refused


def test_what_the_server_refuses_is_told_in_its_words(simulated_server: RunningServer) -> None:
    last = complaint("models", "unload", "no/such", "--url", simulated_server.url)

    assert last.startswith("inferneo-server: The model 'no/such' does not exist")


def test_a_folder_that_the_server_does_not_have_is_told_as_such(
    simulated_server: RunningServer,
) -> None:
    url = simulated_server.url.removeprefix("http://")  # is enough

    last = complaint("models", "load", "/nowhere/model", "--url", url)

    assert last == "inferneo-server: There is no /nowhere/model on the server"


def test_a_server_that_is_not_there_is_told_by_its_address() -> None:
    last = complaint("models", "list", "--url", "http://127.0.0.1:1")

    assert last.startswith("inferneo-server: http://127.0.0.1:1 does not answer: ")


def test_every_setting_has_a_group_and_is_in_it_once() -> None:
    names = [name for _, members in grouped(Settings.model_fields) for name in members]

    assert sorted(names) == sorted(Settings.model_fields)
    assert [name for name in Settings.model_fields if group_of(name) == OTHER] == []
