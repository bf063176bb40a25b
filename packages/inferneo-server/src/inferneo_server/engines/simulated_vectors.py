"""Receives token ids; hands on unit vectors and scores: the more tokens in common, the nearer."""

import math
from array import array
from collections.abc import Sequence

from inferneo_core.errors import InvalidRequest
from inferneo_server.engines.base import Cut, Vector

# How many dimensions a token has a part in, and how far apart they are.
_SPREAD = 4
_STRIDE = 2_654_435_761  # Knuth's multiplicative hash


def vector(token_ids: Sequence[int], size: int, full_size: int) -> Vector:
    """A vector of float32 whose length is 1: the first so many of its full size."""
    values = [1 / full_size] * full_size  # none is 0 altogether
    for token_id in token_ids:
        for number in range(_SPREAD):
            values[(token_id * _SPREAD + number + 1) * _STRIDE % 2**32 % full_size] += 1
    length = math.hypot(*values[:size])
    return memoryview(array("f", (value / length for value in values[:size])))


def agreement(token_ids: Sequence[int], query_length: int) -> float:
    """How much of a query, the first of the token ids, is in the document behind it: 0 to 1."""
    query, document = set(token_ids[:query_length]), set(token_ids[query_length:])
    return len(query & document) / max(len(query), 1)


def shortened_ids(token_ids: Sequence[int], cut: Cut | None) -> Sequence[int]:
    """What is left of token ids.

    Raises:
        InvalidRequest: nothing is.
    """
    if cut is None:
        return token_ids
    if cut.tokens < 1:
        raise InvalidRequest("Nothing of the text is left", param="truncate_prompt_tokens")
    return token_ids[-cut.tokens :] if cut.side == "left" else token_ids[: cut.tokens]
