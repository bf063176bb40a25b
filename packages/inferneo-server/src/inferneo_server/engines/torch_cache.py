"""Receives keys and values of attention; hands on those of a batch of sequences, side by side."""

from collections.abc import Sequence
from typing import Any

import torch
from transformers.cache_utils import Cache

# Room is made for so many tokens at a time, and for half as many again as there are.
_BLOCK = 128


class KvBatch(Cache):  # type: ignore[misc]  # it is not typed here
    """Keys and values of sequences of different lengths: one row each, from its first token on.

    What stands behind the end of a row is masked; it must be a number all the same, since nothing
    times nothing-that-is-a-number is not nothing.

    Args:
        layers: how many layers of the model have a cache.
        dtype: of keys and values.
        device: where they are.

    Attributes:
        lengths: tokens in each row.
    """

    def __init__(self, layers: int, dtype: Any, device: Any) -> None:
        # Not the base's: its layers know one length for all rows.
        self.lengths: list[int] = []
        self._keys: list[Any] = [None] * layers
        self._values: list[Any] = [None] * layers
        self._dtype = dtype
        self._device = device
        self._rows: Any = None
        self._positions: Any = None
        self._start: int | None = None
        self._end = 0

    def __len__(self) -> int:
        return len(self._keys)

    @property
    def token_bytes(self) -> int:
        """What one token of one sequence takes; 0 before the first step."""
        return sum(
            each.shape[1] * each.shape[3] * each.element_size()
            for each in (*self._keys, *self._values)
            if each is not None
        )

    def begin(self, starts: Sequence[int], width: int) -> Any:
        """Begin a step that adds as many tokens to each row; those that a row does not have are
        written all the same, behind its end.

        Returns:
            The positions of the tokens, a row for each sequence.
        """
        self._start = starts[0] if len(set(starts)) == 1 else None
        self._end = max(starts) + width
        offsets = torch.arange(width, device=self._device)
        first = torch.tensor(starts, device=self._device)
        self._positions = first[:, None] + offsets
        self._rows = torch.arange(len(starts), device=self._device)[:, None]
        return self._positions

    def update(self, key_states: Any, value_states: Any, layer_idx: int, *_: Any, **__: Any) -> Any:
        """What the model's attention calls: keep what is new, give all that there is."""
        count = key_states.shape[0]
        found = []
        for kept, new in ((self._keys, key_states), (self._values, value_states)):
            held = kept[layer_idx] = self._room(kept[layer_idx], new, count, self._end)
            if self._start is not None:
                held[:count, :, self._start : self._end] = new
            else:
                held[self._rows, :, self._positions] = new.transpose(1, 2)
            found.append(held[:count, :, : self._end])
        return found[0], found[1]

    def _room(self, held: Any, like: Any, rows: int, length: int) -> Any:
        if held is not None and rows <= held.shape[0] and length <= held.shape[2]:
            return held
        if held is not None:
            rows = max(rows, held.shape[0] if rows <= held.shape[0] else held.shape[0] * 2)
            length = max(length, held.shape[2])
            if length > held.shape[2]:
                length = max(length, held.shape[2] * 3 // 2)
        length = -(-length // _BLOCK) * _BLOCK
        shape = (rows, like.shape[1], length, like.shape[3])
        more = torch.zeros(shape, dtype=like.dtype, device=like.device)
        if held is not None:
            more[: held.shape[0], :, : held.shape[2]] = held
        return more

    def take(self, other: "KvBatch", row: int) -> None:
        """Add a row of another batch as the last one."""
        length, at = other.lengths[row], len(self.lengths)
        for kept, source in ((self._keys, other._keys), (self._values, other._values)):
            for layer, each in enumerate(source):
                if each is not None:
                    held = kept[layer] = self._room(kept[layer], each, at + 1, length)
                    held[at, :, :length] = each[row, :, :length]
        self.lengths.append(length)

    def drop(self, row: int) -> None:
        """Forget a row; the last one takes its place."""
        last = len(self.lengths) - 1
        length = self.lengths.pop()
        if row != last:
            self.lengths[row] = length
            for held in (*self._keys, *self._values):
                if held is not None:
                    held[row, :, :length] = held[last, :, :length]
        if not last:
            # One long answer must not hold its memory for ever.
            self._keys = [None] * len(self._keys)
            self._values = [None] * len(self._values)

    # What models ask of a cache beside that. They are given masks and positions, so that none of it
    # matters to the answer.

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """The longest row before this step."""
        return max(self.lengths, default=0)

    def get_max_length(self) -> int:
        """There is no limit."""
        return -1

    @property
    def is_compileable(self) -> bool:
        """Its size changes."""
        return False

    @property
    def is_sliding(self) -> list[bool]:
        """Each layer keeps all tokens."""
        return [False] * len(self._keys)
