"""Receives the logits after tokens of a prompt; hands on how likely the following ones were."""

from collections.abc import Callable, Sequence
from typing import Any

import torch

from inferneo_core.logprobs import PromptLogprob, PromptLogprobs
from inferneo_server.engines.torch_sampling import likeliest

# JSON has no infinity; so unlikely is what OpenAI says in its place.
UNLIKELY = -9999.0


def prompt_logprobs(
    logits: Any, following: Sequence[int], top: int, token_text: Callable[[int], str]
) -> PromptLogprobs:
    """For each place the token that follows, and so many of the likeliest.

    Args:
        logits: a row for each place.
        following: the tokens that follow in the prompt.
        top: how many of the likeliest to tell.
        token_text: gives the text of one token.
    """
    if not following:
        return []
    raw = torch.log_softmax(logits, -1)
    told: PromptLogprobs = []
    for token_id, found in zip(
        following, likeliest(raw, following, [top] * len(following)), strict=True
    ):
        ranked = zip(found.token_ids, found.logprobs, strict=True)
        places = {each: (logprob, rank) for rank, (each, logprob) in enumerate(ranked, 1)}
        places = {token_id: (found.logprob, found.rank)} | places
        told.append(
            {
                each: PromptLogprob(
                    logprob=max(logprob, UNLIKELY), rank=rank, decoded_token=token_text(each)
                )
                for each, (logprob, rank) in places.items()
            }
        )
    return told
