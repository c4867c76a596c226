"""Reads the entries of a tokenizer and their ids, without loading the tokenizer."""

from pathlib import Path
from typing import Any

from tinymathreason.cli import InputError
from tinymathreason.files import read_json

FAST, PIECES = "tokenizer.json", "tokenizer.model"
"""A tokenizer of Hugging Face's library, and one of SentencePiece."""


def file(folder: Path) -> Path:
    """The file of a folder's tokenizer: `FAST`, else `PIECES`; `InputError` without either."""
    for name in (FAST, PIECES):
        if (folder / name).is_file():
            return folder / name
    raise InputError(f"{folder}: no {FAST} there, and no {PIECES}")


def read(folder: Path) -> dict[str, int]:
    """Every entry of a folder's tokenizer, special tokens included, with its id.

    A SentencePiece model's are followed by those of ``added_tokens.json``. Raises `InputError` when
    the file is missing or is not a tokenizer.
    """
    source = file(folder)
    if source.name == FAST:
        content = read_json(source)
        try:
            entries = content["model"]["vocab"]
            if isinstance(entries, list):  # of a Unigram model: pieces with their scores
                entries = {piece: number for number, (piece, _) in enumerate(entries)}
            ids = {**entries, **{t["content"]: t["id"] for t in content["added_tokens"]}}
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"{source}: not a tokenizer: {error!r}") from error
    else:
        pieces = sentencepiece(folder)
        ids = {pieces.id_to_piece(number): number for number in range(pieces.get_piece_size())}
        if (folder / "added_tokens.json").is_file():
            added = read_json(folder / "added_tokens.json")
            if not isinstance(added, dict):
                raise InputError(f"{folder / 'added_tokens.json'}: expected tokens with their ids")
            ids |= added
    if not ids or not all(isinstance(number, int) for number in ids.values()):
        raise InputError(f"{source}: not a tokenizer: its vocabulary has no ids")
    return ids


def sentencepiece(folder: Path) -> Any:
    """SentencePiece's processor of ``folder/tokenizer.model``.

    Raises `InputError` when the file is not SentencePiece's.
    """
    from sentencepiece import SentencePieceProcessor

    try:
        return SentencePieceProcessor(model_file=str(folder / PIECES))
    except (OSError, RuntimeError) as error:
        raise InputError(f"{folder / PIECES}: not a SentencePiece model") from error


def check_size(folder: Path, vocab_size: int, may_be_smaller: bool = False) -> None:
    """Raise `InputError` unless a folder's tokenizer has ``vocab_size`` entries.

    It may have fewer with ``may_be_smaller``: an open model can have rows without an entry.
    """
    size = max(read(folder).values()) + 1
    if size > vocab_size or (size < vocab_size and not may_be_smaller):
        raise InputError(f"{folder}: the tokenizer has {size} entries, vocab_size is {vocab_size}")
