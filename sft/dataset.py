"""The folder of prepared examples: what it holds, and as TRL's trainers read it."""

from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet

from data_prep.mixture import faults
from evaluation.problems import NumericProblem
from tinymathreason.answers import read_final
from tinymathreason.cli import InputError
from tinymathreason.records.tuning import ExamplesManifest

MANIFEST = "manifest.json"
"""Counts, inputs and hashes; written last."""
SPLITS = ("train", "eval")
"""Examples to train on, and those held out for the evaluation loss."""
COLUMNS = ["input_ids", "labels"]
"""What a trainer reads."""


SCHEMA = pyarrow.schema(
    [
        ("input_ids", pyarrow.list_(pyarrow.int32())),
        ("labels", pyarrow.list_(pyarrow.int32())),
        (
            "messages",
            pyarrow.list_(pyarrow.struct({"role": pyarrow.string(), "content": pyarrow.string()})),
        ),
        ("source", pyarrow.string()),
    ]
)
"""What is stored of an example: as a trainer reads it, and as a reader does."""


def load(folder: Path) -> tuple[Any, Any]:
    """The training and the held-out examples: datasets with ``input_ids`` and ``labels``.

    ``labels`` are the ids that the loss sees and -100 elsewhere, both list[int32] of equal length.
    Raises `InputError` when the folder is not as it was written.
    """
    from datasets import Dataset

    check(folder)
    train, held_out = (Dataset(_table(folder, split, COLUMNS)) for split in SPLITS)
    return train, held_out


def held_out_problems(folder: Path) -> list[NumericProblem]:
    """The held-out questions whose answer is a plain number, in order, each once."""
    check(folder)
    table = _table(folder, "eval", ["messages"])
    found: dict[str, NumericProblem] = {}
    for messages in table["messages"].to_pylist():
        question, answer = messages[0]["content"], read_final(messages[-1]["content"])
        if answer is not None:
            found.setdefault(question, NumericProblem(question, answer))
    return list(found.values())


def damage(folder: Path) -> str:
    """What is not as it was written, in words; empty when nothing is."""
    return faults(folder, manifest(folder).files)


def check(folder: Path) -> None:
    """Raise `InputError` when the folder is not as it was written."""
    if found := damage(folder):
        raise InputError(f"{folder} is damaged: {found}; remove it and prepare it again")


def _table(folder: Path, split: str, columns: list[str]) -> Any:
    path = folder.absolute() / f"{split}.parquet"  # Arrow takes a relative ~ for a home
    try:
        return pyarrow.parquet.read_table(path, columns=columns, page_checksum_verification=True)
    except (pyarrow.ArrowException, OSError) as error:
        raise InputError(f"{path}: {error}; remove {folder} and prepare it again") from error


def manifest(folder: Path) -> ExamplesManifest:
    """The manifest of a folder; `InputError` when there is none."""
    return ExamplesManifest.load(folder / MANIFEST)
