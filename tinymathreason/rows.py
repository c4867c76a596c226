"""Files in the schemas of public datasets, here or remote, in; rows of text out, none lost.

A row that holds no text carries the reason, so that the caller decides whether that is an error.
"""

import codecs
import io
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any

from tinymathreason.cli import InputError
from tinymathreason.listing import UnreachableError, is_remote, list_files, open_file, tell_empty

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
    """Why there is no text: one of `data_prep.stages.documents.BAD_INPUT`."""
    why: str = ""
    """The reason in words."""
    line: int | None = None
    """Its line, from 1, in a file of lines; blank ones are no rows."""

    @property
    def error(self) -> InputError:
        """The reason, with the file and the row, and the line where a row is one."""
        line = f" (line {self.line})" if self.line else ""
        return InputError(f"{self.file}: row {self.number} {self.why}{line}")


@dataclass(frozen=True, slots=True)
class RawRow:
    """What stands in one row of a file, of any type, or a ``fault``: a reason, and it in words."""

    number: int
    line: int | None = None
    value: Any = None
    fault: tuple[str, str] | None = None


def read_columns(
    name: str, kind: str, pattern: str, columns: Sequence[str]
) -> Iterator[tuple[str, ...]]:
    """The texts under ``columns`` of every row of the files that match a glob.

    ``kind`` is parquet, jsonl (one object a line) or json (one list of objects). Raises
    `InputError` naming ``name``, or the file and the row, for what cannot be read.
    """
    files = list_files(name, pattern)
    tell_empty(name, files)
    for file in files:
        for row in read_file(file.path, kind, columns):
            if row.reason is not None:
                raise row.error
            yield row.values


def read_file(file: str, kind: str, columns: Sequence[str]) -> Iterator[Row]:
    """Every row of one file; after what cannot be read there is one row that says so.

    Raises `UnreachableError` when another machine stops giving the file: it may be whole.
    """
    for record in records(file, kind, columns):
        yield row_of(file, record, columns)


def records(file: str, kind: str, columns: Sequence[str] | None = None) -> Iterator[RawRow]:
    """What stands in every row of one file; the last one has a fault when the rest is unreadable.

    Of a parquet file only ``columns`` are read, if they are given. Raises as `read_file`, and
    `InputError` for a parquet file without one of the columns, or with two of one name.
    """
    read = {"parquet": _parquet, "jsonl": _json_lines, "json": _json, "text": _whole}[kind]
    number = 0
    try:
        for record in read(file, columns):
            number = record.number + 1
            yield record
    except InputError:
        raise
    except Exception as error:  # each remote system raises its own kinds
        if not _is_damage(file, error):
            if not is_remote(file):
                raise
            message = f"{file}: row {number} cannot be fetched: {error}; the same command goes on"
            raise UnreachableError(message) from error
        yield RawRow(number, fault=("unreadable_file", _unreadable(error)))


def unreadable(file: str, number: int, error: Exception) -> Row:
    """What stands where rows should be."""
    return Row(file, number, reason="unreadable_file", why=_unreadable(error))


def _unreadable(error: Exception) -> str:
    return " ".join(f"is the first of an unreadable part: {error}".split())


def _is_damage(file: str, error: Exception) -> bool:
    """Whether a file itself is at fault: Arrow says so in plain errors, without a number."""
    if isinstance(error, FileNotFoundError | PermissionError | IsADirectoryError):
        return not is_remote(file)
    return type(error) is OSError and error.errno is None


def _open(file: str) -> IO[bytes]:
    """A file's content, decompressed by its suffix.

    Arrow's stream, unlike zstandard's reader, tells when a compressed file ends too early.
    """
    import pyarrow

    if not is_remote(file):
        # Absolute: Arrow takes a relative ~ for someone's home.
        return io.BufferedReader(pyarrow.input_stream(str(Path(file).absolute())), 1 << 20)
    return decompressed(open_file(file), file, 1 << 20)


def decompressed(stored: IO[bytes], file: str, buffer: int) -> IO[bytes]:
    """The content of an open file, decompressed by the suffix of its name."""
    import pyarrow

    stream = pyarrow.PythonFile(stored, "r")
    if file.endswith((".zst", ".gz", ".bz2")):
        stream = pyarrow.CompressedInputStream(stream, pyarrow.Codec.detect(file).name)
    return io.BufferedReader(stream, buffer)


def _json_lines(file: str, columns: Sequence[str] | None) -> Iterator[RawRow]:
    number = 0
    with _open(file) as lines:
        for place, line in enumerate(lines, 1):
            # Where files were put together, a mark of the byte order can stand in the middle.
            text = line.removeprefix(codecs.BOM_UTF8)
            if not text.strip():
                continue
            record = partial(RawRow, number, place)
            try:
                value = json.loads(text.decode("utf-8"))
            except UnicodeDecodeError as error:
                yield record(fault=("invalid_unicode", f"is not UTF-8: {error}"))
            except (ValueError, RecursionError) as error:
                yield record(fault=("invalid_json", f"is not JSON: {error}"))
            else:
                yield record(value)
            number += 1


def _json(file: str, columns: Sequence[str] | None) -> Iterator[RawRow]:
    with _open(file) as stream:
        try:
            values = json.load(stream)
        except (ValueError, RecursionError) as error:
            raise OSError(str(error)) from error
    if not isinstance(values, list):
        raise OSError("expected one list of objects")
    for number, value in enumerate(values):
        yield RawRow(number, value=value)


def _whole(file: str, columns: Sequence[str] | None) -> Iterator[RawRow]:
    """One row: the text under the first column, and the file's name under the others."""
    with _open(file) as stream:
        data = stream.read()
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        yield RawRow(0, fault=("invalid_unicode", f"is not UTF-8: {error}"))
    else:
        yield RawRow(0, value={c: file if k else text for k, c in enumerate(columns or ["text"])})


def _parquet(file: str, columns: Sequence[str] | None) -> Iterator[RawRow]:
    import pyarrow
    import pyarrow.parquet

    try:
        with open_file(file) as stream:
            table = pyarrow.parquet.ParquetFile(stream, page_checksum_verification=True)
            names = Counter(table.schema_arrow.names)
            for column in names if columns is None else columns:
                if column not in names:
                    raise InputError(f"{file}: there is no {column!r}; it has {', '.join(names)}")
                if names[column] > 1:
                    count = names[column]
                    raise InputError(f"{file}: {count} columns are called {column!r}; rename them")
            wanted = list(names if columns is None else dict.fromkeys(columns))
            number = 0
            for batch in table.iter_batches(columns=wanted, batch_size=BATCH):
                for values in zip(*(_column(batch, column) for column in wanted), strict=True):
                    yield RawRow(number, value=dict(zip(wanted, values, strict=True)))
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
        values = column.cast(pyarrow.binary()).to_pylist()
    # Writers without a type for text store it as bytes.
    return [decoded(value) if isinstance(value, bytes) else value for value in values]


def decoded(value: bytes | None) -> str | bytes | None:
    """The text of some bytes, or the bytes themselves when they are no UTF-8."""
    try:
        return None if value is None else value.decode("utf-8")
    except UnicodeDecodeError:
        return value


def row_of(file: str, record: RawRow, columns: Sequence[str]) -> Row:
    """The texts under ``columns`` of a record's object, or the reason why one is none.

    The first column holds a text; the others may hold a number, which becomes its digits.
    """
    bad = partial(Row, file, record.number, line=record.line)
    if record.fault is not None:
        reason, why = record.fault
        return bad(reason=reason, why=why)
    row = record.value
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
