"""Reads the entries of a tokenizer and their ids, without a tokenizer library."""

from pathlib import Path

from tinymathreason.cli import InputError
from tinymathreason.files import read_json


def read(folder: Path) -> dict[str, int]:
    """Every entry of ``folder/tokenizer.json``, special tokens included, with its id.

    Raises `InputError` when the file is missing or is not a tokenizer.
    """
    file = folder / "tokenizer.json"
    if not file.is_file():
        raise InputError(f"{folder}: no tokenizer.json there")
    content = read_json(file)
    try:
        ids = {
            **content["model"]["vocab"],
            **{t["content"]: t["id"] for t in content["added_tokens"]},
        }
    except (KeyError, TypeError) as error:
        raise InputError(f"{file}: not a tokenizer: {error!r}") from error
    if not ids or not all(isinstance(number, int) for number in ids.values()):
        raise InputError(f"{file}: not a tokenizer: its vocabulary has no ids")
    return ids


def check_size(folder: Path, vocab_size: int) -> dict[str, int]:
    """`read`; `InputError` unless the number of entries is ``vocab_size``."""
    ids = read(folder)
    size = max(ids.values()) + 1
    if size != vocab_size:
        raise InputError(f"{folder}: the tokenizer has {size} entries, vocab_size is {vocab_size}")
    return ids
