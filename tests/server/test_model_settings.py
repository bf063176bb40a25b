"""Proves what the settings say of models: their names, where they are loaded from, how they run."""

from pathlib import Path
from typing import Any

import pytest

from inferneo_server.environment import SettingsError
from inferneo_server.settings import EMBEDDED_MODEL, load_settings


def refusal(**flags: Any) -> str:
    with pytest.raises(SettingsError) as refused:
        load_settings(**flags)
    return str(refused.value)


@pytest.mark.parametrize("model", ["Qwen/Qwen3-0.6B", EMBEDDED_MODEL, "no-folder-of-that-name"])
def test_a_model_that_is_no_folder_goes_by_its_own_name(model: str) -> None:
    assert load_settings(model=model).model_name == model


def test_a_model_in_a_folder_goes_by_the_folders_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my-model").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))

    for model in (str(tmp_path / "my-model"), "my-model/", "./my-model", "~/my-model"):
        assert load_settings(model=model).model_name == "my-model"
    monkeypatch.chdir(tmp_path / "my-model")
    assert load_settings(model=".").model_name == "my-model"


def test_a_model_goes_by_the_name_that_it_is_given(tmp_path: Path) -> None:
    settings = load_settings(model=str(tmp_path), served_model_name="mine")

    assert settings.model_name == "mine"
    assert settings.model_specs[0].source == str(tmp_path)


def test_only_the_embedded_model_is_loaded_from_the_package() -> None:
    source = Path(load_settings().model_specs[0].source)

    assert source.name == EMBEDDED_MODEL
    assert (source / "config.json").is_file()
    assert load_settings(model="a/b").model_specs[0].source == "a/b"


def test_a_folder_in_the_home_folder_is_loaded_from_where_its_name_was_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my-model").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path))

    assert Path(load_settings(model="~/my-model").model_specs[0].source) == tmp_path / "my-model"


def test_a_model_beside_the_default_one_has_its_own_settings_and_the_defaults_engine() -> None:
    beside = {"aliases": ["y"], "lora_modules": {"adapter": "a/b"}}
    settings = load_settings(engine="simulated", models={"x": beside}, aliases=["z"])

    default, other = settings.model_specs
    assert (default.lora_modules, other.lora_modules) == ({}, {"adapter": "a/b"})
    assert (default.name, default.load, default.aliases) == (EMBEDDED_MODEL, "pinned", ("z",))
    assert (other.name, other.model, other.engine) == ("x", "x", "simulated")
    assert (other.load, other.device, other.aliases) == ("on_first_use", "auto", ("y",))


def test_an_unknown_setting_of_a_model_is_refused_with_a_suggestion() -> None:
    assert refusal(models={"x": {"engin_args": {}}}) == (
        "models.x.engin_args: there is no such setting; did you mean engine_args?"
    )


@pytest.mark.parametrize(
    "models",
    [
        {EMBEDDED_MODEL: {}},
        {"x": {"aliases": [EMBEDDED_MODEL]}},
        {"x": {"aliases": ["x"]}},
        {"x": {"aliases": ["y"]}, "y": {}},
        {"x": {"lora_modules": {EMBEDDED_MODEL: "a/b"}}},
        {"x": {"aliases": ["y"], "lora_modules": {"y": "a/b"}}},
        {"x": {"lora_modules": {"y": "a/b"}}, "z": {"lora_modules": {"y": "a/b"}}},
        {"x": {"lora_modules": {"": "a/b"}}},
        {"": {}},
    ],
)
def test_two_models_of_one_name_are_refused(models: dict[str, Any]) -> None:
    assert refusal(models=models).startswith("models: ")
