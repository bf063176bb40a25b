"""Proves what vLLM is told of a model's adapters before it starts."""

import json
from pathlib import Path
from typing import Any

import pytest

from inferneo_server.engines.base import EngineStartError

# Of the libraries that vLLM is made of.
pytestmark = pytest.mark.filterwarnings("ignore")


def adapter_arguments(adapters: dict[str, str], given: dict[str, Any]) -> dict[str, Any]:
    # Not sooner: vLLM warns of itself when it is imported.
    from inferneo_server.engines import vllm_adapters

    return vllm_adapters.adapter_arguments(adapters, given)


def adapter(folder: Path, name: str, **config: Any) -> str:
    (folder / name).mkdir()
    (folder / name / "adapter_config.json").write_text(json.dumps(config))
    return str(folder / name)


def test_a_model_without_adapters_needs_no_arguments() -> None:
    assert adapter_arguments({}, {"enable_lora": False}) == {}


@pytest.mark.parametrize(
    ("ranks", "allowed"), [([1], 1), ([4], 8), ([8, 20], 32), ([257], 320), ([9999], 512)]
)
def test_the_rank_is_the_least_of_vllms_that_holds_all(
    tmp_path: Path, ranks: list[int], allowed: int
) -> None:
    adapters = {str(rank): adapter(tmp_path, str(rank), r=rank) for rank in ranks}

    assert adapter_arguments(adapters, {})["max_lora_rank"] == allowed


def test_layers_of_a_higher_rank_count_and_an_adapter_elsewhere_has_vllms_default(
    tmp_path: Path,
) -> None:
    deep = {"deep": adapter(tmp_path, "deep", r=8, rank_pattern={"q_proj": 40})}
    flat = {"flat": adapter(tmp_path, "flat", r=8, rank_pattern=None)}

    assert adapter_arguments(deep, {})["max_lora_rank"] == 64
    assert adapter_arguments(flat, {})["max_lora_rank"] == 8
    assert adapter_arguments({**flat, "away": "org/away"}, {})["max_lora_rank"] == 16


def test_on_a_cpu_the_last_place_stays_empty() -> None:
    from vllm.platforms import current_platform

    if not current_platform.is_cpu():
        pytest.skip("needs vLLM's CPU build")
    adapters = {str(number): "org/x" for number in range(10)}

    assert adapter_arguments(adapters, {})["max_loras"] == 11
    assert adapter_arguments(adapters, {"max_loras": 20})["max_cpu_loras"] == 20
    with pytest.raises(EngineStartError, match="max_loras must be 11 or more"):
        adapter_arguments(adapters, {"max_loras": 10})


def test_adapters_that_the_operator_forbids_are_an_error() -> None:
    with pytest.raises(EngineStartError, match="lora_modules need enable_lora"):
        adapter_arguments({"x": "org/x"}, {"enable_lora": False})


def test_a_folder_that_holds_no_adapter_is_named(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for path, told in (
        (str(tmp_path / "empty"), "the adapter 'x' has no .*/empty/adapter_config.json"),
        (adapter(tmp_path, "odd", r="8"), "the adapter 'x' has a broken .*: Expected `int`"),
        (adapter(tmp_path, "none"), "the adapter 'x' has a broken .*: .*field `r`"),
    ):
        with pytest.raises(EngineStartError, match=told):
            adapter_arguments({"x": path}, {})
