"""Receives a key; hands on short-lived tokens made from it, and whose such a token is."""

import hmac
import time
from collections.abc import Sequence
from typing import Any

import jwt
from msgspec import Struct

from inferneo_core.errors import AuthenticationFailed
from inferneo_server.access.identity import Scope

MAX_TOKEN_SECONDS = 3600
_AUDIENCE = "inferneo-browser"
# What tells ours from an issuer's tokens, which are checked by other keys anyway.
_TYPE = "inferneo-token"
# What is wrong with a token's form makes PyJWT raise these as well as its own.
UNREADABLE = (jwt.PyJWTError, ValueError, TypeError, OverflowError, RecursionError)


class TokenClaims(Struct, frozen=True, kw_only=True):
    """What a short-lived token says.

    Attributes:
        owner: whose key it was made with.
        scopes: what it may do, as far as the key may.
        models: the models it may use, as far as the key may; None is all of them.
    """

    owner: str
    scopes: frozenset[Scope]
    models: frozenset[str] | None


def token_secret(secret: bytes) -> bytes:
    """What the tokens of a key are signed with."""
    return hmac.digest(secret, b"inferneo short-lived tokens", "sha256")


def mint(owner: str, secret: bytes, expires_at: int, scopes: frozenset[Scope], models: Any) -> str:
    """A token of that owner, signed with `token_secret`; times are seconds since the epoch."""
    claims: dict[str, Any] = {"sub": owner, "aud": _AUDIENCE, "exp": expires_at}
    claims["scopes"] = sorted(scopes)
    if models is not None:
        claims["models"] = sorted(models)
    return jwt.encode(claims, secret, "HS256", headers={"typ": _TYPE, "kid": owner})


def header_of(token: bytes) -> dict[str, Any]:
    """What a token says of itself, which nothing has proved yet.

    Raises:
        AuthenticationFailed: it is none.
    """
    try:
        return jwt.get_unverified_header(token)
    except UNREADABLE:
        raise AuthenticationFailed("The token cannot be read") from None


def owner_named(header: dict[str, Any]) -> str | None:
    """Whose a token says to be, if it is one of ours."""
    owner = header.get("kid")
    return owner if header.get("typ") == _TYPE and isinstance(owner, str) else None


def read(token: bytes, secrets: Sequence[bytes], owner: str) -> TokenClaims:
    """What a token of that owner says.

    Raises:
        AuthenticationFailed: none of the secrets has signed it, or its time is over.
    """
    for secret in secrets:
        try:
            claims = jwt.decode(
                token,
                secret,
                algorithms=["HS256"],
                audience=_AUDIENCE,
                options={"require": ["exp", "sub"]},
            )
            if claims["sub"] != owner or claims["exp"] <= time.time():
                break
            models = claims.get("models")
            return TokenClaims(
                owner=owner,
                scopes=frozenset(claims["scopes"]),
                models=None if models is None else frozenset(models),
            )
        except jwt.InvalidSignatureError:
            continue
        except jwt.ExpiredSignatureError:
            raise AuthenticationFailed("The token's time is over") from None
        except (*UNREADABLE, KeyError):
            break
    raise AuthenticationFailed("The token is not a short-lived token of ours")
