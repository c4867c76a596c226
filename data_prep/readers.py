"""Files in the schemas of public datasets, or a generator, in; document texts out."""

import glob
import gzip
import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

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
        files = sorted(glob.glob(source.path, recursive=True))
        if not files:
            raise InputError(f"sources.{name}.path: no file matches {source.path!r}")
        reader = {"parquet": _parquet, "jsonl": _jsonl}[source.format]
        texts = itertools.chain.from_iterable(
            reader(Path(file), source.text_field) for file in files
        )
    return itertools.islice(texts, source.documents)


def _parquet(file: Path, text_field: str) -> Iterator[str]:
    import pyarrow
    import pyarrow.parquet

    row = 0
    try:
        table = pyarrow.parquet.ParquetFile(file)
        if text_field not in table.schema_arrow.names:
            raise InputError(f"{file}: no column {text_field!r}; it has {table.schema_arrow.names}")
        for batch in table.iter_batches(columns=[text_field]):
            for text in batch.column(0).to_pylist():
                yield _checked(text, file, row)
                row += 1
    except (pyarrow.ArrowException, OSError) as error:
        raise InputError(f"{file}: unreadable after row {row}: {error}") from error


def _jsonl(file: Path, text_field: str) -> Iterator[str]:
    import zstandard

    openers: dict[str, Callable[..., IO[str]]] = {".zst": zstandard.open, ".gz": gzip.open}
    row = 0
    try:
        with openers.get(file.suffix, open)(file, "rt", encoding="utf-8") as lines:
            for line in lines:
                values = json.loads(line)
                if not isinstance(values, dict) or text_field not in values:
                    raise InputError(f"{file}: row {row} has no key {text_field!r}")
                yield _checked(values[text_field], file, row)
                row += 1
    except (zstandard.ZstdError, EOFError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputError(f"{file}: unreadable at row {row}: {error}") from error


def _checked(text: object, file: Path, row: int) -> str:
    if not isinstance(text, str):
        raise InputError(f"{file}: row {row} holds {type(text).__name__}, not text")
    return text
