"""Receives JSON Web Tokens of an issuer; hands on who carries one, and what they may do.

Source: RFC 7519; how not to be deceived, RFC 8725.
"""

import re
from typing import Any

import jwt

from inferneo_core.errors import AuthenticationFailed
from inferneo_server.access.identity import Identity, Limits, Scope
from inferneo_server.access.jwks_url import JwksUrl
from inferneo_server.access.settings import JwtSettings
from inferneo_server.access.signing_keys import SigningKey, read_keys, secret_key
from inferneo_server.access.tokens import UNREADABLE, header_of
from inferneo_server.limits.presets import parse_limits

MAX_TOKEN_BYTES = 16 * 1024
# A token that names no key is tried on so many: each costs a fraction of a millisecond.
MAX_TRIED = 8
MAX_MODELS = 1000

# It becomes the owner of what is stored, and stands in log lines.
_SOUND = re.compile(r"[\x21-\x7e]([\x20-\x7e]{0,126}[\x21-\x7e])?")


class UnknownKey(AuthenticationFailed):
    """A token is signed by a key that is not known, and may be by now at the issuer's URL."""


class JwtCheck:
    """Checks the tokens of an issuer.

    Args:
        settings: the keys, and what a token must say.
    """

    def __init__(self, settings: JwtSettings) -> None:
        self._settings = settings
        self._keys: list[SigningKey] = []
        if settings.secret is not None:
            self._keys.append(secret_key(settings.secret.get_secret_value()))
        for path in settings.keys:
            self._keys += read_keys(path)
        self.url: JwksUrl | None = None
        if settings.jwks_url is not None:
            self.url = JwksUrl(settings.jwks_url, fresh_seconds=settings.jwks_seconds)

    def identity(self, token: bytes) -> Identity:
        """Who carries a token.

        Raises:
            UnknownKey: it may be another key's, which can be fetched.
            AuthenticationFailed: it is not good.
        """
        claims = self._claims(token)
        names = self._settings.claims
        subject = _find(claims, names.owner)
        if not isinstance(subject, str) or not _SOUND.fullmatch(subject):
            raise AuthenticationFailed(f"The token's '{names.owner}' does not tell who carries it")
        name = _find(claims, names.name)
        expires_at = claims.get("exp")
        return Identity(
            # No key has an owner of this form.
            owner=f"jwt:{subject}",
            name=name if isinstance(name, str) and _SOUND.fullmatch(name) else "",
            scopes=self._scopes(_find(claims, names.scopes)),
            models=_models(_find(claims, names.models), names.models),
            limits=_limits(_find(claims, names.limits), names.limits),
            expires_at=None
            if expires_at is None
            else float(expires_at) + self._settings.leeway_seconds,
        )

    def _claims(self, token: bytes) -> dict[str, Any]:
        if len(token) > MAX_TOKEN_BYTES:
            raise AuthenticationFailed("The token is too large")
        header = header_of(token)
        # What else a header may offer (`jwk`, `jku`, `x5c`, `x5u`) is the sender's word on how to
        # trust the sender, and not looked at.
        if "crit" in header or "b64" in header:
            raise AuthenticationFailed("The token asks for extensions that are not served")
        keys = self._candidates(header)
        for key in keys[:MAX_TRIED]:
            try:
                return self._decode(token, key)
            except jwt.InvalidSignatureError:
                continue
        if self.url is not None:
            raise UnknownKey("No key that is known has signed the token")
        raise AuthenticationFailed("No key that is known has signed the token")

    def _candidates(self, header: dict[str, Any]) -> list[SigningKey]:
        algorithm, kid = header.get("alg"), header.get("kid")
        if algorithm not in self._settings.algorithms:
            allowed = ", ".join(self._settings.algorithms)
            raise AuthenticationFailed(f"The token must be signed by one of: {allowed}")
        return [
            key
            for key in [*self._keys, *(self.url.keys if self.url else [])]
            if key.algorithm == algorithm and (None in (kid, key.kid) or key.kid == kid)
        ]

    def _decode(self, token: bytes, key: SigningKey) -> dict[str, Any]:
        """The claims of a token, which is good.

        Raises:
            jwt.InvalidSignatureError: another key may have signed it.
            AuthenticationFailed: it is not good.
        """
        settings = self._settings
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                key.key,
                algorithms=[key.algorithm],
                audience=settings.audience or None,
                issuer=settings.issuer,
                leeway=settings.leeway_seconds,
                options={"require": settings.required_claims},
            )
            for name in ("exp", "nbf", "iat"):
                if not isinstance(claims.get(name, 0), int | float):
                    raise AuthenticationFailed(f"The token's '{name}' is no number")
            return claims
        except jwt.InvalidSignatureError:
            raise
        except jwt.ExpiredSignatureError:
            raise AuthenticationFailed("The token's time is over") from None
        except jwt.MissingRequiredClaimError as error:
            raise AuthenticationFailed(f"The token has no '{error.claim}'") from None
        except jwt.InvalidAudienceError:
            raise AuthenticationFailed("The token is for another audience") from None
        except jwt.InvalidIssuerError:
            raise AuthenticationFailed("The token is of another issuer") from None
        except jwt.ImmatureSignatureError:
            raise AuthenticationFailed("The token does not count yet") from None
        except UNREADABLE:
            raise AuthenticationFailed("The token cannot be read") from None

    def _scopes(self, claim: Any) -> frozenset[Scope]:
        """What a claim lets do: names with spaces between (RFC 8693, section 4.2), or a list."""
        if claim is None:
            return frozenset(self._settings.default_scopes)
        given = claim.split() if isinstance(claim, str) else claim
        if not isinstance(given, list):
            raise AuthenticationFailed(f"The token's '{self._settings.claims.scopes}' is no list")
        known = self._settings.scope_names
        return frozenset(known[name] for name in given if isinstance(name, str) and name in known)


def _find(claims: dict[str, Any], name: str) -> Any:
    """A claim of that name, or at the end of a path of names with dots between."""
    if name in claims:
        return claims[name]
    found: Any = claims
    for part in name.split("."):
        found = found.get(part) if isinstance(found, dict) else None
    return found


def _models(claim: Any, name: str) -> frozenset[str] | None:
    if claim is None:
        return None
    given = claim.split() if isinstance(claim, str) else claim
    if (
        not isinstance(given, list)
        or len(given) > MAX_MODELS
        or not all(isinstance(model, str) for model in given)
    ):
        raise AuthenticationFailed(f"The token's '{name}' is no list of models")
    return frozenset(given)


def _limits(claim: Any, name: str) -> Limits | None:
    try:
        return None if claim is None else parse_limits(claim)
    except ValueError:
        raise AuthenticationFailed(f"The token's '{name}' is no set of limits") from None
