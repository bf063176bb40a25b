"""Receives a key; hands on a short-lived token, which a browser carries in its place."""

from typing import Annotated

from litestar import Router, post
from msgspec import Meta, Struct

from inferneo_core.errors import AuthenticationFailed
from inferneo_server.access.check import ANY_SCOPE, bearer, identity_of
from inferneo_server.access.identity import Scope
from inferneo_server.access.keys import Keys
from inferneo_server.access.tokens import MAX_TOKEN_SECONDS
from inferneo_server.transports.errors import error_responses
from inferneo_server.transports.requests import ApiRequest


class TokenRequest(Struct, frozen=True, kw_only=True):
    """Body of `POST /v1/tokens`: how long the token lives, and what it may do.

    Attributes:
        seconds: 1 to 3600.
        scopes: some of the key's; without it `inference`, where the key has that.
        models: the models that it may use, some of the key's; without it all of the key's.
    """

    seconds: Annotated[int, Meta(ge=1, le=MAX_TOKEN_SECONDS)] = 300
    scopes: Annotated[list[Scope], Meta(min_length=1, max_length=8)] | None = None
    models: Annotated[list[str], Meta(min_length=1, max_length=64)] | None = None


class Token(Struct, frozen=True, kw_only=True):
    """A token that counts as the key it was made with until `expires_at`, in epoch seconds."""

    token: str
    expires_at: int


@post(
    "/tokens",
    status_code=200,
    response_headers={"cache-control": "no-store"},
    responses=error_responses(400, 401, 403, 413),
    # A key that may do anything may hand that on.
    opt={"scope": ANY_SCOPE},
)
async def create_token(request: ApiRequest, data: TokenRequest) -> Token:
    """Make a token for one page or socket, so that the key itself need not reach a browser."""
    keys: Keys = request.app.state.credentials
    if keys.required and keys.key_identity(bearer(request.scope)) is None:
        raise AuthenticationFailed("A token is made with a key, not with another token")
    token, expires_at = keys.mint(
        identity_of(request.scope), data.seconds, scopes=data.scopes, models=data.models
    )
    return Token(token=token, expires_at=expires_at)


router = Router("/v1", route_handlers=[create_token], tags=["Server"])
