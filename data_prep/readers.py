"""Files in the schemas of public datasets, or a generator, in; texts out, row by row."""

import glob
import io
import itertools
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from data_prep.arithmetic import GENERATORS
from data_prep.recipe import Source
from tinymathreason.cli import InputError


def read(name: str, source: Source, seed: int) -> Iterator[str]:
    """The texts of one source, in the order of the sorted file names and of their rows.

    Raises `InputError` naming the source, the file and the row for what cannot be read.
    """
    if source.format == "generator":
        texts = GENERATORS[source.path](seed)
    else:
        rows = read_columns(f"sources.{name}.path", source.format, source.path, [source.text_field])
        texts = (text for (text,) in rows)
    return itertools.islice(texts, source.documents)


def read_columns(
    name: str, kind: str, pattern: str, columns: Sequence[str]
) -> Iterator[tuple[str, ...]]:
    """The texts under ``columns`` of every row of the files that match a glob.

    ``kind`` is parquet, jsonl (one object a line) or json (one list of objects). Raises
    `InputError` naming ``name``, or the file and the row, for what cannot be read.
    """
    files = sorted(glob.glob(pattern, recursive=True))
    if not files:
        raise InputError(f"{name}: no file matches {pattern!r}")
    for file in files:
        number = -1
        try:
            for number, row in enumerate(_rows(Path(file), kind, columns)):
                yield tuple(_text(row, column, file, number) for column in columns)
        except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
            raise InputError(f"{file}: unreadable at row {number + 1}: {error}") from error


def _rows(file: Path, kind: str, columns: Sequence[str]) -> Iterator[Any]:
    import pyarrow
    import pyarrow.parquet

    if kind == "parquet":
        try:
            table = pyarrow.parquet.ParquetFile(file)
            # Without any of the columns, all are read: the error then names what there is.
            known = [name for name in columns if name in table.schema_arrow.names] or None
            for batch in table.iter_batches(columns=known):
                yield from batch.to_pylist()
        except pyarrow.ArrowException as error:
            raise OSError(str(error)) from error
        return
    # Arrow decompresses by the file's suffix and, unlike zstandard, tells a truncated stream.
    with io.TextIOWrapper(pyarrow.input_stream(file), encoding="utf-8") as lines:
        if kind == "jsonl":
            yield from map(json.loads, lines)
        else:
            values = json.load(lines)
            if not isinstance(values, list):
                raise OSError("expected one list of objects")
            yield from values


def _text(row: Any, column: str, file: str, number: int) -> str:
    if not isinstance(row, dict) or column not in row:
        found = f"; it has {', '.join(sorted(row))}" if isinstance(row, dict) and row else ""
        raise InputError(f"{file}: row {number} has no {column!r}{found}")
    text = row[column]
    if not isinstance(text, str):
        raise InputError(
            f"{file}: row {number} holds {type(text).__name__} under {column!r}, not text"
        )
    return text
