"""Files in the schemas of public datasets, here or remote, in; rows of text out, none lost.

A row that holds no text carries the reason, so that the caller decides whether that is an error.
"""

import glob
import io
import itertools
import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any

from data_prep.arithmetic import GENERATORS
from data_prep.recipe import Source
from tinymathreason.cli import InputError

MOST_TASKS = 1000
"""Parts into which a source is read at most: what Slurm takes as one array of jobs."""
DOCUMENTS_A_TASK = 50_000
"""Documents of a TFDS dataset that are read together."""
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
        """The reason, the file and the row, for who does not accept it."""
        return InputError(f"{self.file}: row {self.number} {self.why}")


class UnreachableError(InputError):
    """What another machine holds cannot be had."""


@contextmanager
def _reaching(what: str) -> Iterator[None]:
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

        with _reaching(f"{name}: {pattern!r} cannot be listed"):
            system, path = fsspec.core.url_to_fs(pattern)
            listed = system.glob(path, detail=True)
        found = sorted(
            (system.unstrip_protocol(path), int(entry["size"])) for path, entry in listed.items()
        )
    if not found:
        raise InputError(f"{name}: no file matches {pattern!r}")
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
    """Every row of one file; after what cannot be read there is one row that says so."""
    rows = {"parquet": _parquet, "jsonl": _json_lines, "json": _json, "text": _whole}[kind]
    number = 0
    try:
        for row in rows(file, columns):
            number = row.number + 1
            yield row
    except OSError as error:
        why = " ".join(f"is the first of an unreadable part: {error}".split())
        yield Row(file, number, reason="unreadable_file", why=why)


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
                yield _texts(file, number, row, columns)


def _json(file: str, columns: Sequence[str]) -> Iterator[Row]:
    with _open(file) as stream:
        try:
            values = json.load(stream)
        except (ValueError, RecursionError) as error:
            raise OSError(str(error)) from error
    if not isinstance(values, list):
        raise OSError("expected one list of objects")
    for number, row in enumerate(values):
        yield _texts(file, number, row, columns)


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
                    yield _texts(file, number, row, columns)
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
        values = [_decoded(value) for value in column.cast(pyarrow.binary()).to_pylist()]
    return values


def _decoded(value: bytes | None) -> str | bytes | None:
    try:
        return None if value is None else value.decode("utf-8")
    except UnicodeDecodeError:
        return value


def _texts(file: str, number: int, row: Any, columns: Sequence[str]) -> Row:
    bad = partial(Row, file, number)
    if not isinstance(row, dict):
        return bad(reason="invalid_json", why=f"is no object but {type(row).__name__}")
    values = []
    for k, column in enumerate(columns):
        value = row.get(column)
        if value is None:
            found = "null there" if column in row else f"it has {', '.join(sorted(row))}"
            return bad(reason="missing_text", why=f"has no {column!r}; {found}")
        if k and isinstance(value, int):
            value = str(value)
        if isinstance(value, bytes):
            return bad(reason="invalid_unicode", why=f"holds no UTF-8 under {column!r}")
        if not isinstance(value, str):
            kind = type(value).__name__
            return bad(reason="not_text", why=f"holds {kind} under {column!r}, not text")
        values.append(value)
    return bad(tuple(values))


def count_tasks(source: Source, files: int) -> int:
    """Parts into which a source is read; a function of the source, not of who reads it."""
    if source.documents is not None or source.format == "generator":
        return 1
    if source.format == "hf":
        return min(MOST_TASKS, int(open_hf(source).num_shards))
    if source.format == "tfds":
        from data_prep.tfds_folder import Texts

        documents = len(Texts(source.path, source.split, _columns(source)))
        return min(MOST_TASKS, -(-documents // DOCUMENTS_A_TASK) or 1)
    return min(MOST_TASKS, files)


def read(
    source: Source, seed: int, files: Sequence[str], task: int = 0, tasks: int = 1
) -> Iterator[Row]:
    """The rows of one part of a source: the text, and the id when there is an ``id_field``.

    ``files`` are those of the part; a dataset of ``hf`` or ``tfds`` is divided here.
    """
    columns = _columns(source)
    rows: Iterator[Row]
    if source.format == "generator":
        texts = GENERATORS[source.path](seed)
        rows = (Row(source.path, number, (text,)) for number, text in enumerate(texts))
    elif source.format == "hf":
        stream = open_hf(source).shard(num_shards=tasks, index=task)
        place = f"{source.path}[{task}]"
        rows = (_texts(place, number, row, columns) for number, row in enumerate(stream))
    elif source.format == "tfds":
        rows = _tfds_rows(source, columns, task, tasks)
    else:
        rows = itertools.chain.from_iterable(
            read_file(file, source.format, columns) for file in files
        )
    return itertools.islice(rows, source.documents)


def _columns(source: Source) -> list[str]:
    return [source.text_field, *([source.id_field] if source.id_field else [])]


def open_hf(source: Source) -> Any:
    """A source's dataset as a stream; `UnreachableError` when it cannot be opened."""
    import datasets
    import huggingface_hub

    with _reaching(f"{source.path}: the dataset cannot be opened"):
        if not (Path(source.path).exists() or huggingface_hub.constants.HF_HUB_OFFLINE):
            # Without a network this fails at once; below, after half a minute.
            huggingface_hub.HfApi().dataset_info(source.path, revision=source.revision, timeout=10)
        return datasets.load_dataset(
            source.path,
            name=source.subset,
            split=source.split,
            revision=source.revision,
            streaming=True,
        )


def _tfds_rows(source: Source, columns: Sequence[str], task: int, tasks: int) -> Iterator[Row]:
    from data_prep.tfds_folder import Texts

    data = Texts(source.path, source.split, columns)
    for number in range(len(data) * task // tasks, len(data) * (task + 1) // tasks):
        row = {key: _decoded(value) for key, value in data[number].items()}
        yield _texts(source.path, number, row, columns)
