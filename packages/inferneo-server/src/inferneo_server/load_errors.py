"""Receives why an engine does not start; hands on what of it may be told to who asked."""

import re
from pathlib import Path

from inferneo_server.model_spec import ModelSpec

MAX_REASON_CHARACTERS = 600

_FOLDERS = re.compile(r"(?<![\w/:])/(?:[^\s/'\",:;()]+/)+")


def told_reason(reason: str, spec: ModelSpec) -> str:
    """Why a model could not be loaded, in one line, without folders of the server's own: of a path
    its last part is left, unless it lies where the request said."""
    given = spec.model if Path(spec.model).is_absolute() else None

    def shorten(found: re.Match[str]) -> str:
        folders = found.group()
        return folders if given and folders.startswith(given.rstrip("/")) else ""

    if given:
        # The folder itself, which the pattern ends before.
        reason = reason.replace(given, "\0")
    text = " ".join(_FOLDERS.sub(shorten, reason).replace("\0", given or "").split())
    return text if len(text) <= MAX_REASON_CHARACTERS else f"{text[:MAX_REASON_CHARACTERS]}..."
