"""Reads the sources of a recipe: divides each into tasks, and reads a task's rows."""

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from data_prep.recipe import Source
from tinymathreason.arithmetic import GENERATORS
from tinymathreason.cli import InputError
from tinymathreason.listing import UnreachableError, reaching
from tinymathreason.rows import RawRow, Row, decoded, read_file, row_of, unreadable

MOST_TASKS = 1000
"""Most tasks of a source: what Slurm accepts as one array of jobs."""
DOCUMENTS_PER_TASK = 50_000
"""Documents of a TFDS dataset that one task reads."""


def count_tasks(source: Source, files: int) -> int:
    """How many tasks read a source; this depends on the source alone."""
    if source.documents is not None or source.format == "generator":
        return 1
    if source.format == "hf":
        return min(MOST_TASKS, int(open_hf(source).num_shards))
    if source.format == "tfds":
        from data_prep.tfds_folder import Texts

        documents = len(Texts(source.path, source.split, _columns(source)))
        return min(MOST_TASKS, -(-documents // DOCUMENTS_PER_TASK) or 1)
    return min(MOST_TASKS, files)


def read(
    source: Source, seed: int, files: Sequence[str], task: int = 0, tasks: int = 1
) -> Iterator[Row]:
    """The rows that one task reads of a source: the text, and the id if there is an ``id_field``.

    ``files`` are those of the task; ``hf`` and ``tfds`` datasets are divided here.
    """
    columns = _columns(source)
    rows: Iterator[Row]
    if source.format == "generator":
        texts = GENERATORS[source.path](seed)
        rows = (Row(source.path, number, (text,)) for number, text in enumerate(texts))
    elif source.format == "hf":
        rows = _hf_rows(source, columns, task, tasks)
    elif source.format == "tfds":
        rows = _tfds_rows(source, columns, task, tasks)
    else:
        rows = itertools.chain.from_iterable(
            read_file(file, source.format, columns) for file in files
        )
    return itertools.islice(rows, source.documents)


def _columns(source: Source) -> list[str]:
    return [source.text_field, *([source.id_field] if source.id_field else [])]


def commit(source: Source) -> str | None:
    """The commit of a dataset's revision on the hub; None for a local dataset, and offline.

    Raises `UnreachableError` at once when the hub does not answer, where `datasets` takes minutes.
    """
    import huggingface_hub

    if Path(source.path).exists() or huggingface_hub.constants.HF_HUB_OFFLINE:
        return None
    with reaching(f"{source.path}: the dataset cannot be opened"):
        api = huggingface_hub.HfApi()
        info = api.dataset_info(source.path, revision=source.revision, timeout=10)
    return str(info.sha)


def open_hf(source: Source) -> Any:
    """A source's dataset as a stream; raises `UnreachableError` when it cannot be opened."""
    import datasets

    commit(source)
    with reaching(f"{source.path}: the dataset cannot be opened"):
        return datasets.load_dataset(
            source.path,
            name=source.subset,
            split=source.split,
            revision=source.revision,
            streaming=True,
        )


def _hf_rows(source: Source, columns: Sequence[str], task: int, tasks: int) -> Iterator[Row]:
    place, number = f"{source.path}[{task}]", 0
    try:
        for row in open_hf(source).shard(num_shards=tasks, index=task):
            yield row_of(place, RawRow(number, value=row), columns)
            number += 1
    except InputError:
        raise
    except Exception as error:  # the library raises nothing narrower
        if not Path(source.path).exists():
            message = (
                f"{place}: row {number} cannot be fetched: {error}; run the same command again"
            )
            raise UnreachableError(message) from error
        yield unreadable(place, number, error)


def _tfds_rows(source: Source, columns: Sequence[str], task: int, tasks: int) -> Iterator[Row]:
    from data_prep.tfds_folder import Texts

    data = Texts(source.path, source.split, columns)
    for number in range(len(data) * task // tasks, len(data) * (task + 1) // tasks):
        try:
            row = {key: decoded(value) for key, value in data[number].items()}
        except Exception as error:  # a damaged record raises errors of many kinds
            yield unreadable(source.path, number, error)
        else:
            yield row_of(source.path, RawRow(number, value=row), columns)
