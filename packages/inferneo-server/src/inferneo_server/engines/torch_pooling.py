"""Receives token ids; hands on what a model makes of each prompt as a whole: vectors, or scores."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch

from inferneo_server.engines.torch_messages import Pool, Pooled
from inferneo_server.engines.torch_model import Model


class Pooling:
    """One request, worked on step by step: the shortest prompts first, similar ones together.

    Args:
        model: embeds or scores.
        request: what.
    """

    def __init__(self, model: Model, request: Pool) -> None:
        self._model = model
        self._request = request
        self._values: list[bytes] = [b""] * len(request.prompts)
        self._steps = list(_batches(request.prompts, model.step_tokens))

    def step(self) -> Pooled | None:
        """Work on the next few prompts; the answer, once it is whole."""
        numbers = self._steps.pop()
        rows = self._work(numbers).float().cpu().contiguous()
        for number, row in zip(numbers, rows, strict=True):
            # The server reads them in the machine's own order of bytes, as they are here.
            self._values[number] = row.numpy().tobytes()
        return None if self._steps else Pooled(key=self._request.key, values=self._values)

    def _work(self, numbers: Sequence[int]) -> Any:
        request, model = self._request, self._model
        prompts = [request.prompts[number] for number in numbers]
        width = max(map(len, prompts))
        padded = [[*prompt, *[0] * (width - len(prompt))] for prompt in prompts]
        lengths = torch.tensor([len(prompt) for prompt in prompts], device=model.device)
        places = torch.arange(width, device=model.device)
        mask = (places < lengths[:, None]).long()
        given: dict[str, Any] = {}
        starts = [request.starts[number] for number in numbers]
        if any(start is not None for start in starts):
            begin = torch.tensor(
                [width if at is None else at for at in starts], device=model.device
            )
            given["token_type_ids"] = (places >= begin[:, None]).long() * mask
        output = model.model(
            input_ids=torch.tensor(padded, device=model.device), attention_mask=mask, **given
        )
        if request.task == "score":
            logits = output.logits[:, :1].float()
            return logits if request.activation is False else torch.sigmoid(logits)
        return self._vectors(output.last_hidden_state.float(), mask, lengths)

    def _vectors(self, states: Any, mask: Any, lengths: Any) -> Any:
        request, pooling = self._request, self._model.pooling
        if pooling.mode == "cls":
            vectors = states[:, 0]
        elif pooling.mode == "lasttoken":
            vectors = states[torch.arange(len(states), device=states.device), lengths - 1]
        else:
            vectors = (states * mask[..., None]).sum(1) / lengths[:, None]
        if request.dimensions is not None:
            vectors = vectors[:, : request.dimensions]
        normalised = pooling.normalised if request.activation is None else request.activation
        return torch.nn.functional.normalize(vectors, dim=-1) if normalised else vectors


def _batches(prompts: Sequence[Sequence[int]], area: int) -> Iterator[list[int]]:
    """The numbers of prompts that are worked on together: so many tokens, padding included."""
    numbers = sorted(range(len(prompts)), key=lambda number: len(prompts[number]), reverse=True)
    batch: list[int] = []
    for number in numbers:
        if batch and len(prompts[batch[0]]) * (len(batch) + 1) > area:
            yield batch
            batch = []
        batch.append(number)
    if batch:
        yield batch
