"""Receives where a model comes from; hands on what is known of the files of its weights."""

import os
from collections.abc import Iterable
from pathlib import Path

from msgspec import Struct

_FORMATS = {".safetensors": "safetensors", ".gguf": "gguf", ".bin": "pytorch", ".pt": "pytorch"}
_NO_WEIGHTS = {"training_args.bin"}


class Weights(Struct, frozen=True, kw_only=True):
    """The files of a model's weights; `unknown` and 0 where they are not on this machine."""

    format: str = "unknown"
    bytes: int = 0


def find_weights(source: str, cache: Path | None = None) -> Weights:
    """What lies in a model's folder, or in the folder where Hugging Face's library keeps it.

    Where a folder has the same weights in several formats, those count that engines prefer:
    safetensors, then the others. Reads folders only; call it in a thread.

    Args:
        source: a path, or a Hugging Face id.
        cache: the library's folder; None is the one that it uses.
    """
    path = Path(source)
    if path.is_file():
        return _weights([path])
    folder = path if path.is_dir() else _snapshot(source, cache)
    return _weights(folder.iterdir()) if folder else Weights()


def _weights(paths: Iterable[Path]) -> Weights:
    sizes: dict[str, int] = {}
    for path in paths:
        kind = _FORMATS.get(path.suffix)
        if kind and path.name not in _NO_WEIGHTS and path.is_file():
            sizes[kind] = sizes.get(kind, 0) + path.stat().st_size
    for kind in _FORMATS.values():
        if kind in sizes:
            return Weights(format=kind, bytes=sizes[kind])
    return Weights()


def _snapshot(model_id: str, cache: Path | None) -> Path | None:
    """The newest snapshot of a model in the cache.

    Source: https://huggingface.co/docs/huggingface_hub/guides/manage-cache
    """
    if cache is None:
        try:
            from huggingface_hub.constants import HF_HUB_CACHE
        except ImportError:
            return None
        cache = Path(HF_HUB_CACHE)
    snapshots = cache / f"models--{model_id.replace('/', '--')}" / "snapshots"
    folders = list(snapshots.iterdir()) if snapshots.is_dir() else []
    return max(folders, key=os.path.getmtime, default=None)
