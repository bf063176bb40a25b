"""Takes text, hands on the tokenizer: byte-level BPE of exactly 8,192 entries."""

from collections.abc import Iterable
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from tiny_model.chat import CHAT_TEMPLATE, END_OF_TEXT, MARKERS, SPECIAL, TURN_END

VOCABULARY = 8192
CONTEXT = 16384
# A space before a capital or a digit is a token of its own: a name or a number then has the same
# tokens in a question and between the quotes of JSON, so a small model can copy it exactly.
_SPLIT = (
    r" ?\p{Ll}+|\p{Lu}\p{Ll}+|\p{Lu}+|\p{N}|\s*[\r\n]+|\s+(?!\S)"
    r"| ?[^\s\p{L}\p{N}]+|[\p{L}\p{M}]+|\s"
)


def train_tokenizer(texts: Iterable[str]) -> PreTrainedTokenizerFast:
    """Trains the tokenizer on texts.

    Raises:
        ValueError: the texts are too few to fill the vocabulary.
    """
    tokenizer = Tokenizer(models.BPE())
    steps: list[Any] = [
        pre_tokenizers.Split(Regex(_SPLIT), behavior="isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ]
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(steps)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY - len(MARKERS),
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.add_tokens([AddedToken(marker, normalized=False) for marker in MARKERS])
    if tokenizer.get_vocab_size() != VOCABULARY:
        raise ValueError(f"{tokenizer.get_vocab_size()} entries instead of {VOCABULARY}")
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=END_OF_TEXT,
        eos_token=TURN_END,
        pad_token=END_OF_TEXT,
        model_max_length=CONTEXT,
        clean_up_tokenization_spaces=False,
        chat_template=CHAT_TEMPLATE,
    )
