"""Proves which source of a setting wins, and that what is wrong is refused by its name."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from inferneo_server import Settings
from inferneo_server.access.identity import Limits
from inferneo_server.environment import ENV_PREFIX, SettingsError, unknown_variables
from inferneo_server.limits.presets import PRESETS
from inferneo_server.settings import EMBEDDED_MODEL, load_settings

WriteFile = Callable[[str], str]


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.upper().startswith(ENV_PREFIX)]:
        monkeypatch.delenv(name)


@pytest.fixture
def config(tmp_path: Path) -> WriteFile:
    """Writes a configuration file and gives its path."""

    def write(text: str) -> str:
        path = tmp_path / "config.yaml"
        path.write_text(text)
        return str(path)

    return write


def refusal(*, config: str | None = None, **flags: Any) -> str:
    with pytest.raises(SettingsError) as caught:
        load_settings(config, **flags)
    return str(caught.value)


def test_without_any_source_the_embedded_model_is_served_to_this_machine_only() -> None:
    settings = load_settings()

    assert (settings.host, settings.port) == ("127.0.0.1", 8000)
    assert (settings.engine, settings.model) == ("vllm", EMBEDDED_MODEL)
    assert settings.api_key is None


def test_the_embedded_model_has_a_reasoning_parser_and_others_have_none_unless_named() -> None:
    assert load_settings().model_specs[0].reasoning == "deepseek_v3"
    assert load_settings(model="a/b", reasoning_parser="qwen3").model_specs[0].reasoning == "qwen3"
    assert load_settings(model="a/b").model_specs[0].reasoning is None
    assert load_settings(reasoning_parser="none").model_specs[0].reasoning is None


def test_a_flag_beats_the_environment_and_that_beats_the_file(
    config: WriteFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = config("port: 1\nhost: file\nmodel: file")
    monkeypatch.setenv("INFERNEO_PORT", "2")
    monkeypatch.setenv("INFERNEO_HOST", "environment")

    settings = load_settings(file, port="3")

    assert (settings.port, settings.host, settings.model) == (3, "environment", "file")


MODEL_SETTINGS: dict[str, Any] = {
    "model": "a/b",
    "engine": "simulated",
    "engine_args": {"c-d": 1},
    "aliases": ["e"],
    "lora_modules": {"f": "g/h"},
    "device": "cpu",
    "tool_parser": "none",
    "reasoning_parser": "none",
    "load": "pinned",
    "idle_seconds": 1.5,
    "memory_bytes": 7,
    "chat_template": "x{{ messages }}",
}


def test_every_setting_can_be_given_by_each_source(
    config: WriteFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: dict[str, tuple[str, Any]] = {
        "host": ("0.0.0.0", "0.0.0.0"),
        "uds": ("/run/a.sock", Path("/run/a.sock")),
        "port": ("1", 1),
        "model": ("a/b", "a/b"),
        "served_model_name": ("m", "m"),
        "engine": ("simulated", "simulated"),
        "engine_args": ('{"words": 3}', {"words": 3}),
        "lora_modules": ('{"own": "a/b"}', {"own": "a/b"}),
        "tool_parser": ("hermes", "hermes"),
        "reasoning_parser": ("none", "none"),
        "chat_template": ("x{{ messages }}", "x{{ messages }}"),
        "metrics_host": ("10.0.0.1", "10.0.0.1"),
        "metrics_port": ("9", 9),
        "strict": ("true", True),
        "max_body_bytes": ("2048", 2048),
        "keep_alive_seconds": ("0.5", 0.5),
        "cors_origins": ('["https://a.example"]', ["https://a.example"]),
        "forwarded_allow_ips": ('["10.0.0.0/8", "unix"]', ["10.0.0.0/8", "unix"]),
        "stall_seconds": ("2", 2.0),
        "header_seconds": ("2", 2.0),
        "idle_seconds": ("2", 2.0),
        "max_connections": ("2", 2),
        "tls_cert": ("/a/cert", Path("/a/cert")),
        "tls_key": ("/a/key", Path("/a/key")),
        "max_resume_seconds": ("0", 0.0),
        "repeat_seconds": ("0.5", 0.5),
        "stream_log_bytes": ("1024", 1024),
        "stream_logs_bytes": ("2048", 2048),
        "responses_seconds": ("0.5", 0.5),
        "responses_count": ("0", 0),
        "responses_bytes": ("0", 0),
        "batch_requests": ("1", 1),
        "websocket_requests": ("1", 1),
        "websocket_idle_seconds": ("0.5", 0.5),
        "websocket_auth_seconds": ("0.5", 0.5),
        "websocket_ping_seconds": ("0.5", 0.5),
        "websocket_compression": ("false", False),
        "queue_requests": ("0", 0),
        "queue_tokens": ("0", 0),
        "queue_seconds": ("0.5", 0.5),
        "drain_seconds": ("0", 0.0),
        "default_limits": ("inferneo", PRESETS["inferneo"]),
        "anonymous_limits": ('{"requests_per_day": 3}', Limits(requests_per_day=3)),
        "model_limits": ('{"a/b-c": "inferneo"}', {"a/b-c": PRESETS["inferneo"]}),
        "limits_store": ("redis://a:1/0", "redis://a:1/0"),
        "streams_store": ("redis://b:1/0", "redis://b:1/0"),
        "usage_store": ("memory", "memory"),
        "state_dir": ("/a/b", Path("/a/b")),
        "log_level": ("error", "error"),
        "log_format": ("json", "json"),
        "access_log": ("false", False),
        "log_prompts": ("true", True),
        "aliases": ('["x", "y"]', ["x", "y"]),
        "device": ("cpu", "cpu"),
        "models": (json.dumps({"Emb-1": MODEL_SETTINGS}), {"Emb-1": MODEL_SETTINGS}),
        "memory_budget_bytes": ("5", 5),
        "load_wait_seconds": ("1.5", 1.5),
        "load_seconds": ("2.5", 2.5),
    }
    expected: dict[str, Any] = {name: value for name, (_, value) in given.items()}
    file = config("\n".join(f"{name}: {text}" for name, (text, _) in given.items()))
    secret = {"api_key", "api_keys", "jwt"}
    from_file = load_settings(file).model_dump(exclude=secret)
    for name, (text, _) in given.items():
        monkeypatch.setenv(ENV_PREFIX + name.upper(), text)
    from_environment = load_settings().model_dump(exclude=secret)
    from_flags = load_settings(**expected).model_dump(exclude=secret)

    assert from_file == from_environment == from_flags == expected
    assert expected.keys() == Settings.model_fields.keys() - secret


def test_what_stands_under_server_counts_as_if_it_stood_at_the_top(config: WriteFile) -> None:
    settings = load_settings(config("server:\n  port: 1\n  host: a\nhost: b\nmodel: m"))

    assert (settings.port, settings.model) == (1, "m")
    assert settings.host == "b"


@pytest.mark.parametrize("text", ["", "# nothing\n", "server:\n", "{}"])
def test_an_empty_file_changes_nothing(config: WriteFile, text: str) -> None:
    assert load_settings(config(text)) == load_settings()


def test_arguments_of_the_engine_come_together_from_all_sources(
    config: WriteFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = config("engine_args: {a: file, b: file, c: file, d: file}")
    monkeypatch.setenv("INFERNEO_ENGINE_ARGS", '{"b": "json", "c": "json", "d": "json"}')
    monkeypatch.setenv("INFERNEO_ENGINE_ARGS__C", "name")
    monkeypatch.setenv("INFERNEO_ENGINE_ARGS__D", "name")

    settings = load_settings(file, engine_args={"d": "flag"})

    assert settings.engine_args == {"a": "file", "b": "json", "c": "name", "d": "flag"}


def test_json_in_the_environment_keeps_its_types(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INFERNEO_ENGINE_ARGS", '{"max_num_seqs": 8, "deep": {"a": [1, null]}}')

    assert load_settings().engine_args == {"max_num_seqs": 8, "deep": {"a": [1, None]}}


def test_an_argument_of_the_engine_may_have_a_variable_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("INFERNEO_ENGINE_ARGS__DTYPE", "float32")

    assert load_settings().engine_args == {"dtype": "float32"}


@pytest.mark.parametrize(("text", "value"), [("8", 8), ("0.5", 0.5), ("true", True)])
def test_an_argument_in_a_variable_of_its_own_has_the_type_that_a_flag_would_give_it(
    text: str, value: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INFERNEO_ENGINE_ARGS__MAX_NUM_SEQS", text)

    assert load_settings().engine_args == {"max_num_seqs": value}


@pytest.mark.parametrize("given", ["prot", "ports", "por"])
def test_an_unknown_flag_is_refused_with_the_name_that_was_meant(given: str) -> None:
    flags: dict[str, Any] = {given: 1}

    assert refusal(**flags) == f"{given}: there is no such setting; did you mean port?"


@pytest.mark.parametrize("text", ["modle: a", "server:\n  modle: a"])
def test_an_unknown_name_in_the_file_is_refused_with_the_name_that_was_meant(
    text: str, config: WriteFile
) -> None:
    assert refusal(config=config(text)) == "modle: there is no such setting; did you mean model?"


def test_a_name_unlike_any_other_is_refused_without_a_guess() -> None:
    assert refusal(zzzz=1) == "zzzz: there is no such setting"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("port", "x"),
        ("port", 65_536),
        ("port", -1),
        ("engine", "tensorrt"),
        ("engine_args", "x"),
        ("log_level", "loud"),
        ("max_body_bytes", 1023),
        ("keep_alive_seconds", 0),
        ("stall_seconds", 0.5),
        ("max_resume_seconds", -1),
        ("repeat_seconds", -1),
        ("stream_log_bytes", 1023),
        ("stream_logs_bytes", 1023),
        ("websocket_requests", 0),
        ("websocket_idle_seconds", 0),
        ("websocket_auth_seconds", 0),
        ("websocket_ping_seconds", 0),
        ("websocket_compression", "perhaps"),
        ("api_keys", "sk-a"),
        ("drain_seconds", -1),
        ("access_log", "perhaps"),
        ("model", 5),
    ],
)
def test_a_value_that_does_not_fit_is_refused_by_the_name_of_its_setting(
    name: str, value: Any, config: WriteFile
) -> None:
    flags: dict[str, Any] = {name: value}

    assert refusal(**flags).startswith(f"{name}: ")
    assert refusal(config=config(f"{name}: {value}")).startswith(f"{name}: ")


@pytest.mark.parametrize("proxy", ["*", "0.0.0.0/0", "::/0", "localhost", "10.0.0.1/8", "::1,::2"])
def test_a_proxy_that_would_be_everyone_or_nobody_is_refused(proxy: str) -> None:
    told = refusal(forwarded_allow_ips=[proxy])

    assert told.startswith("forwarded_allow_ips.0: ") and proxy in told


@pytest.mark.parametrize(("uds", "proxy"), [(None, "unix"), ("/run/a.sock", "127.0.0.1")])
def test_a_proxy_that_cannot_connect_is_refused(uds: str | None, proxy: str) -> None:
    told = refusal(uds=uds, forwarded_allow_ips=[proxy])

    assert told.startswith("forwarded_allow_ips: ") and "`unix`" in told


def test_a_bad_value_in_the_environment_is_refused_by_its_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("INFERNEO_PORT", "x")

    assert refusal().startswith("port: ")


def test_several_faults_are_told_together() -> None:
    assert [line.split(":")[0] for line in refusal(port="x", zzzz=1).splitlines()] == [
        "port",
        "zzzz",
    ]


def test_what_kubernetes_tells_of_services_is_no_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    told = {
        "SERVICE_HOST": "10.0.0.1",
        "SERVICE_PORT": "8000",
        "SERVICE_PORT_HTTP": "8000",
        "PORT": "tcp://10.0.0.1:8000",
        "PORT_8000_TCP": "tcp://10.0.0.1:8000",
        "PORT_8000_TCP_PROTO": "tcp",
        "PORT_8000_TCP_PORT": "8000",
        "PORT_8000_TCP_ADDR": "10.0.0.1",
    }
    for service in ("", "METRICS_"):
        for name, value in told.items():
            monkeypatch.setenv(f"INFERNEO_{service}{name}", value)

    assert (load_settings().port, load_settings().metrics_port) == (8000, None)
    assert unknown_variables(Settings.model_fields) == []

    monkeypatch.setenv("INFERNEO_PORT", "8001")
    assert load_settings().port == 8001


def test_malformed_json_in_the_environment_is_refused_by_its_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("INFERNEO_ENGINE_ARGS", "{a")

    assert refusal().startswith("INFERNEO_ENGINE_ARGS: ")


@pytest.mark.parametrize("text", ["[1]", "just text", "a: ["])
def test_a_file_that_holds_no_names_and_values_is_refused(text: str, config: WriteFile) -> None:
    assert refusal(config=config(text)).startswith("config: ")


@pytest.mark.parametrize("text", ["server: 5", "server: [port]", "5: 6"])
def test_a_file_with_something_else_where_names_belong_is_refused(
    text: str, config: WriteFile
) -> None:
    assert refusal(config=config(text))


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_bytes(b"model: \xff")

    assert refusal(config=str(path)).startswith("config: ")


def test_a_file_that_cannot_be_read_is_refused_by_its_path(tmp_path: Path) -> None:
    for path in (tmp_path / "nowhere.yaml", tmp_path):
        assert refusal(config=str(path)).startswith(f"config: {path} cannot be read: ")


def test_the_key_is_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INFERNEO_API_KEY", "sk-very-secret")
    settings = load_settings()

    assert settings.api_key is not None
    assert settings.api_key.get_secret_value() == "sk-very-secret"
    for shown in (repr(settings), str(settings), str(settings.model_dump())):
        assert "very-secret" not in shown


def test_a_bad_setting_beside_the_key_does_not_show_it() -> None:
    assert "very-secret" not in refusal(api_key="sk-very-secret", port="x")
    assert "very-secret" not in refusal(api_keys=["sk-very-secret"], port="x")


def texts(settings: Settings) -> list[str]:
    return [entry.key.get_secret_value() for entry in settings.keys if entry.key]


def test_all_keys_count_and_none_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INFERNEO_API_KEYS", '["sk-secret-b", "sk-secret-c"]')

    assert texts(load_settings()) == ["sk-secret-b", "sk-secret-c"]
    settings = load_settings(api_key="sk-secret-a")
    assert texts(settings) == ["sk-secret-a", "sk-secret-b", "sk-secret-c"]
    assert "sk-secret" not in f"{settings!r}{settings}{settings.model_dump()}"
    monkeypatch.delenv("INFERNEO_API_KEYS")
    assert load_settings().keys == []


def test_settings_do_not_change_once_they_are_read() -> None:
    settings = load_settings()

    with pytest.raises(ValueError, match="frozen"):
        settings.port = 1


def test_every_setting_says_what_it_is_for() -> None:
    assert all(field.description for field in Settings.model_fields.values())
