"""Files in the schemas of public datasets, here or remote, in; rows of text out, none lost.

A row that holds no text carries the reason, so that the caller decides whether that is an error.
"""

import glob
import io
import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any

from tinymathreason.cli import InputError

BATCH = 256
"""Rows of a parquet file decoded at once; documents can be megabytes long."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a file, or what stands where rows should be."""

    file: str
    """The file, or the dataset, it comes from."""
    number: int
    """Its place in there, from 0."""
    values: tuple[str, ...] = ()
    """The texts under the columns asked for; empty with a reason."""
    reason: str | None = None
    """Why there is no text: one of `data_prep.documents.BAD_INPUT`."""
    why: str = ""
    """The reason in words."""

    @property
    def error(self) -> InputError:
        """The reason, with the file and the row, and the line where a row is one."""
        line = f" (line {self.number + 1})" if ".jsonl" in Path(self.file).suffixes else ""
        return InputError(f"{self.file}: row {self.number} {self.why}{line}")


class UnreachableError(InputError):
    """What another machine holds cannot be had."""


@contextmanager
def reaching(what: str) -> Iterator[None]:
    """Turn whatever goes wrong into one line; the libraries log each of their attempts."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    except Exception as error:  # each library raises its own kinds
        raise UnreachableError(f"{what}: {error}") from error
    finally:
        logging.disable(before)


def list_files(name: str, pattern: str) -> list[tuple[str, int]]:
    """The files that match a glob, here or remote, with their bytes; sorted by name.

    Raises `InputError` naming ``name`` when there are none, or when the place cannot be reached.
    """
    if "://" not in pattern:
        found = [
            (path, Path(path).stat().st_size)
            for path in sorted(glob.glob(pattern, recursive=True))
            if Path(path).is_file()
        ]
    else:
        import fsspec.core

        with reaching(f"{name}: {pattern!r} cannot be listed"):
            system, path = fsspec.core.url_to_fs(pattern)
            listed = system.glob(path, detail=True)
        found = sorted(
            (system.unstrip_protocol(path), int(entry["size"])) for path, entry in listed.items()
        )
    if not found:
        hint = f"; it is a folder, try {pattern.rstrip('/')}/*" if Path(pattern).is_dir() else ""
        raise InputError(f"{name}: no file matches {pattern!r}{hint}")
    return found


def read_columns(
    name: str, kind: str, pattern: str, columns: Sequence[str]
) -> Iterator[tuple[str, ...]]:
    """The texts under ``columns`` of every row of the files that match a glob.

    ``kind`` is parquet, jsonl (one object a line) or json (one list of objects). Raises
    `InputError` naming ``name``, or the file and the row, for what cannot be read.
    """
    for file, _ in list_files(name, pattern):
        for row in read_file(file, kind, columns):
            if row.reason is not None:
                raise row.error
            yield row.values


def read_file(file: str, kind: str, columns: Sequence[str]) -> Iterator[Row]:
    """Every row of one file; after what cannot be read there is one row that says so.

    Raises `UnreachableError` when another machine stops giving the file: it may be whole.
    """
    rows = {"parquet": _parquet, "jsonl": _json_lines, "json": _json, "text": _whole}[kind]
    number = 0
    try:
        for row in rows(file, columns):
            number = row.number + 1
            yield row
    except InputError:
        raise
    except Exception as error:  # each remote system raises its own kinds
        if not _is_damage(error):
            if "://" not in file:
                raise
            message = f"{file}: row {number} cannot be fetched: {error}; the same command goes on"
            raise UnreachableError(message) from error
        yield unreadable(file, number, error)


def unreadable(file: str, number: int, error: Exception) -> Row:
    """What stands where rows should be."""
    why = " ".join(f"is the first of an unreadable part: {error}".split())
    return Row(file, number, reason="unreadable_file", why=why)


def _is_damage(error: Exception) -> bool:
    """Whether a file's content is wrong: Arrow says so in plain errors, without a number."""
    return type(error) is OSError and error.errno is None


def _open(file: str) -> IO[bytes]:
    """A file's content, decompressed by its suffix.

    Arrow's stream, unlike zstandard's reader, tells when a compressed file ends too early.
    """
    import pyarrow

    if "://" not in file:
        return io.BufferedReader(pyarrow.input_stream(file), 1 << 20)
    import fsspec

    return decompressed(fsspec.open(file, "rb").open(), file, 1 << 20)


def decompressed(stored: IO[bytes], file: str, buffer: int) -> IO[bytes]:
    """The content of an open file, decompressed by the suffix of its name."""
    import pyarrow

    stream = pyarrow.PythonFile(stored, "r")
    if file.endswith((".zst", ".gz", ".bz2")):
        stream = pyarrow.CompressedInputStream(stream, pyarrow.Codec.detect(file).name)
    return io.BufferedReader(stream, buffer)


def _json_lines(file: str, columns: Sequence[str]) -> Iterator[Row]:
    with _open(file) as lines:
        for number, line in enumerate(lines):
            try:
                row = json.loads(line)
            except UnicodeDecodeError as error:
                yield Row(file, number, reason="invalid_unicode", why=f"is not UTF-8: {error}")
            except (ValueError, RecursionError) as error:
                yield Row(file, number, reason="invalid_json", why=f"is not JSON: {error}")
            else:
                yield row_of(file, number, row, columns)


def _json(file: str, columns: Sequence[str]) -> Iterator[Row]:
    with _open(file) as stream:
        try:
            values = json.load(stream)
        except (ValueError, RecursionError) as error:
            raise OSError(str(error)) from error
    if not isinstance(values, list):
        raise OSError("expected one list of objects")
    for number, row in enumerate(values):
        yield row_of(file, number, row, columns)


def _whole(file: str, columns: Sequence[str]) -> Iterator[Row]:
    with _open(file) as stream:
        data = stream.read()
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        yield Row(file, 0, reason="invalid_unicode", why=f"is not UTF-8: {error}")
    else:
        yield Row(file, 0, tuple(text if k == 0 else file for k in range(len(columns))))


def _parquet(file: str, columns: Sequence[str]) -> Iterator[Row]:
    import fsspec
    import pyarrow
    import pyarrow.parquet

    try:
        with fsspec.open(file, "rb") as stream:
            table = pyarrow.parquet.ParquetFile(stream)
            names = table.schema_arrow.names
            for column in columns:
                if column not in names:
                    raise InputError(f"{file}: there is no {column!r}; it has {', '.join(names)}")
            number = 0
            for batch in table.iter_batches(columns=list(columns), batch_size=BATCH):
                for values in zip(*(_column(batch, column) for column in columns), strict=True):
                    row = dict(zip(columns, values, strict=True))
                    yield row_of(file, number, row, columns)
                    number += 1
    except pyarrow.ArrowException as error:
        raise OSError(str(error)) from error


def _column(batch: Any, name: str) -> list[Any]:
    import pyarrow

    column = batch.column(name)
    try:
        values: list[Any] = column.to_pylist()
    except UnicodeDecodeError:
        # Arrow stores text unchecked: bytes stand for what is none.
        values = [decoded(value) for value in column.cast(pyarrow.binary()).to_pylist()]
    return values


def decoded(value: bytes | None) -> str | bytes | None:
    """The text of some bytes, or the bytes themselves when they are no UTF-8."""
    try:
        return None if value is None else value.decode("utf-8")
    except UnicodeDecodeError:
        return value


def row_of(file: str, number: int, row: Any, columns: Sequence[str]) -> Row:
    """The texts under ``columns`` of an object, or the reason why one is none.

    The first column holds a text; the others may hold a number, which becomes its digits.
    """
    bad = partial(Row, file, number)
    if not isinstance(row, dict):
        return bad(reason="invalid_json", why=f"is no object but {type(row).__name__}")
    values = []
    for k, column in enumerate(columns):
        value = row.get(column)
        if value is None:
            found = "null there" if column in row else f"it has {', '.join(sorted(row))}"
            reason = "missing_id" if k else "missing_text"
            return bad(reason=reason, why=f"has no {column!r}; {found}")
        if k and isinstance(value, int):
            value = str(value)
        if isinstance(value, bytes):
            return bad(reason="invalid_unicode", why=f"holds no UTF-8 under {column!r}")
        if not isinstance(value, str):
            kind = type(value).__name__
            return bad(reason="not_text", why=f"holds {kind} under {column!r}, not text")
        values.append(value)
    return bad(tuple(values))
