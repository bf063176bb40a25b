"""Receives randomness; hands on the secrets of keys, and what is kept of them instead."""

import contextlib
import hashlib
import os
import secrets
import tempfile
from pathlib import Path

KEY_PREFIX = "sk-inf-"
SECRET_BYTES = 32
_ID_BYTES = 6


def make_id() -> str:
    """A new public id of a key: 12 hexadecimal digits."""
    return secrets.token_hex(_ID_BYTES)


def make_secret(key_id: str) -> str:
    """A new key of that id, with 256 bits that nobody can guess."""
    return f"{KEY_PREFIX}{key_id}-{secrets.token_urlsafe(SECRET_BYTES)}"


def id_of(credential: str) -> str | None:
    """The public id that a key of ours begins with; None where it is of another form."""
    if not credential.startswith(KEY_PREFIX):
        return None
    key_id, dash, _ = credential.removeprefix(KEY_PREFIX).partition("-")
    return key_id if dash and len(key_id) == 2 * _ID_BYTES else None


def digest_of(credential: bytes) -> bytes:
    """What is kept of a key.

    A plain SHA-256: of 256 random bits there is nothing to guess, so that a slow hash or a salt
    would protect nothing, and cost each request.
    """
    return hashlib.sha256(credential).digest()


def owner_of_digest(digest: bytes) -> str:
    """The stable id of who has a key of the settings, which has no id of its own."""
    return digest.hex()[:16]


def keep_secret(path: Path) -> bytes:
    """The random bytes of a file, which is made where it is not there, for its owner alone.

    Not in the file of the keys: who has a copy of that one alone can make no token.

    Raises:
        OSError: the file can neither be read nor made.
    """
    with contextlib.suppress(FileNotFoundError):
        return path.read_bytes()
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # Linked when it is whole, so that of two servers that start at once both read the same.
    with tempfile.NamedTemporaryFile(dir=path.parent) as file:
        file.write(secrets.token_bytes(SECRET_BYTES))
        file.flush()
        with contextlib.suppress(FileExistsError):
            os.link(file.name, path)
    return path.read_bytes()
