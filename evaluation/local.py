"""Reads a benchmark's files, local or remote, as datasets by split."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tinymathreason.answers import read_final
from tinymathreason.cli import InputError
from tinymathreason.listing import list_files, warn_empty
from tinymathreason.rows import Row, records

SPLITS = ("train", "validation", "dev", "test")
"""Names of splits, in the order in which worked examples are taken from them."""
Columns = Mapping[str, type]
"""The columns that a row must have, with their types."""


def splits(
    data: str, subset: str, wanted: str, columns: Columns, groups: Sequence[str] = ()
) -> dict[str, Any]:
    """Datasets by split: of files (a path or a pattern) of one split, or of a folder.

    Files are read as the ``wanted`` split. A folder is laid out as on the hub:
    ``SUBSET/test-*.parquet``, ``data/test-*.parquet``, ``data/test-*.jsonl`` or ``test.jsonl``. The
    columns of ``groups`` are kept, as text, where every row has them. Raises `InputError` naming
    the file and the row that is wrong.
    """
    if not Path(data).is_dir():
        files = list_files("data", data)
        warn_empty("data", files)
        return {wanted: _read([file.path for file in files], columns, groups)}
    datasets = {}
    for split in dict.fromkeys((*SPLITS, wanted)):
        for folder in (Path(data, subset), Path(data, subset, "data"), Path(data)):
            forms = (f"{split}-*.parquet", f"{split}-*.jsonl", f"{split}.jsonl")
            paths = sorted(path for form in forms for path in folder.glob(form))
            if paths:
                _check_whole(paths)
                datasets[split] = _read([str(path) for path in paths], columns, groups)
                break
    if wanted not in datasets:
        raise InputError(f"data: {data}: no {wanted}-*.parquet or .jsonl in it")
    return datasets


def _check_whole(paths: Sequence[Path]) -> None:
    """Raise `InputError` when a split's files are incomplete, unreadable or of two formats."""
    for path in paths:
        list_files("data", str(path))
    kinds = {path.suffix for path in paths}
    if len(kinds) > 1:
        names = " and ".join(path.name for path in paths)
        raise InputError(f"data: {paths[0].parent} has {names}; name one of them")
    counts = {match[1] for path in paths if (match := re.search(r"-of-(\d+)$", path.stem))}
    if counts and counts != {f"{len(paths):05}"}:
        raise InputError(f"data: {paths[0].parent}: {len(paths)} of {max(counts)} files available")


def _read(files: Sequence[str], columns: Columns, groups: Sequence[str]) -> Any:
    """The columns of every row of some files as one dataset."""
    from datasets import Dataset

    rows, parts = [], []
    for file in files:
        kind = "parquet" if file.endswith(".parquet") else "jsonl"
        for record in records(file, kind):
            value = record.value
            fault = record.fault[1] if record.fault else _fault(value, columns)
            if fault:
                raise Row(file, record.number, why=fault, line=record.line).error
            rows.append({name: value[name] for name in columns})
            parts.append({name: str(value[name]) for name in groups if value.get(name) is not None})
    if not rows:
        raise InputError(f"{files[0]}: no problem in it")
    known = [name for name in groups if all(name in part for part in parts)]
    for row, part in zip(rows, parts, strict=True):
        row.update({name: part[name] for name in known})
    try:
        return Dataset.from_list(rows)
    except (ValueError, TypeError, OverflowError) as error:  # what Arrow raises for odd values
        raise InputError(f"{files[0]}: its rows do not form a table: {error}") from error


def _fault(row: Any, columns: Columns) -> str | None:
    """What is wrong with a row; None when nothing is."""
    if not isinstance(row, dict):
        return "is not an object"
    for name, kind in columns.items():
        if name not in row:
            return f"has no {name!r}"
        if not isinstance(row[name], kind) or isinstance(row[name], bool):
            return f"has a {name!r} that is not a {kind.__name__}"
    if columns.keys() == {"question", "answer"} and read_final(row["answer"]) is None:
        return "has no final line '#### number'"
    choices, right = _choices(row)
    if choices is not None and right not in choices:
        return f"has no choice {right!r}"
    return None


def _choices(row: dict[str, Any]) -> tuple[Sequence[Any] | None, Any]:
    """A row's choices and its right choice; None for a row without choices."""
    if "answerKey" in row:
        return row["choices"].get("label", []), row["answerKey"]
    if "endings" in row:
        return [str(i) for i in range(len(row["endings"]))], row["label"]
    if "choices" in row:
        return range(len(row["choices"])), row["answer"]
    return None, None
