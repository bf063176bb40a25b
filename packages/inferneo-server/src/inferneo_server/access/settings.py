"""Receives what the settings say of keys and JSON Web Tokens; hands it on, checked."""

import json
import re
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Literal, get_args
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    SecretStr,
    model_validator,
)

from inferneo_server.access.identity import Limits, Scope
from inferneo_server.limits.presets import parse_limits

Algorithm = Literal["HS256", "RS256", "ES256", "EdDSA"]
ALGORITHMS: tuple[Algorithm, ...] = ("HS256", "RS256", "ES256", "EdDSA")
# RFC 7518, section 3.2: a key of HS256 has at least the size of its hash.
MIN_SECRET_BYTES = 32
# Who connects to a Unix socket, and has no address.
UNIX_PEER = "unix"

_SHA256 = re.compile(r"[0-9a-fA-F]{64}")
_NAME = re.compile(r"[\w.@:/+-]([\w .@:/+-]{0,62}[\w.@:/+-])?")


def check_name(name: str) -> str:
    """A name that stands in a log line as it is.

    Raises:
        ValueError: it is none.
    """
    if not _NAME.fullmatch(name):
        raise ValueError("must be 1 to 64 letters, digits, spaces or any of . _ @ : / + -")
    return name


def _read_limits(value: Any) -> Limits | None:
    return None if value is None else parse_limits(value)


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str | Path) else value


def _read_json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        raise ValueError("begins like a table, and is no JSON") from None


class KeyEntry(BaseModel):
    """An entry of `api_keys`. One that is a text is a key that may do everything, or a table as
    JSON."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)

    key: SecretStr | None = None
    key_sha256: str | None = None
    name: Annotated[str, AfterValidator(check_name)] | None = None
    scopes: Annotated[list[Scope], BeforeValidator(_as_list)] = ["inference"]
    models: Annotated[list[str], BeforeValidator(_as_list)] | None = None
    limits: Annotated[Limits | None, BeforeValidator(_read_limits)] = None
    weight: float = Field(1.0, gt=0, le=1000, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _read_text(cls, value: Any) -> Any:
        if isinstance(value, str) and value.startswith("{"):
            # A flag carries a table as JSON; taken for a key it would be one that may do all.
            return _read_json(value)
        plain = isinstance(value, str | SecretStr)
        return {"key": value, "scopes": [*get_args(Scope)]} if plain else value

    @model_validator(mode="after")
    def _one_key(self) -> "KeyEntry":
        if (self.key is None) == (self.key_sha256 is None):
            raise ValueError("give either key or key_sha256")
        if self.key is not None and not self.key.get_secret_value():
            raise ValueError("the key is empty")
        if self.key_sha256 is not None and not _SHA256.fullmatch(self.key_sha256):
            raise ValueError("key_sha256 must be 64 hexadecimal digits")
        return self


class ClaimNames(BaseModel):
    """Which claims tell what; a dot leads into an object (`realm_access.roles`)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    owner: str = "sub"
    name: str = "name"
    scopes: str = "scope"
    models: str = "models"
    limits: str = "limits"


def _check_origin(origin: str) -> str:
    """What browsers send, for another text would never be met: a scheme, a host, maybe a port."""
    parts = urlsplit(origin)
    if origin in ("*", "null") or origin == f"{parts.scheme}://{parts.netloc}" != "://":
        return origin
    meant = f"{parts.scheme or 'https'}://{parts.netloc or parts.path.partition('/')[0]}"
    raise ValueError(f"{origin!r} is no origin; did you mean {meant}?")


Origin = Annotated[str, AfterValidator(_check_origin)]


def _check_proxy(proxy: str) -> str:
    """What can be met: uvicorn would take another text, and never compare it to an address."""
    if proxy == UNIX_PEER:
        return proxy
    if proxy in ("*", "0.0.0.0/0", "::/0"):
        raise ValueError(f"{proxy!r} would believe everyone; name the addresses of the proxies")
    try:
        ip_network(proxy)
    except ValueError as error:
        raise ValueError(f"{error}; give an address, a network or `{UNIX_PEER}`") from None
    return proxy


Proxy = Annotated[str, AfterValidator(_check_proxy)]
LimitsSetting = Annotated[Limits, PlainValidator(parse_limits)]


def _check_url(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("must be an http or https URL")
    return url


class JwtSettings(BaseModel):
    """Which JSON Web Tokens are let in, and what they may do."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    secret: SecretStr | None = None
    keys: Annotated[list[Path], BeforeValidator(_as_list)] = []
    jwks_url: Annotated[str, AfterValidator(_check_url)] | None = None
    jwks_seconds: float = Field(600.0, ge=1)
    algorithms: list[Algorithm] = list(ALGORITHMS)
    issuer: str | None = None
    audience: Annotated[list[str], BeforeValidator(_as_list)] = []
    leeway_seconds: float = Field(10.0, ge=0, le=300)
    required_claims: list[str] = ["exp"]
    scope_names: dict[str, Scope] = {name: name for name in get_args(Scope)}
    default_scopes: list[Scope] = ["inference"]
    claims: ClaimNames = ClaimNames()

    @model_validator(mode="after")
    def _has_keys(self) -> "JwtSettings":
        if self.secret is None and not self.keys and self.jwks_url is None:
            raise ValueError("give a secret, keys (files) or jwks_url")
        # A file that cannot be used is told at once, by the name of its setting.
        from inferneo_server.access.signing_keys import read_keys, secret_key

        if self.secret is not None:
            secret_key(self.secret.get_secret_value())
        for path in self.keys:
            read_keys(path)
        return self
