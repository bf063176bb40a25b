"""Proves which chat template the setting means, and that what is none is refused by its name."""

from pathlib import Path
from typing import Any

import pytest

from inferneo_server.devices import find_device
from inferneo_server.engines.base import EngineStartError
from inferneo_server.engines.making import make_engine
from inferneo_server.environment import SettingsError
from inferneo_server.settings import load_settings
from inferneo_server.template_setting import template_of

TEMPLATE = "{% for message in messages %}{{ message.content }}{% endfor %}"


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file with the template, in the home folder."""
    monkeypatch.setenv("HOME", str(tmp_path))
    path = tmp_path / "a.jinja"
    path.write_text(TEMPLATE)
    return path


def refusal(**flags: Any) -> str:
    with pytest.raises(SettingsError) as refused:
        load_settings(**flags)
    return str(refused.value)


def test_a_template_is_given_as_it_is_or_by_the_path_of_its_file(file: Path) -> None:
    assert template_of(TEMPLATE) == TEMPLATE
    assert template_of("{{ messages }}") == "{{ messages }}"
    assert template_of(str(file)) == TEMPLATE
    assert template_of("~/a.jinja") == TEMPLATE


def test_each_model_has_its_own(file: Path) -> None:
    settings = load_settings(
        chat_template=str(file), models={"x": {"chat_template": TEMPLATE}, "y": {}}
    )
    default, x, y = settings.model_specs
    assert (default.chat_template, x.chat_template) == (str(file), TEMPLATE)
    assert y.chat_template is None
    assert not load_settings().model_specs[0].runs_like(default)


@pytest.mark.parametrize(
    "text",
    [
        "{% set messages = messages[1:] %}{{ messages }}",
        "{% for m in messages %}{% generation %}{{ m }}{% endgeneration %}{% break %}{% endfor %}",
        "{{ raise_exception('No') if not messages }}{{ strftime_now('%d') }}{{ tools | tojson }}",
        "{% macro all(x) %}{{ messages[x].content }}{% endmacro %}{{ all(0) }}",
    ],
    ids=["set anew", "generation", "functions", "macro"],
)
def test_what_templates_of_models_hold_is_taken(text: str) -> None:
    assert template_of(text) == text


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{% for m in messages %}\n{{ m.content }", "line 2: "),
        ("{{ messages | shout }}", "line 1: No filter named 'shout'"),
        ("{% if messages %}{% endfor %}", "line 1: "),
        ("{{ 'Hello' }}", "does not read `messages`"),
        ("{% if messages %}" * 200 + "{% endif %}" * 200, "too many levels"),
    ],
    ids=["open", "filter", "tags", "no messages", "deep"],
)
def test_what_is_no_template_is_refused_by_the_settings_name(
    file: Path, text: str, told: str
) -> None:
    given = refusal(chat_template=text)
    assert given.startswith("chat_template: this is no chat template: ") and told in given

    file.write_text(text)
    given = refusal(models={"x": {"chat_template": str(file)}})
    assert given.startswith(f"models.x.chat_template: {file} is no chat template: ")
    assert told in given


def test_a_file_that_cannot_be_read_is_told(file: Path) -> None:
    file.write_bytes(b"{{ messages }}\xff")

    for path, reason in (
        ("/nowhere/a.jinja", "No such file or directory"),
        (str(file.parent), "Is a directory"),
        (str(file), "'utf-8' codec"),
        ("~nobody-of-that-name/a.jinja", "home directory"),
        ("a\0b", "null byte"),
        ("x" * 5000, "too long"),
        ("", "Is a directory"),
    ):
        told = refusal(chat_template=path)
        assert told.startswith("chat_template: ") and reason in told


def test_a_file_that_is_gone_when_the_engine_is_made_keeps_it_from_starting(file: Path) -> None:
    (spec,) = load_settings(engine="torch", chat_template=str(file)).model_specs
    file.unlink()

    with pytest.raises(EngineStartError, match=r"chat_template: .*a\.jinja cannot be read"):
        make_engine(spec, find_device("cpu"))
