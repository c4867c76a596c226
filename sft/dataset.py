"""The folder of prepared examples: its files, and how trainers read them."""

from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet

from data_prep.mixture import faults
from evaluation.problems import NumericProblem
from tinymathreason.answers import read_final
from tinymathreason.cli import InputError
from tinymathreason.records.examples import ExamplesManifest

MANIFEST = "manifest.json"
"""File with counts, inputs and hashes; written last."""
SPLITS = ("train", "eval")
"""Examples to train on, and those held out for the evaluation loss."""
COLUMNS = ["input_ids", "labels"]
"""The columns that a trainer reads."""


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
"""The stored columns: token ids for a trainer, messages for people."""


def load(folder: Path) -> tuple[Any, Any]:
    """The training and the held-out examples: datasets with ``input_ids`` and ``labels``.

    ``labels`` are the ids that the loss sees and -100 elsewhere, both list[int32] of equal length.
    Raises `InputError` if the folder is damaged.
    """
    from datasets import Dataset

    check(folder)
    train, held_out = (Dataset(_table(folder, split, COLUMNS)) for split in SPLITS)
    return train, held_out


def held_out_problems(folder: Path) -> list[NumericProblem]:
    """The distinct held-out questions whose answer is a plain number, in order."""
    check(folder)
    table = _table(folder, "eval", ["messages"])
    problems: dict[str, NumericProblem] = {}
    for messages in table["messages"].to_pylist():
        if [message["role"] for message in messages] != ["user", "assistant"]:
            continue
        question, answer = messages[0]["content"], read_final(messages[-1]["content"])
        if answer is not None:
            problems.setdefault(question, NumericProblem(question, answer))
    return list(problems.values())


def damage(folder: Path) -> str:
    """The difference between the folder and its manifest, in words; empty if there is none."""
    return faults(folder, manifest(folder).files)


def check(folder: Path) -> None:
    """Raise `InputError` if the folder is damaged."""
    if difference := damage(folder):
        raise InputError(f"{folder} is damaged: {difference}; remove it and prepare it again")


def _table(folder: Path, split: str, columns: list[str]) -> Any:
    path = folder.absolute() / f"{split}.parquet"  # Arrow reads a leading ~ as the home folder
    try:
        return pyarrow.parquet.read_table(path, columns=columns, page_checksum_verification=True)
    except (pyarrow.ArrowException, OSError) as error:
        raise InputError(f"{path}: {error}; remove {folder} and prepare it again") from error


def manifest(folder: Path) -> ExamplesManifest:
    """The manifest of a folder; `InputError` when there is none."""
    return ExamplesManifest.load(folder / MANIFEST)
