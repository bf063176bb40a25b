"""Receives the sampling fields of a request; hands on the plan by which the torch engine writes."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.util import find_spec
from typing import Any

from inferneo_core.errors import InvalidRequest
from inferneo_core.sampling import SamplingFields, StructuredOutputs
from inferneo_server.engines.parsing import Asked
from inferneo_server.engines.structures import wanted_structure
from inferneo_server.engines.torch_messages import Plan

# Fields of the same name and meaning; the model's own defaults may stand in for the first ones.
DEFAULTS = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty")
_SAME = (*DEFAULTS, "seed", "frequency_penalty", "presence_penalty", "min_tokens", "ignore_eos")
_OTHERS = {
    "skip_special_tokens": "skip_special",
    "include_stop_str_in_output": "include_stop",
    "prompt_logprobs": "prompt_logprobs",
}


class Planning:
    """Makes the plans of one model's requests.

    Args:
        defaults: what the model's own generation_config.json says.
        vocabulary: how many token ids there are.
        encode: gives the token ids of a text, with no special ones.
    """

    def __init__(
        self,
        defaults: Mapping[str, float],
        vocabulary: int,
        encode: Callable[[str], Sequence[int]],
    ) -> None:
        self._defaults = defaults
        self._vocabulary = vocabulary
        self._encode = encode

    def plan(
        self,
        sampling: SamplingFields,
        *,
        max_tokens: int,
        streamed: bool,
        logprobs: int | None,
        asked: Asked | None = None,
    ) -> Plan:
        """The plan of a request.

        Raises:
            InvalidRequest: its fields do not fit the model, or each other.
        """
        if sampling.priority:
            raise InvalidRequest("The torch engine knows no 'priority'", param="priority")
        given: dict[str, Any] = dict(self._defaults)
        for name in _SAME:
            if (value := getattr(sampling, name)) is not None:
                given[name] = value
        for name, ours in _OTHERS.items():
            if (value := getattr(sampling, name)) is not None:
                given[ours] = value
        given["top_k"] = max(int(given.get("top_k", 0)), 0)
        if asked is not None and asked.skip_special_tokens is not None:
            given["skip_special"] = asked.skip_special_tokens
        if given.get("min_tokens", 0) > max_tokens:
            raise InvalidRequest(
                f"'min_tokens' of {given['min_tokens']} is more than the {max_tokens} tokens that "
                "may be written",
                param="min_tokens",
            )
        structure, compact = self._structure(sampling, asked)
        stop = sampling.stop or []
        return Plan(
            **given,
            max_tokens=max_tokens,
            streamed=streamed,
            choices=sampling.n or 1,
            logprobs=logprobs,
            bias=self._bias(sampling.logit_bias or {}),
            allowed=self._known(sampling.allowed_token_ids, "allowed_token_ids"),
            bad_words=list(self._bad_words(sampling.bad_words or ())),
            stops=[stop] if isinstance(stop, str) else stop,
            stop_token_ids=sampling.stop_token_ids or [],
            structure=structure,
            compact=compact,
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

    def _known(self, token_ids: list[int] | None, param: str) -> list[int] | None:
        if token_ids and max(token_ids) >= self._vocabulary:
            raise InvalidRequest(
                f"Token id {max(token_ids)} in '{param}' is out of vocabulary", param=param
            )
        return token_ids

    def _bad_words(self, words: Sequence[str]) -> Iterable[list[int]]:
        """Each word as it is spelled at the beginning of a text, and after a space."""
        for word in words:
            spellings = {tuple(self._encode(form)) for form in (word, f" {word.lstrip()}")}
            yield from (list(token_ids) for token_ids in spellings if token_ids)

    def _structure(
        self, sampling: SamplingFields, asked: Asked | None
    ) -> tuple[tuple[str, Any] | None, bool]:
        """What the answer must fit, by the request or so that a parser can read it."""
        wanted: Any = wanted_structure(sampling)
        if asked is not None and asked.structured_outputs is not None:
            wanted = asked.structured_outputs
        if wanted is None:
            return None, False
        param = structure_field(sampling) or "tool_choice"
        if find_spec("xgrammar") is None:
            raise InvalidRequest(
                "This server forces no answer into a form: the torch engine needs xgrammar for "
                "that, which is not installed",
                param=param,
            )
        if isinstance(wanted, StructuredOutputs) and wanted.whitespace_pattern is not None:
            raise InvalidRequest(
                "The torch engine knows no 'whitespace_pattern'",
                param=f"{param}.whitespace_pattern",
            )
        for name in ("json", "regex", "choice", "grammar", "structural_tag"):
            if (value := getattr(wanted, name, None)) is not None:
                return (name, value), bool(wanted.disable_any_whitespace)
        return ("json_object", True), bool(wanted.disable_any_whitespace)


def structure_field(sampling: SamplingFields) -> str | None:
    """The field of a request that says what its answer must fit."""
    if sampling.structured_outputs is not None:
        return "structured_outputs"
    return None if sampling.response_format is None else "response_format"
