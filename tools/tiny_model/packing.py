"""Takes samples and a tokenizer, hands on batches: rows of samples that cannot see each other."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from transformers import PreTrainedTokenizerFast

from tiny_model.chat import FIM_MIDDLE, TURN_END, TURN_START, Sample


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Token ids, the number of each token's sample within its row (0 is padding), loss weights."""

    ids: torch.Tensor
    owners: torch.Tensor
    weights: torch.Tensor

    def mask(self) -> torch.Tensor:
        """Returns who may look at whom: back only, and within the same sample."""
        same = self.owners[:, None, :, None] == self.owners[:, None, None, :]
        return same & torch.ones_like(same[0, 0]).tril()


class Packer:
    """Packs samples into batches of `rows` rows of `length` tokens."""

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerFast,
        samples: Iterator[Sample],
        *,
        rows: int,
        length: int,
    ) -> None:
        self._tokenizer = tokenizer
        self._samples = samples
        self._rows = rows
        self._length = length
        self._start = tokenizer.convert_tokens_to_ids(TURN_START)
        self._end = tokenizer.convert_tokens_to_ids(TURN_END)
        [self._middle] = tokenizer.encode(FIM_MIDDLE)
        self._assistant = tokenizer.encode("assistant\n")
        self._unthinking = tokenizer.encode("<think>\n\n</think>\n\n")

    def _weights(self, ids: list[int]) -> list[float]:
        """Weighs each token by whether the model is to write it: answers, and plain text."""
        if self._start not in ids:
            first = ids.index(self._middle) + 1 if self._middle in ids else 1
            return [float(at >= first) for at in range(len(ids))]
        weights = [0.0] * len(ids)
        header = len(self._assistant)
        writing, body = False, 0
        for at, token in enumerate(ids):
            if token == self._start:
                writing = ids[at + 1 : at + 1 + header] == self._assistant
                body = at + 1 + header
                # The empty block comes with the prompt: it is not the model's to write.
                if ids[body : body + len(self._unthinking)] == self._unthinking:
                    body += len(self._unthinking)
            elif writing and at >= body:
                weights[at] = 1.0
                writing = token != self._end
        return weights

    def batch(self) -> Batch:
        """Returns the next batch; a sample longer than a row is left out."""
        rows: list[list[int]] = [[] for _ in range(self._rows)]
        owners: list[list[int]] = [[] for _ in range(self._rows)]
        weights: list[list[float]] = [[] for _ in range(self._rows)]
        misses = 0
        while misses < 4:
            ids = self._tokenizer.encode(next(self._samples).render())
            row = next(
                (at for at in range(self._rows) if len(rows[at]) + len(ids) <= self._length), -1
            )
            if row < 0:
                misses += 1
                continue
            rows[row] += ids
            owners[row] += [owners[row][-1] + 1 if owners[row] else 1] * len(ids)
            weights[row] += self._weights(ids)
        for row in range(self._rows):
            missing = self._length - len(rows[row])
            rows[row] += [0] * missing
            owners[row] += [0] * missing
            weights[row] += [0.0] * missing
        return Batch(
            ids=torch.tensor(rows), owners=torch.tensor(owners), weights=torch.tensor(weights)
        )
