"""Receives PEM, JWK and JWKS; hands on keys that check signatures, each by one algorithm.

A token never chooses how it is checked: the key knows its algorithm, and a key of one kind never
serves another (RFC 8725, sections 3.1 and 3.2).
"""

from pathlib import Path
from typing import Any

import jwt.algorithms
import msgspec
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from msgspec import Struct

from inferneo_server.access.settings import MIN_SECRET_BYTES, Algorithm

MAX_KEYS = 64
MIN_RSA_BITS = 2048
_MAX_FILE_BYTES = 256 * 1024
_PRIVATE = ("d", "p", "q", "dp", "dq", "qi", "oth")


class SigningKey(Struct, frozen=True, kw_only=True):
    """A key that checks signatures.

    Attributes:
        algorithm: the only one it serves.
        key: as PyJWT takes it.
        kid: its name in the headers of tokens, if it has one.
    """

    algorithm: Algorithm
    key: Any
    kid: str | None = None


def secret_key(secret: str) -> SigningKey:
    """The key of HS256 that a secret is.

    Raises:
        ValueError: it is too short, or no secret at all.
    """
    if "-----BEGIN" in secret or secret.startswith("ssh-"):
        raise ValueError("the secret is a public key; name its file in keys")
    if len(secret.encode()) < MIN_SECRET_BYTES:
        raise ValueError(f"the secret must have at least {MIN_SECRET_BYTES} bytes")
    return SigningKey(algorithm="HS256", key=secret.encode())


def read_keys(path: Path) -> list[SigningKey]:
    """The keys of a file: PEM (public keys and certificates), a JWK or a JWKS.

    Raises:
        ValueError: it cannot be read, or holds no key that serves.
    """
    try:
        with path.expanduser().open("rb") as file:
            data = file.read(_MAX_FILE_BYTES)
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from None
    try:
        found = keys_of_json(data) if data.lstrip()[:1] == b"{" else _keys_of_pem(data)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    if not found:
        raise ValueError(f"{path}: it holds no public key")
    return found


def _keys_of_pem(data: bytes) -> list[SigningKey]:
    blocks = [b"-----BEGIN" + block for block in data.split(b"-----BEGIN")[1:]]
    return [_of_public_key(_load_pem(block)) for block in blocks]


def _load_pem(block: bytes) -> Any:
    if b"PRIVATE" in block.partition(b"\n")[0]:
        raise ValueError("it holds a private key; give the public one")
    try:
        if b"CERTIFICATE" in block.partition(b"\n")[0]:
            return x509.load_pem_x509_certificate(block).public_key()
        return serialization.load_pem_public_key(block)
    except (ValueError, UnsupportedAlgorithm):
        raise ValueError("it holds no public key in PEM that can be read") from None


def keys_of_json(data: bytes, *, secrets: bool = True) -> list[SigningKey]:
    """The keys of a JWK or JWKS (RFC 7517); those of a set that are of no use here are left out.

    Args:
        data: the JSON.
        secrets: whether a key of HS256 may be among them.

    Raises:
        ValueError: it is no JWK and no JWKS, holds too many keys, or its only key is of no use.
    """
    try:
        document = msgspec.json.decode(data)
    except (msgspec.DecodeError, RecursionError):
        raise ValueError("it is no JSON") from None
    if not isinstance(document, dict):
        raise ValueError("it is no JWK and no JWKS")
    if "keys" not in document:
        return [_of_jwk(document, secrets)]
    listed = document["keys"]
    if not isinstance(listed, list) or len(listed) > MAX_KEYS:
        raise ValueError(f"'keys' must be a list of at most {MAX_KEYS}")
    found = []
    for each in listed:
        # A set may hold keys for other uses, and of kinds to come (RFC 7517, section 5).
        try:
            found.append(_of_jwk(each, secrets))
        except ValueError:
            continue
    return found


def _of_jwk(fields: Any, secrets: bool) -> SigningKey:
    if not isinstance(fields, dict):
        raise ValueError("a key is no object")
    if fields.get("use", "sig") != "sig" or "verify" not in fields.get("key_ops", ["verify"]):
        raise ValueError("the key is for another use than signatures")
    kid = fields.get("kid")
    if kid is not None and not isinstance(kid, str):
        raise ValueError("kid is no text")
    kind = fields.get("kty")
    public = {name: value for name, value in fields.items() if name not in _PRIVATE}
    try:
        if kind == "oct" and secrets:
            found = _of_secret(fields)
        elif kind == "RSA":
            found = _of_public_key(jwt.algorithms.RSAAlgorithm.from_jwk(public))
        elif kind == "EC":
            found = _of_public_key(jwt.algorithms.ECAlgorithm.from_jwk(public))
        elif kind == "OKP":
            found = _of_public_key(jwt.algorithms.OKPAlgorithm.from_jwk(public))
        else:
            raise ValueError(f"keys of kind {kind!r} are not served")
    except (jwt.InvalidKeyError, KeyError, TypeError, AttributeError):
        raise ValueError("the key cannot be read") from None
    if fields.get("alg", found.algorithm) != found.algorithm:
        raise ValueError(f"the algorithm {fields['alg']!r} is not served")
    return msgspec.structs.replace(found, kid=kid)


def _of_secret(fields: dict[str, Any]) -> SigningKey:
    key = jwt.algorithms.HMACAlgorithm.from_jwk(fields)
    if len(key) < MIN_SECRET_BYTES:
        raise ValueError(f"a secret must have at least {MIN_SECRET_BYTES} bytes")
    return SigningKey(algorithm="HS256", key=key)


def _of_public_key(key: Any) -> SigningKey:
    if isinstance(key, rsa.RSAPublicKey):
        if key.key_size < MIN_RSA_BITS:
            raise ValueError(f"an RSA key must have at least {MIN_RSA_BITS} bits")
        return SigningKey(algorithm="RS256", key=key)
    if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1):
        return SigningKey(algorithm="ES256", key=key)
    if isinstance(key, ed25519.Ed25519PublicKey):
        return SigningKey(algorithm="EdDSA", key=key)
    raise ValueError("only RSA, P-256 and Ed25519 keys are served")
