"""Takes a model and its tokenizer, hands on the folder that ships."""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from tiny_model.chat import END_OF_TEXT


def export(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Writes weights (bfloat16), configuration, tokenizer and chat template into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save_pretrained(folder)
    config = model.config.to_diff_dict() | {
        "architectures": ["LlamaForCausalLM"],
        "dtype": "bfloat16",
    }
    end_of_text = tokenizer.convert_tokens_to_ids(END_OF_TEXT)
    config["pad_token_id"] = end_of_text
    ids = {"bos_token_id": tokenizer.bos_token_id, "pad_token_id": end_of_text}
    generation = ids | {"eos_token_id": [tokenizer.eos_token_id, end_of_text]}
    for name, content in {"config": config, "generation_config": generation}.items():
        text = json.dumps(content, indent=2, sort_keys=True, default=str)
        (folder / f"{name}.json").write_text(text + "\n")
    weights = {
        name: tensor.detach().to("cpu", torch.bfloat16).contiguous()
        for name, tensor in model.state_dict().items()
        if name != "lm_head.weight"  # Tied to the embeddings.
    }
    partial = folder / "model.safetensors.part"
    save_file(weights, partial, metadata={"format": "pt"})
    # Whoever reads the folder meanwhile sees the old weights or the new ones.
    partial.chmod(0o644)
    partial.replace(folder / "model.safetensors")
