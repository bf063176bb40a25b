"""Receives nothing; hands on the answers of `/tokenize`, `/detokenize` and `/v1/tokens`."""

from inferneo_client.types.answer import Answer
from inferneo_client.types.response import ResponseInfo


class Tokenized(Answer, frozen=True, kw_only=True, gc=False):
    """A text as tokens; `max_model_len` is the model's context in tokens.

    `token_strs` are the tokens as the vocabulary spells them, where they were asked for.
    """

    count: int = 0
    max_model_len: int | None = None
    tokens: list[int] = []
    token_strs: list[str] | None = None
    response: ResponseInfo | None = None


class Detokenized(Answer, frozen=True, kw_only=True, gc=False):
    """Tokens as a text."""

    prompt: str = ""
    response: ResponseInfo | None = None


class AccessToken(Answer, frozen=True, kw_only=True, gc=False):
    """What counts as the key that it was made with, until `expires_at` in epoch seconds."""

    token: str = ""
    expires_at: int = 0
    scopes: list[str] | None = None
    models: list[str] | None = None
    response: ResponseInfo | None = None
