"""Receives the sampling fields of a request; hands on vLLM's SamplingParams."""

from typing import Any

import msgspec
from vllm.sampling_params import RequestOutputKind, SamplingParams, StructuredOutputsParams

from inferneo_core.errors import InvalidRequest
from inferneo_core.sampling import SamplingFields
from inferneo_server.engines.structures import wanted_structure

# What differs in name, form or place.
_OURS = {"n", "max_tokens", "logit_bias", "structured_outputs"}
_NAMES = tuple(
    name
    for name in SamplingFields.__struct_fields__
    if name in SamplingParams.__struct_fields__ and name not in _OURS
)


class Sampling:
    """Makes the parameters of one model's requests.

    Args:
        defaults: what the model's own generation_config.json says.
        vocabulary: how many token ids there are.
    """

    def __init__(self, defaults: dict[str, Any], vocabulary: int) -> None:
        self._defaults = defaults
        self._vocabulary = vocabulary

    def params(
        self,
        sampling: SamplingFields,
        *,
        choices: int,
        max_tokens: int,
        streamed: bool,
        logprobs: int | None,
    ) -> SamplingParams:
        """Parameters for vLLM.

        Raises:
            InvalidRequest: they do not fit the model, or each other.
            ValueError: vLLM finds so.
        """
        given = {name: value for name in _NAMES if (value := getattr(sampling, name)) is not None}
        if sampling.logit_bias:
            given["logit_bias"] = self._bias(sampling.logit_bias)
        if sampling.structured_outputs or sampling.response_format:
            given["structured_outputs"] = structure(sampling)
        return SamplingParams(
            **self._defaults | given | {"n": choices, "max_tokens": max_tokens},
            logprobs=logprobs,
            output_kind=RequestOutputKind.DELTA if streamed else RequestOutputKind.FINAL_ONLY,
            skip_clone=True,
        )

    def _bias(self, bias: dict[str, float]) -> dict[int, float]:
        for token_id in bias:
            if not (token_id.isascii() and token_id.isdigit()) or (
                int(token_id[:12]) >= self._vocabulary
            ):
                raise InvalidRequest(
                    f"'logit_bias' names {token_id!r}, which is no token id of the model",
                    param="logit_bias",
                )
        return {int(token_id): value for token_id, value in bias.items()}


def structure(sampling: SamplingFields) -> StructuredOutputsParams | None:
    """What the answer must fit, if anything, as vLLM wants it.

    Raises:
        InvalidRequest: as in `wanted_structure`.
    """
    wanted = wanted_structure(sampling)
    return None if wanted is None else StructuredOutputsParams(**msgspec.to_builtins(wanted))
