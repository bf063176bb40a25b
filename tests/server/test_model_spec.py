"""Proves what a model is reckoned to take, and what of a failure is told of its paths."""

from pathlib import Path

import pytest

from inferneo_server.load_errors import MAX_REASON_CHARACTERS, told_reason
from inferneo_server.model_spec import ModelSpec, memory_of


def spec(model: str = "a/b", **fields: object) -> ModelSpec:
    return ModelSpec(name="m", model=model, **fields)  # type: ignore[arg-type]


def test_a_model_takes_its_weights_a_fifth_more_and_its_cache(tmp_path: Path) -> None:
    (tmp_path / "model-1.safetensors").write_bytes(bytes(600))
    (tmp_path / "model-2.safetensors").write_bytes(bytes(400))
    (tmp_path / "pytorch_model.bin").write_bytes(bytes(5000))

    assert memory_of(spec(str(tmp_path))) == 1200
    cache = {"kv_cache_memory_bytes": 50}
    assert memory_of(spec(str(tmp_path), engine_args=cache)) == 1250
    assert memory_of(spec(str(tmp_path), engine_args=cache, memory_bytes=7)) == 7
    assert memory_of(spec("nobody/here")) == 0


@pytest.mark.parametrize(
    ("model", "reason", "told"),
    [
        ("a/b", "no config in /usr/lib/python3/x.py line 5", "no config in x.py line 5"),
        ("a/b", "a/b is not on https://host/a/b", "a/b is not on https://host/a/b"),
        ("/m/x", "/m/x has no config.json, see /opt/y/z.py", "/m/x has no config.json, see z.py"),
        ("/m/x", "/m/x/config.json is no JSON", "/m/x/config.json is no JSON"),
        ("a/b", "two\n  lines", "two lines"),
    ],
)
def test_a_reason_tells_no_folder_but_the_one_that_was_asked_for(
    model: str, reason: str, told: str
) -> None:
    assert told_reason(reason, spec(model)) == told


def test_a_long_reason_is_cut() -> None:
    assert len(told_reason("x" * 9999, spec())) == MAX_REASON_CHARACTERS + 3
