"""Receives the sampling fields of a request; hands on vLLM's SamplingParams."""

import json
from typing import Any

import msgspec
from vllm.sampling_params import RequestOutputKind, SamplingParams, StructuredOutputsParams

from inferneo_core.errors import InvalidRequest
from inferneo_core.sampling import JsonSchemaFormat, SamplingFields, StructuredOutputs

# A grammar is compiled before its request can run: what is larger takes too long.
MAX_GRAMMAR_BYTES = 64 * 1024
MAX_PATTERN_CHARACTERS = 2048

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
    """What the answer must fit, if anything.

    Raises:
        InvalidRequest: more or less than one thing is asked for, or it is too large.
    """
    wanted, format_ = sampling.structured_outputs, sampling.response_format
    if wanted is not None:
        return _params(wanted, "structured_outputs")
    if format_ is None or format_.type == "text":
        return None
    if format_.type == "json_object":
        return StructuredOutputsParams(json_object=True)
    schema = (format_.json_schema or JsonSchemaFormat()).schema_
    if schema is None:
        raise InvalidRequest(
            "'response_format' of type json_schema needs a schema",
            param="response_format.json_schema.schema",
        )
    if schema is True:
        return StructuredOutputsParams(json_object=True)
    if schema is False:
        raise InvalidRequest(
            "Nothing fits the schema 'false'", param="response_format.json_schema.schema"
        )
    return _params(StructuredOutputs(json=schema), "response_format")


def _params(wanted: StructuredOutputs, param: str) -> StructuredOutputsParams:
    fields = msgspec.to_builtins(wanted)
    kinds = [
        name for name in ("json", "regex", "choice", "grammar", "json_object") if fields.get(name)
    ]
    if len(kinds) != 1:
        raise InvalidRequest(
            f"'{param}' takes exactly one of json, regex, choice, grammar and json_object",
            param=param,
        )
    size = len(json.dumps(fields[kinds[0]]))
    if size > MAX_GRAMMAR_BYTES:
        raise InvalidRequest(
            f"'{param}' has {size} bytes, more than the {MAX_GRAMMAR_BYTES} that are allowed",
            param=param,
        )
    if wanted.regex and len(wanted.regex) > MAX_PATTERN_CHARACTERS:
        raise InvalidRequest(
            f"'{param}.regex' has more than {MAX_PATTERN_CHARACTERS} characters", param=param
        )
    return StructuredOutputsParams(**fields)
