"""Reads rows of text from local and remote files in the schemas of public datasets.

No row is skipped silently: one without text carries the reason, and the caller decides whether that
is an error.
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
from tinymathreason.listing import UnreachableError, is_remote, list_files, open_file, warn_empty

BATCH = 256
"""Rows of a Parquet file that are decoded together; documents can be megabytes long."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a file, or the place from which on a file is unreadable."""

    file: str
    """The file or the dataset."""
    number: int
    """The number of the row, from 0."""
    values: tuple[str, ...] = ()
    """The texts of the requested columns; empty if there is a reason."""
    reason: str | None = None
    """Why there is no text: ``unreadable_file``, ``invalid_json``, ``missing_text``,
    ``missing_id``, ``not_text``, ``invalid_unicode`` or ``empty``."""
    why: str = ""
    """The reason in words."""
    line: int | None = None
    """The number of its line, from 1, in a file of lines; blank lines are not rows."""

    @property
    def error(self) -> InputError:
        """The reason with the file and the row, and the line if there is one."""
        line = f" (line {self.line})" if self.line else ""
        return InputError(f"{self.file}: row {self.number} {self.why}{line}")


@dataclass(frozen=True, slots=True)
class RawRow:
    """The content of one row, of any type, or a ``fault``: the reason, and the reason in words."""

    number: int
    line: int | None = None
    value: Any = None
    fault: tuple[str, str] | None = None


def read_columns(
    name: str, kind: str, pattern: str, columns: Sequence[str]
) -> Iterator[tuple[str, ...]]:
    """The texts of ``columns`` in every row of the files that match a glob.

    ``kind`` is parquet, jsonl (one object per line) or json (one list of objects). Raises
    `InputError` for anything unreadable, naming ``name`` or the file and the row.
    """
    files = list_files(name, pattern)
    warn_empty(name, files)
    for file in files:
        for row in read_file(file.path, kind, columns):
            if row.reason is not None:
                raise row.error
            yield row.values


def read_file(file: str, kind: str, columns: Sequence[str]) -> Iterator[Row]:
    """Every row of one file; if the rest of it is unreadable, the last row says so.

    Raises `UnreachableError` when a remote file cannot be fetched, as it may be intact.
    """
    for record in records(file, kind, columns):
        yield row_of(file, record, columns)


def records(file: str, kind: str, columns: Sequence[str] | None = None) -> Iterator[RawRow]:
    """The content of every row of one file; the last one has a fault if the rest is unreadable.

    Of a Parquet file only ``columns`` are read, if they are given. Raises the errors of
    `read_file`, and `InputError` for a Parquet file without one of the columns, or with two of
    one name.
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
            message = f"{file}: row {number} cannot be fetched: {error}; run the same command again"
            raise UnreachableError(message) from error
        yield RawRow(number, fault=("unreadable_file", _unreadable(error)))


def column_names(file: str, kind: str) -> tuple[Row, list[str]]:
    """The first row of a file that is an object, without texts, and its columns; none if no row is.

    Raises the errors of `records`.
    """
    if kind == "parquet":
        import pyarrow.parquet

        try:
            with open_file(file) as stream:
                return Row(file, 0), list(pyarrow.parquet.read_schema(stream).names)
        except pyarrow.ArrowException as error:
            raise unreadable(file, 0, error).error from error
    for row in records(file, kind):
        if row.fault is None and isinstance(row.value, dict):
            return Row(file, row.number, line=row.line), list(row.value)
    return Row(file, 0), []


def unreadable(file: str, number: int, error: Exception) -> Row:
    """The row from which on a file is unreadable."""
    return Row(file, number, reason="unreadable_file", why=_unreadable(error))


def _unreadable(error: Exception) -> str:
    return " ".join(f"is the first of an unreadable part: {error}".split())


def _is_damage(file: str, error: Exception) -> bool:
    """Whether the file itself is damaged: Arrow reports that as an OSError without a number."""
    if isinstance(error, FileNotFoundError | PermissionError | IsADirectoryError):
        return not is_remote(file)
    return type(error) is OSError and error.errno is None


def _open(file: str) -> IO[bytes]:
    """A file's content, decompressed by its suffix.

    Arrow's stream, unlike zstandard's reader, reports a compressed file that ends too early.
    """
    import pyarrow

    if not is_remote(file):
        # Absolute, since Arrow takes a relative ~ for someone's home.
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
            # In concatenated files, a byte order mark can also occur in the middle.
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
    """One row: the file's text in the first column, and its name in the others."""
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
                    raise InputError(f"{file}: has no column {column!r}; it has {', '.join(names)}")
                if names[column] > 1:
                    count = names[column]
                    raise InputError(f"{file}: {count} columns are named {column!r}; rename them")
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
        # Arrow does not check text: some values are bytes that are not UTF-8.
        values = column.cast(pyarrow.binary()).to_pylist()
    # Some writers store text as bytes.
    return [decoded(value) if isinstance(value, bytes) else value for value in values]


def decoded(value: bytes | None) -> str | bytes | None:
    """The text of some bytes, or the bytes themselves if they are not UTF-8."""
    try:
        return None if value is None else value.decode("utf-8")
    except UnicodeDecodeError:
        return value


def row_of(file: str, record: RawRow, columns: Sequence[str]) -> Row:
    """The texts of ``columns`` in a row, or the reason why there is none.

    The first column must be a text; the others may be whole numbers, which become text.
    """
    bad = partial(Row, file, record.number, line=record.line)
    if record.fault is not None:
        reason, why = record.fault
        return bad(reason=reason, why=why)
    row = record.value
    if not isinstance(row, dict):
        return bad(reason="invalid_json", why=f"is {type(row).__name__}, expected an object")
    values = []
    for k, column in enumerate(columns):
        value = row.get(column)
        if value is None:
            present = "it is null" if column in row else f"it has {', '.join(sorted(row))}"
            reason = "missing_id" if k else "missing_text"
            return bad(reason=reason, why=f"has no {column!r}; {present}")
        if k and isinstance(value, int):
            value = str(value)
        if isinstance(value, bytes):
            return bad(reason="invalid_unicode", why=f"has invalid UTF-8 in {column!r}")
        if not isinstance(value, str):
            kind = type(value).__name__
            return bad(reason="not_text", why=f"has {kind} in {column!r}, expected text")
        values.append(value)
    return bad(tuple(values))
