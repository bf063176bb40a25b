"""Receives the name of a model; hands on its logits for batches of tokens, and hidden states."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers.utils import cached_file

from inferneo_server.engines.base import EngineStartError, Task
from inferneo_server.engines.torch_cache import KvBatch
from inferneo_server.engines.torch_messages import Options

GIB = 1024**3
# Of the tokens of a prompt, so many are read in one step: others wait for it.
CPU_STEP_TOKENS, GPU_STEP_TOKENS = 256, 4096
_FULL, _SLIDING = "full_attention", "sliding_attention"


class Model:
    """A model that has been loaded.

    Attributes:
        task: what it can do.
        tokenizer: its tokenizer.
        config: its Hugging Face configuration, of the text where there is more.
        max_model_len: its context in tokens.
        vocabulary: how many token ids there are.
        step_tokens: tokens that are read in one step.
        cache_bytes: what the cache may take.
        pooling: sentence-transformers' settings, where the model has any.

    Raises:
        EngineStartError: it cannot be loaded.
    """

    def __init__(self, options: Options) -> None:
        self.device = _device(options.device)
        on_cpu = self.device.type == "cpu"
        self.step_tokens = CPU_STEP_TOKENS if on_cpu else GPU_STEP_TOKENS
        whole = transformers.AutoConfig.from_pretrained(options.model)
        self.pooling = Pooling(options.model)
        self.task, loader = _kind(whole, embeds=self.pooling.found)
        dtype = _dtype(options.dtype, on_cpu=on_cpu)
        self.tokenizer = transformers.AutoTokenizer.from_pretrained(options.model)
        self.model = loader.from_pretrained(options.model, dtype=dtype).to(self.device).eval()
        self.config = self.model.config.get_text_config()
        self.vocabulary: int = self.model.get_input_embeddings().weight.shape[0]
        self.max_model_len = _length(self, options.max_model_len)
        self.cache_bytes = _cache_bytes(self.device)
        self._layers = _layer_types(self.config)

    def new_batch(self) -> KvBatch:
        """An empty cache."""
        return KvBatch(len(self._layers), self.model.dtype, self.device)

    def forward(self, batch: KvBatch, rows: Sequence[Sequence[int]], *, every: bool = False) -> Any:
        """Read the next tokens of each row of a batch.

        Args:
            batch: what the rows have read; grows by the new tokens.
            rows: the new tokens of each row.
            every: give the logits after each token of the only row, not after the last of each.

        Returns:
            Logits in single precision, a row for each place.
        """
        width = max(map(len, rows))
        starts = batch.lengths
        positions = batch.begin(starts, width)
        if width == 1:
            tokens = torch.tensor(rows, device=self.device)
        else:
            padded = [[*row, *[0] * (width - len(row))] for row in rows]
            tokens = torch.tensor(padded, device=self.device)
        lasts = sorted({len(row) - 1 for row in rows})
        kept: Any = 0 if every else torch.tensor(lasts, device=self.device)
        logits = self.model(
            input_ids=tokens,
            position_ids=positions,
            attention_mask=self._mask(positions, max(starts) + width),
            past_key_values=batch,
            use_cache=True,
            logits_to_keep=kept,
        ).logits
        batch.lengths = [start + len(row) for start, row in zip(starts, rows, strict=True)]
        if every:
            return logits[0].float()
        if len(lasts) == 1:
            return logits[:, 0].float()
        places = torch.tensor([lasts.index(len(row) - 1) for row in rows], device=self.device)
        return logits[torch.arange(len(rows), device=self.device), places].float()

    def _mask(self, positions: Any, length: int) -> Any:
        """Which tokens each token sees: those before it, of its row."""
        behind = positions[:, None, :, None] - torch.arange(length, device=self.device)
        full = behind >= 0
        if _SLIDING not in self._layers:
            return self._masked(full)
        sliding = self._masked(full & (behind < self.config.sliding_window))
        if _FULL not in self._layers:
            return sliding
        return {_FULL: self._masked(full), _SLIDING: sliding}

    def _masked(self, mask: Any) -> Any:
        if self.config._attn_implementation != "eager":
            return mask
        nothing = torch.finfo(self.model.dtype).min
        return torch.zeros_like(mask, dtype=self.model.dtype).masked_fill(~mask, nothing)


class Pooling:
    """What sentence-transformers wrote beside a model; its defaults where that is not so.

    Attributes:
        mode: `mean`, `cls` or `lasttoken`.
        max_length: tokens that the model reads, or None.
        lower_case: whether it reads lower case only.
        normalised: whether the vectors are made as long as 1.
        found: whether sentence-transformers wrote anything at all.
    """

    def __init__(self, model: str) -> None:
        settings = _json(model, "sentence_bert_config.json")
        self.max_length: int | None = settings.get("max_seq_length")
        self.lower_case = bool(settings.get("do_lower_case"))
        pooling = _json(model, "1_Pooling/config.json")
        self.mode = "mean"
        for mode, name in (("cls", "cls_token"), ("lasttoken", "lasttoken")):
            if pooling.get(f"pooling_mode_{name}") or pooling.get("pooling_mode") == mode:
                self.mode = mode
        modules: Any = _json(model, "modules.json") or []
        self.found = bool(modules)
        kinds = [str(module.get("type", "")).rpartition(".")[2] for module in modules]
        if unknown := set(kinds) - {"Transformer", "Pooling", "Normalize"}:
            raise EngineStartError(
                f"the torch engine cannot do this model's last steps: {', '.join(sorted(unknown))}"
            )
        self.normalised = not kinds or "Normalize" in kinds


def _json(model: str, name: str) -> Any:
    folder = Path(model)
    if folder.is_dir():
        path: Any = folder / name
    else:
        path = cached_file(
            model,
            name,
            _raise_exceptions_for_missing_entries=False,
            _raise_exceptions_for_connection_errors=False,
        )
    return json.loads(Path(path).read_text()) if path and Path(path).is_file() else {}


def _device(name: str) -> Any:
    if name == "auto":
        return torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise EngineStartError(
            f"there is no device {name!r}: cpu, cuda or cuda:0, cuda:1 and so on"
        ) from None
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        count = torch.cuda.device_count()
        raise EngineStartError(f"there is no device {name!r}; torch sees {count} GPUs")
    return device


def _dtype(name: str, *, on_cpu: bool) -> Any:
    if name == "auto":
        # Most CPUs are many times slower in half precision.
        return torch.float32 if on_cpu else torch.bfloat16
    dtype = getattr(torch, name, None)
    if name not in ("float32", "bfloat16", "float16"):
        raise EngineStartError(f"'dtype' is auto, float32, bfloat16 or float16, not {name!r}")
    return dtype


def _kind(config: Any, *, embeds: bool) -> tuple[Task, Any]:
    """What a model is for, and what loads it."""
    names = config.architectures or [""]
    if names[0].endswith("ForSequenceClassification"):
        if config.num_labels != 1:
            raise EngineStartError(
                f"the torch engine serves classifiers of pairs of texts, which have one label; "
                f"this model has {config.num_labels}"
            )
        return "score", transformers.AutoModelForSequenceClassification
    if not embeds and names[0].endswith(("ForCausalLM", "LMHeadModel", "ForConditionalGeneration")):
        if config.is_encoder_decoder:
            raise EngineStartError("the torch engine serves no encoder-decoder models")
        return "generate", transformers.AutoModelForCausalLM
    return "embed", transformers.AutoModel


def _length(model: Model, wanted: int | None) -> int:
    config = model.config
    known = getattr(config, "max_position_embeddings", None) or getattr(config, "n_positions", None)
    if known and config.model_type in ("roberta", "xlm-roberta", "camembert"):
        # Their positions begin behind the one for padding.
        known -= config.pad_token_id + 1
    if model.task != "generate" and model.pooling.max_length:
        known = min(known or model.pooling.max_length, model.pooling.max_length)
    if wanted is None:
        if known is None:
            raise EngineStartError("the model does not tell its length: give max_model_len")
        return int(known)
    if known and wanted > known:
        raise EngineStartError(f"max_model_len of {wanted} is more than the model's own {known}")
    return wanted


def _cache_bytes(device: Any) -> int:
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return int(free * 0.8)
    available = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return int(min(max(available // 4, GIB // 2), 16 * GIB))


def _layer_types(config: Any) -> list[str]:
    """How each layer attends to what came before.

    Raises:
        EngineStartError: in a way that is not known here.
    """
    count: int = config.num_hidden_layers
    everywhere = _SLIDING if getattr(config, "sliding_window", None) else _FULL
    types = list(getattr(config, "layer_types", None) or [everywhere] * count)
    if unknown := set(types) - {_FULL, _SLIDING}:
        raise EngineStartError(
            f"the torch engine cannot run models with {', '.join(sorted(unknown))}"
        )
    return types
