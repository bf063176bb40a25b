"""Receives texts and token ids; hands on one as the other, by the tokenizer of the model."""

import asyncio
from collections.abc import Iterator, Sequence
from typing import Any

from tokenizers import Encoding, Tokenizer

from inferneo_core.errors import InvalidRequest
from inferneo_core.sampling import Side
from inferneo_server.engines.base import Cut

# Up to here it costs less to tokenise in the event loop than to hop to a thread and back.
INLINE_CHARACTERS = 20_000
# The tokenizer's own record of a text is many times its size: so much is in memory at a time.
BATCH_CHARACTERS = 1_000_000

# How known families of models mark what is before a gap, behind it, and where to fill it.
_INFILL_TOKENS = (
    ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"),
    ("<fim_prefix>", "<fim_suffix>", "<fim_middle>"),
    ("<PRE>", "<SUF>", "<MID>"),
    ("[PREFIX]", "[SUFFIX]", "[MIDDLE]"),
)


def own_copy(tokenizer: Any) -> Tokenizer | None:
    """The tokenizer behind a fast Hugging Face tokenizer, for our own use; None behind others."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if not isinstance(backend, Tokenizer):
        return None
    # A copy: vLLM's threads change the settings of theirs while they use it.
    own: Tokenizer = Tokenizer.from_str(backend.to_str())
    own.no_truncation()
    own.no_padding()
    return own


def infill_tokens(tokenizer: Any) -> tuple[str, str, str]:
    """How a tokenizer marks what is before a gap, behind it, and where to fill it.

    Raises:
        InvalidRequest: it has no tokens for that.
    """
    vocabulary = tokenizer.get_vocab()
    for tokens in _INFILL_TOKENS:
        if all(token in vocabulary for token in tokens):
            return tokens
    raise InvalidRequest("The model's tokenizer has no tokens to fill a gap with", param="suffix")


class Tokens:
    """One model's tokenizer.

    Args:
        tokenizer: a Hugging Face one.
        own: our copy of what is behind it, or None where that is not a fast one.
        lower_case: whether the model wants its texts in lower case.
    """

    def __init__(self, tokenizer: Any, own: Tokenizer | None, *, lower_case: bool) -> None:
        self._tokenizer = tokenizer
        self._own = own
        self._lower_case = lower_case

    async def tokenize(
        self, texts: Sequence[str], *, special: bool, cut: Cut | None
    ) -> list[Sequence[int]]:
        """See `Engine.tokenize`."""
        if sum(map(len, texts)) <= INLINE_CHARACTERS:
            return self._tokenize(texts, special=special, cut=cut)
        return await asyncio.to_thread(self._tokenize, texts, special=special, cut=cut)

    def _tokenize(
        self, texts: Sequence[str], *, special: bool, cut: Cut | None
    ) -> list[Sequence[int]]:
        if self._lower_case:
            texts = [text.lower() for text in texts]
        own = self._own
        if own is None:
            return [self._encode_slowly(text, special, cut) for text in texts]
        found: list[Sequence[int]] = []
        for batch in _batches(texts):
            # The event loop runs on meanwhile, which it does not while `encode` works.
            encodings = own.encode_batch(batch, add_special_tokens=special and cut is None)
            if cut is not None:
                encodings = [_cut(own, encoding, None, special, cut) for encoding in encodings]
            found += [encoding.ids for encoding in encodings]
        return found

    def _encode_slowly(self, text: str, special: bool, cut: Cut | None) -> Sequence[int]:
        """Encode a text by a tokenizer that cannot keep its special tokens when it cuts."""
        token_ids: list[int] = self._tokenizer.encode(text, add_special_tokens=special)
        if cut is None:
            return token_ids
        return token_ids[-cut.tokens :] if cut.side == "left" else token_ids[: cut.tokens]

    async def pair(
        self, query: str, document: str, cut: Cut | None
    ) -> tuple[list[int], int | None]:
        """The token ids of a pair, and where the document begins, if the model is told that.

        Raises:
            InvalidRequest: the tokenizer takes no pairs, or nothing is left after the cut.
        """
        if len(query) + len(document) <= INLINE_CHARACTERS:
            return self._pair(query, document, cut)
        return await asyncio.to_thread(self._pair, query, document, cut)

    def _pair(self, query: str, document: str, cut: Cut | None) -> tuple[list[int], int | None]:
        own = self._own
        if own is None:
            raise InvalidRequest("The model's tokenizer takes no pairs of texts", param="model")
        if self._lower_case:
            query, document = query.lower(), document.lower()
        if cut is None:
            (encoding,) = own.encode_batch([(query, document)])
        else:
            first, second = own.encode_batch([query, document], add_special_tokens=False)
            encoding = _cut(own, first, second, True, cut)
        if "token_type_ids" not in self._tokenizer.model_input_names:
            return encoding.ids, None
        kinds = encoding.type_ids
        return encoding.ids, kinds.index(1) if 1 in kinds else len(kinds)

    async def shortened(self, texts: Sequence[str], tokens: int) -> list[str]:
        """See `Engine.shortened`."""
        if sum(map(len, texts)) <= INLINE_CHARACTERS:
            return self._shortened(texts, tokens)
        return await asyncio.to_thread(self._shortened, texts, tokens)

    def _shortened(self, texts: Sequence[str], tokens: int) -> list[str]:
        if self._own is None:
            raise InvalidRequest("The model's tokenizer cannot shorten texts", param="model")
        short: list[str] = []
        for batch in _batches(texts):
            encodings = self._own.encode_batch(batch, add_special_tokens=False)
            for text, encoding in zip(batch, encodings, strict=True):
                if len(encoding) > tokens:
                    span = encoding.token_to_chars(tokens - 1)
                    text = text[: span[1]] if span else text
                short.append(text)
        return short

    def pieces(self, token_ids: Sequence[int]) -> list[str]:
        """See `Engine.pieces`; an id that only the model's table has is empty."""
        return [piece or "" for piece in self._tokenizer.convert_ids_to_tokens(list(token_ids))]


def _batches(texts: Sequence[str]) -> Iterator[list[str]]:
    """All texts, so many at a time that they are not too large together."""
    batch: list[str] = []
    size = 0
    for text in texts:
        if batch and size + len(text) > BATCH_CHARACTERS:
            yield batch
            batch, size = [], 0
        batch.append(text)
        size += len(text)
    if batch:
        yield batch


def _cut(
    own: Tokenizer, first: Encoding, second: Encoding | None, special: bool, cut: Cut
) -> Encoding:
    """Shorten what has no special tokens yet, the longer of two before the other, and add them.

    Raises:
        InvalidRequest: nothing is left.
    """
    room = cut.tokens - (own.num_special_tokens_to_add(second is not None) if special else 0)
    if room < (1 if second is None else 2):
        raise InvalidRequest(
            f"'truncate_prompt_tokens' of {cut.tokens} leaves nothing of the text",
            param="truncate_prompt_tokens",
        )
    if second is None:
        _truncate(first, room, cut.side)
    elif len(first) + len(second) > room:
        shorter = min(len(first), len(second), room // 2)
        if len(first) <= len(second):
            _truncate(first, shorter, cut.side)
            _truncate(second, room - shorter, cut.side)
        else:
            _truncate(second, shorter, cut.side)
            _truncate(first, room - shorter, cut.side)
    return own.post_process(first, second, special)


def _truncate(encoding: Encoding, length: int, side: Side) -> None:
    """Shorten by half at most, again and again: what is cut off is kept in parts of the new length,
    and what follows takes the square of their number."""
    while len(encoding) > length:
        encoding.truncate(max(length, (len(encoding) + 1) // 2), direction=side)
