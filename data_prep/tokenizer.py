"""The tokenizer: a byte-level BPE, in a folder that AutoTokenizer reads.

Digits are single tokens, so that the model sees place values; every byte has an entry, so that any
text round-trips; and special tokens inside a document are encoded as plain text.
"""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tokenizers
from tokenizers import decoders, models, pre_tokenizers, trainers

from tinymathreason import vocabulary
from tinymathreason.chatml import EOS, PAD, SPECIAL_TOKENS
from tinymathreason.cli import InputError
from tinymathreason.files import write_json

# Qwen2's split pattern, in which \p{N} is a single digit. Its groups are contractions, words with
# the space or sign before them, one digit, signs, line ends, and the remaining white space.
SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def train(texts: Iterable[str], vocab_size: int, exactly: bool = True) -> tokenizers.Tokenizer:
    """Train a byte-level BPE of ``vocab_size`` entries, special tokens included.

    When the texts have too few distinct pairs for that many entries, it has fewer; ``exactly``
    raises `InputError` then.
    """
    tokenizer = tokenizers.Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(tokenizers.Regex(SPLIT), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    if exactly and tokenizer.get_vocab_size() != vocab_size:
        raise InputError(
            f"tokenizer.train.vocab_size: {vocab_size} requested, but the sources yield only "
            f"{tokenizer.get_vocab_size()} entries; request fewer or add text"
        )
    return tokenizer


def save(tokenizer: tokenizers.Tokenizer, folder: Path) -> None:
    """Write ``tokenizer.json`` and ``tokenizer_config.json`` for transformers 4 and 5."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "pad_token": PAD,
        "eos_token": EOS,
        "clean_up_tokenization_spaces": False,
    }
    write_json(folder / "tokenizer_config.json", config)


def load(folder: Path) -> tokenizers.Tokenizer:
    """Load a folder's tokenizer; it encodes special tokens in a text as plain text.

    Raises `InputError` when the folder has none, or one whose special tokens have other ids.
    """
    ids = vocabulary.read(folder)
    special = [ids.get(token) for token in SPECIAL_TOKENS]
    if special != list(range(len(SPECIAL_TOKENS))):
        raise InputError(f"{folder}: special tokens have the ids {special}; expected 0, 1, 2, ...")
    try:
        tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    except Exception as error:  # the library raises nothing narrower
        raise InputError(f"{folder}: tokenizer.json cannot be loaded: {error}") from error
    tokenizer.encode_special_tokens = True
    return tokenizer


class Encoder:
    """Encodes many texts with gigatoken: the same ids as the tokenizer's own, many times faster."""

    def __init__(self, folder: Path) -> None:
        """Load the tokenizer of a folder; see `load` for errors."""
        import gigatoken

        load(folder)
        content = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
        # Without a list of special tokens, gigatoken cannot find any in a document's text.
        tokens = content["added_tokens"]
        content["added_tokens"] = [token for token in tokens if not token["special"]]
        self._tokenizer = gigatoken.Tokenizer.from_json(json.dumps(content))

    def __call__(self, texts: list[str] | list[bytes]) -> Iterator[npt.NDArray[np.uint32]]:
        """The ids of each text, uint32[length]."""
        if not texts:
            return
        # In one thread, since a build runs one task per core.
        layout: Any = self._tokenizer.encode_batch(texts, parallel=False).layout
        ends, ids = np.asarray(layout.offsets.data), np.asarray(layout.content.data)
        for start, end in zip(ends[:-1].tolist(), ends[1:].tolist(), strict=True):
            yield ids[start:end]

    def decode(self, ids: npt.NDArray[np.uint32]) -> bytes:
        """The bytes of the ids."""
        return bytes(self._tokenizer.decode(ids))
