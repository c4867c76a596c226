"""The tokenizer of a mixture: one trained here, or an open model's, in a folder for AutoTokenizer.

The one trained here is a byte-level BPE. Digits are single tokens, so that the model sees place
values, and every byte has an entry, so that any text round-trips. With every tokenizer, special
tokens inside a document are encoded as plain text.
"""

import json
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tokenizers
from tokenizers import decoders, models, pre_tokenizers, trainers

from tinymathreason.chatml import EOS, PAD, SPECIAL_TOKENS
from tinymathreason.cli import InputError
from tinymathreason.files import write_json
from tinymathreason.provenance import ASKING

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

    A SentencePiece model without tokenizer.json is converted by transformers. Raises `InputError`
    when the folder has no tokenizer, or one that cannot be loaded.
    """
    file = folder / "tokenizer.json"
    pieces = sorted(folder.glob("*.model"))
    if not file.is_file() and not pieces:
        raise InputError(f"{folder}: no tokenizer.json there, and no SentencePiece model")
    try:
        if file.is_file():
            tokenizer = tokenizers.Tokenizer.from_file(str(file))
        else:
            file = pieces[0]
            tokenizer = _converted(folder)
    except Exception as error:  # the libraries raise nothing narrower
        raise InputError(f"{folder}: {file.name} cannot be loaded: {error}") from error
    tokenizer.encode_special_tokens = True
    # A folder may hold the settings of someone's last batch.
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _converted(folder: Path) -> tokenizers.Tokenizer:
    """The tokenizer of a SentencePiece model, as transformers understands it."""
    from transformers import AutoTokenizer

    loaded = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    return tokenizers.Tokenizer.from_str(loaded.backend_tokenizer.to_str())


def copy(source: Path, folder: Path) -> None:
    """Copy the files of a model that decide its prompts, unchanged, and add what is missing.

    That is a tokenizer.json where the model has a SentencePiece model only. Raises `InputError` as
    `load` does.
    """
    tokenizer = load(source)
    for file in sorted({path for pattern in ASKING for path in source.glob(pattern)}):
        if file.is_file():
            place = folder / file.relative_to(source)
            place.parent.mkdir(exist_ok=True)
            shutil.copyfile(file, place)
    if not (folder / "tokenizer.json").is_file():
        tokenizer.save(str(folder / "tokenizer.json"))


class SlowEncoder:
    """Encodes texts with the tokenizer itself, in one thread."""

    def __init__(self, folder: Path) -> None:
        """Load the tokenizer of a folder; see `load` for errors."""
        self._tokenizer = load(folder)

    def __call__(self, texts: list[str]) -> Iterator[npt.NDArray[np.uint32]]:
        """The ids of each text, uint32[length]."""
        for text in texts:
            ids = self._tokenizer.encode(text, add_special_tokens=False).ids
            yield np.asarray(ids, dtype=np.uint32)


class Encoder:
    """Encodes many texts with gigatoken, many times faster than the tokenizer itself.

    It supports the usual kinds of BPE. `data_prep.encoding` proves that the ids are the same.
    """

    def __init__(self, folder: Path) -> None:
        """Load the tokenizer of a folder, which has a tokenizer.json; see `load` for errors."""
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
