"""Receives credentials; hands on whose they are, or refuses. Knows all kinds of them."""

import hmac
import logging
import os
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec
from msgspec import Struct

from inferneo_core.errors import AuthenticationFailed, ModelNotAllowed, PermissionDenied
from inferneo_server.access.identity import Identity, Scope
from inferneo_server.access.jwt import JwtCheck, UnknownKey
from inferneo_server.access.secrets import digest_of, id_of, keep_secret, owner_of_digest
from inferneo_server.access.stored_keys import StoredKeys
from inferneo_server.access.tokens import header_of, mint, owner_named, read, token_secret

OWNER_PREFIX = "key_"
TOKENS_FILE = "tokens.secret"

logger = logging.getLogger(__name__)


class StaticKey(Struct, frozen=True, kw_only=True):
    """A key of the settings, which holds for as long as the server runs.

    Attributes:
        digest: of the key.
        identity: whose it is, and what they may do.
        signing: what its short-lived tokens are signed with; empty takes the server's own secret.
    """

    digest: bytes
    identity: Identity
    signing: bytes = b""

    @classmethod
    def of(cls, key: str, identity: Identity | None = None) -> "StaticKey":
        """A key of which the text is known; without an identity it may do everything.

        Its tokens are signed with itself: who has it could make them anyhow, they outlive a
        restart, and replicas with the same key take them.
        """
        plain = cls.of_digest(digest_of(key.encode()), identity or Identity())
        return msgspec.structs.replace(plain, signing=token_secret(key.encode()))

    @classmethod
    def of_digest(cls, digest: bytes, identity: Identity) -> "StaticKey":
        """A key of which the settings tell the hash alone."""
        owner = owner_of_digest(digest)
        return cls(digest=digest, identity=msgspec.structs.replace(identity, owner=owner))


class Keys:
    """The keys that are let in, the short-lived tokens made from them, and an issuer's tokens.

    Args:
        static: those of the settings; a bare text may do everything.
        stored: those of the file.
        issuer: checks the tokens of an issuer.
        state_dir: where the secret lies that signs the tokens of stored keys.
    """

    def __init__(
        self,
        static: Sequence[StaticKey | str] = (),
        *,
        stored: StoredKeys | None = None,
        issuer: JwtCheck | None = None,
        state_dir: Path | None = None,
    ) -> None:
        keys = [StaticKey.of(key) if isinstance(key, str) else key for key in static]
        self._static = {key.digest: key for key in keys}
        self._by_owner = {key.identity.owner: key for key in keys}
        self._stored = stored
        self._issuer = issuer
        self._state_dir = state_dir
        self._signing = b""
        self._of_this_run = os.urandom(32)

    @property
    def required(self) -> bool:
        """Whether a request must carry one."""
        return bool(self._static) or self._issuer is not None or self._any_stored

    @property
    def _any_stored(self) -> bool:
        return self._stored is not None and self._stored.any

    async def identify(self, credential: str) -> Identity:
        """Who carries a key or token. An issuer's new keys are fetched, and waited for.

        Raises:
            AuthenticationFailed: nobody does.
        """
        url = self._issuer.url if self._issuer else None
        if url is not None:
            url.refresh_if_old()
        try:
            return self.identity(credential)
        except UnknownKey:
            if url is None or not await url.refresh():
                raise
        return self.identity(credential)

    def identity(self, credential: str) -> Identity:
        """Who carries a key or token, as far as that is known without waiting.

        Raises:
            AuthenticationFailed: nobody does.
        """
        identity = self.key_identity(credential)
        if identity is not None:
            return identity
        if credential.count(".") != 2:
            raise AuthenticationFailed("Incorrect API key provided")
        token = _bytes(credential)
        if self._issuer is None or owner_named(header_of(token)) is not None:
            return self.token_identity(credential)
        return self._issuer.identity(token)

    def key_identity(self, credential: str) -> Identity | None:
        """Whose key it is, if it is one and no token.

        Raises:
            AuthenticationFailed: its time is over, or it was revoked.
        """
        given = _bytes(credential)
        digest = digest_of(given)
        # What is looked up is a hash: how long that takes tells nothing of any key.
        static = self._static.get(digest)
        if static is not None:
            return static.identity
        key_id = id_of(credential.strip())
        key = self._stored.find(key_id) if self._stored and key_id else None
        if key is None or not self._stored:
            return None
        old = key.old_digest if key.old_until > time.time() else None
        if not hmac.compare_digest(digest, key.digest) and not (
            old is not None and hmac.compare_digest(digest, old)
        ):
            return None
        identity = self._current(OWNER_PREFIX + key.record.id)
        self._stored.note_used(key)
        return identity

    def _current(self, owner: str) -> Identity:
        """What the owner of a key may do now.

        Raises:
            AuthenticationFailed: there is no such key any more.
        """
        static = self._by_owner.get(owner)
        if static is not None:
            return static.identity
        key = self._stored.find(owner.removeprefix(OWNER_PREFIX)) if self._stored else None
        if key is None or not owner.startswith(OWNER_PREFIX):
            raise AuthenticationFailed("Incorrect API key provided")
        record = key.record
        if record.revoked_at is not None:
            raise AuthenticationFailed("The API key has been revoked")
        if record.expires_at is not None and record.expires_at <= time.time():
            raise AuthenticationFailed("The API key has expired")
        return Identity(
            owner=owner,
            name=record.name,
            scopes=frozenset(record.scopes),
            models=None if record.models is None else frozenset(record.models),
            limits=record.limits,
            weight=record.weight,
            expires_at=record.expires_at,
        )

    def renewed(self, identity: Identity) -> Identity:
        """What someone who was let in may do now, for what stays open longer than a request.

        Raises:
            AuthenticationFailed: nothing any more.
        """
        if not identity.owner:
            if self.required:
                raise AuthenticationFailed("The server asks for a key by now")
            return identity
        if identity.expires_at is not None and identity.expires_at <= time.time():
            raise AuthenticationFailed("The credential's time is over")
        if identity.owner.startswith("jwt:"):
            return identity
        return _narrowed(self._current(identity.owner), identity.scopes, identity.models)

    def token_identity(self, token: str) -> Identity:
        """Who carries a short-lived token: its key's owner, with what the token was narrowed to.

        Raises:
            AuthenticationFailed: it is none, its time is over, or its key's is.
        """
        given = _bytes(token)
        owner = owner_named(header_of(given))
        if owner is None:
            raise AuthenticationFailed("The token is not a short-lived token of ours")
        claims = read(given, self._signing_secrets(owner), owner)
        return _narrowed(self._current(owner), claims.scopes, claims.models)

    def mint(
        self,
        identity: Identity,
        seconds: int,
        *,
        scopes: Sequence[Scope] | None = None,
        models: Sequence[str] | None = None,
    ) -> tuple[str, int]:
        """Make a token that counts as the identity's key for a while.

        Args:
            identity: whose key it is.
            seconds: how long it counts.
            scopes: what it may do; None is inference, where the key may do that.
            models: the models that it may use; None is those of the key.

        Returns:
            The token, and when its time is over, in seconds since the epoch.

        Raises:
            PermissionDenied: the key itself may not do that.
        """
        if scopes is None:
            # What is meant for a page should not be able to change the server.
            only: frozenset[Scope] = frozenset({"inference"})
            chosen = identity.scopes & only or identity.scopes
        else:
            chosen = frozenset(scopes)
            if chosen - identity.scopes:
                raise PermissionDenied("The key itself has not these scopes", param="scopes")
        if models is not None and identity.models is not None:
            for model in sorted(set(models) - identity.models):
                raise ModelNotAllowed(model)
        allowed = identity.models if models is None else frozenset(models)
        expires_at = int(time.time()) + seconds
        secret = self._signing_secrets(identity.owner)[0]
        return mint(identity.owner, secret, expires_at, chosen, allowed), expires_at

    def _signing_secrets(self, owner: str) -> list[bytes]:
        """What signs the tokens of an owner, the present secret first.

        Those of a stored key end with its secret: who rotates it does not trust them any more.
        """
        static = self._by_owner.get(owner)
        if static is not None and static.signing:
            return [static.signing]
        if not owner:
            # Of an open server: there is nobody to know again.
            return [self._of_this_run]
        server = self._server_secret()
        if static is not None:
            return [hmac.digest(server, static.digest, "sha256")]
        key = self._stored.find(owner.removeprefix(OWNER_PREFIX)) if self._stored else None
        digests = [key.digest] if key else [owner.encode()]
        if key and key.old_digest is not None and key.old_until > time.time():
            digests.append(key.old_digest)
        return [hmac.digest(server, digest, "sha256") for digest in digests]

    def _server_secret(self) -> bytes:
        if not self._signing:
            try:
                kept = keep_secret(self._state_dir / TOKENS_FILE) if self._state_dir else b""
            except OSError as error:
                logger.warning("Tokens end with this run: their secret cannot be kept: %s", error)
                kept = b""
            self._signing = token_secret(kept or self._of_this_run)
        return self._signing

    def close(self) -> None:
        """Write down what is to be kept."""
        if self._stored is not None:
            self._stored.close()


def _narrowed(
    identity: Identity, scopes: frozenset[Scope], models: frozenset[str] | None
) -> Identity:
    if models is not None and identity.models is not None:
        models = models & identity.models
    return msgspec.structs.replace(
        identity,
        scopes=identity.scopes & scopes,
        models=identity.models if models is None else models,
    )


def _bytes(credential: str) -> bytes:
    return credential.strip().encode(errors="surrogateescape")
