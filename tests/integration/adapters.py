"""Receives a folder; hands it on as a LoRA adapter of the embedded model, in the form of PEFT."""

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

LAYERS = 6
HIDDEN = 256
# What the weights of a layer are made from, and how many numbers each gives.
TARGETS = {"q_proj": 256, "v_proj": 128}


def make_adapter(folder: Path, *, rank: int, seed: int, hidden: int = HIDDEN) -> Path:
    """Write an adapter that changes what the model says beyond recognition.

    Args:
        folder: where; it is made.
        rank: the adapter's.
        seed: of its weights, which are random.
        hidden: how many numbers its model has for a token.
    """
    random = np.random.default_rng(seed)
    weights = {}
    for layer in range(LAYERS):
        for target, size in TARGETS.items():
            name = f"base_model.model.model.layers.{layer}.self_attn.{target}"
            for part, shape in (("lora_A", (rank, hidden)), ("lora_B", (size, rank))):
                weights[f"{name}.{part}.weight"] = random.normal(0, 0.2, shape).astype("float32")
    folder.mkdir()
    save_file(weights, folder / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "r": rank, "lora_alpha": rank, "target_modules": [*TARGETS]}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return folder
