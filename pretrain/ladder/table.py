"""The table of results: one row a run, which is all that the fits read of a ladder."""

from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from pretrain.ladder.config import Ladder
from tinymathreason.cli import InputError
from tinymathreason.files import write_text
from tinymathreason.records.ladder_point import PointRecord

FILE = "results.csv"
TEXT = ("name", "group", "status", "size")
"""Columns that are not numbers."""
NUMBERS = (
    "parameters", "matrices", "tokens", "tokens_per_parameter", "steps", "batch_tokens", "rate",
    "weight_decay", "seed", "flops", "seconds", "cpu_seconds", "loss",
)  # fmt: skip
"""Columns that every table has, besides those by source (``loss/SOURCE``,
``bytes_per_token/SOURCE``, ``weight/SOURCE``) and by task (``bits/TASK``, ``correct/TASK``,
``problems/TASK``)."""


def collect(ladder: Ladder) -> pd.DataFrame:
    """The table of all finished points of a ladder, sorted by name.

    Raises `InputError` when there is none, and for a record that is damaged.
    """
    paths = sorted((ladder.run / "points").glob("*/point.json"))
    if not paths:
        raise InputError(
            f"{ladder.run}: no finished run; begin with: python -m pretrain.ladder run LADDER.yaml"
        )
    return from_records(PointRecord.load(path) for path in paths)


def from_records(records: Iterable[PointRecord]) -> pd.DataFrame:
    """The table of some points."""
    rows = []
    for record in records:
        row: dict[str, object] = {
            name: getattr(record, name)
            for name in (*TEXT, *NUMBERS)
            if name != "tokens_per_parameter"
        }
        row["tokens_per_parameter"] = record.tokens / record.parameters
        row |= {f"weight/{name}": share for name, share in record.weights.items()}
        for name, source in record.sources.items():
            row[f"loss/{name}"] = source.nats_per_token
            row[f"bytes_per_token/{name}"] = source.bytes / source.tokens
        row |= {f"bits/{name}": task.bits_per_byte for name, task in record.tasks.items()}
        for name, accuracy in record.accuracies.items():
            row[f"correct/{name}"] = accuracy.correct
            row[f"problems/{name}"] = accuracy.problems
        rows.append(row)
    table = pd.DataFrame(rows)
    others = sorted(set(table.columns) - {*TEXT, *NUMBERS})
    return table[[*TEXT, *NUMBERS, *others]].sort_values("name", ignore_index=True)


def write(table: pd.DataFrame, path: Path) -> None:
    """Write a table `as_csv`; a crash leaves the old file or the new."""
    write_text(path, as_csv(table))


def as_csv(table: pd.DataFrame) -> str:
    """A table as CSV, its numbers to seven digits."""
    return str(table.to_csv(index=False, float_format="%.7g"))


def read(path: Path) -> pd.DataFrame:
    """Read a table; `InputError` for a file that is missing, or that is not such a table."""
    if not path.is_file():
        raise InputError(f"{path}: no such file; it is written by pretrain.ladder run")
    try:
        table = pd.read_csv(path, dtype=dict.fromkeys(TEXT, str))
    except (ValueError, pd.errors.ParserError) as error:
        raise InputError(f"{path}: not a table of results: {error}") from error
    if missing := [name for name in (*TEXT, *NUMBERS) if name not in table]:
        raise InputError(f"{path}: not a table of results: no column {', '.join(missing)}")
    others = [name for name in table.columns if name not in TEXT]
    if wrong := [name for name in others if not pd.api.types.is_numeric_dtype(table[name])]:
        raise InputError(f"{path}: column {wrong[0]!r} has what is not a number")
    return table
