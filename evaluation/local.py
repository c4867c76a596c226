"""Files of a benchmark on this machine, or behind an address, in; its splits as datasets out."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tinymathreason.answers import read_final
from tinymathreason.cli import InputError
from tinymathreason.listing import list_files, warn_empty
from tinymathreason.rows import Row, records

SPLITS = ("train", "validation", "dev", "test")
"""Names of splits, those that examples are taken from first."""
Columns = Mapping[str, type]
"""What a row must hold, by name, and of which kind."""


def splits(data: str, subset: str, asked: str, columns: Columns) -> dict[str, Any]:
    """Datasets by split: of a file, or a glob of files, that is the asked split; or of a folder.

    A folder is laid out as on the hub: ``SUBSET/test-*.parquet``, ``data/test-*.parquet`` or
    ``test.jsonl``. Raises `InputError` naming the file and the row of what is wrong.
    """
    if not Path(data).is_dir():
        files = list_files("data", data)
        warn_empty("data", files)
        return {asked: _read([file.path for file in files], columns)}
    datasets = {}
    for split in SPLITS:
        for folder in (Path(data, subset), Path(data, subset, "data"), Path(data)):
            paths = sorted([*folder.glob(f"{split}-*.parquet"), *folder.glob(f"{split}.jsonl")])
            if paths:
                _check_whole(paths)
                datasets[split] = _read([str(path) for path in paths], columns)
                break
    if asked not in datasets:
        raise InputError(f"data: {data}: no {asked}-*.parquet or .jsonl in it")
    return datasets


def _check_whole(paths: Sequence[Path]) -> None:
    """Raise `InputError` when files of a split are missing, cannot be read, or hold it twice."""
    for path in paths:
        list_files("data", str(path))
    kinds = {path.suffix for path in paths}
    if len(kinds) > 1:
        names = " and ".join(path.name for path in paths)
        raise InputError(f"data: {paths[0].parent} has {names}; name one of them")
    counts = {match[1] for path in paths if (match := re.search(r"-of-(\d+)$", path.stem))}
    if counts and counts != {f"{len(paths):05}"}:
        raise InputError(f"data: {paths[0].parent}: {len(paths)} files are there of {max(counts)}")


def _read(files: Sequence[str], columns: Columns) -> Any:
    """The columns of every row of some files as one dataset."""
    from datasets import Dataset

    rows = []
    for file in files:
        kind = "parquet" if file.endswith(".parquet") else "jsonl"
        for record in records(file, kind):
            value = record.value
            fault = record.fault[1] if record.fault else _fault(value, columns)
            if fault:
                raise Row(file, record.number, why=fault, line=record.line).error
            rows.append({name: value[name] for name in columns})
    if not rows:
        raise InputError(f"{files[0]}: no problem in it")
    try:
        return Dataset.from_list(rows)
    except (ValueError, TypeError, OverflowError) as error:  # what Arrow makes of odd values
        raise InputError(f"{files[0]}: its rows make no table: {error}") from error


def _fault(row: Any, columns: Columns) -> str | None:
    """What is wrong with a row; None when nothing is."""
    if not isinstance(row, dict):
        return "is no object"
    for name, kind in columns.items():
        if name not in row:
            return f"has no {name!r}"
        if not isinstance(row[name], kind) or isinstance(row[name], bool):
            return f"has a {name!r} that is no {kind.__name__}"
    if columns.keys() == {"question", "answer"} and read_final(row["answer"]) is None:
        return "has no final line '#### number'"
    choices, right = _choices(row)
    if choices is not None and right not in choices:
        return f"has no choice {right!r}"
    return None


def _choices(row: dict[str, Any]) -> tuple[Sequence[Any] | None, Any]:
    """What a row's right choice is one of, and that choice; None where it has none."""
    if "answerKey" in row:
        return row["choices"].get("label", []), row["answerKey"]
    if "endings" in row:
        return [str(i) for i in range(len(row["endings"]))], row["label"]
    if "choices" in row:
        return range(len(row["choices"])), row["answer"]
    return None, None
