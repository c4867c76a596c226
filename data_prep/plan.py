"""Estimates what a build needs, from the sizes of its inputs and a short sample of each source."""

import itertools
import shutil
import time
from dataclasses import dataclass

from data_prep.recipe import Source
from data_prep.similarity import fingerprint
from data_prep.stages.documents import Read, pipeline
from data_prep.stages.step import Documents
from data_prep.work import SMALLER, Task, Work
from tinymathreason import units
from tinymathreason.cli import InputError
from tinymathreason.disk import existing
from tinymathreason.listing import open_file
from tinymathreason.rows import decompressed
from tinymathreason.tables import text_table

SAMPLE_FILES = 16
"""Files of an ``hf`` dataset whose sizes are requested."""
SAMPLE_BYTES = 2_000_000
"""Text of each source that is measured, in bytes..."""
SAMPLE_SECONDS = 5.0
"""... unless it takes longer than this."""
BYTES_PER_TOKEN = 3.5
"""Of our tokenizer on these sources; a build's report has the exact value."""
LATER_STAGES = 1.4
"""CPU time of a whole build divided by that of its first stage; see `benchmarks.data_prep`."""
DISK_PER_BYTE = 0.9
"""Bytes on disk for each byte of text at the end of a build, working folder included: 0.3 for the
compressed documents, 0.1 to 0.17 for fingerprints and keys, 0.33 for the records, and a margin."""
MEMORY = 2_000_000_000
"""Most bytes of memory that a worker needs."""


@dataclass(frozen=True)
class Estimate:
    """The size and cost of one source. Everything but ``fetch`` is an estimate."""

    fetch: int
    """Bytes of its files."""
    text: float
    """Bytes of its text."""
    documents: float
    """Its documents."""
    tokens: float
    """Its tokens before anything is rejected."""
    cpu_seconds: float
    """CPU seconds of all stages."""


def estimate(work: Work, name: str) -> Estimate:
    """Measure the first documents of a source, and scale up to all its files."""
    tasks = work.tasks_of(name)
    started = time.monotonic()
    documents, size = [], 0
    steps = pipeline(work, planning=True)[1:-1]
    for first in tasks:
        rows = Read(work).run(rank=first.number)
        for document in rows:
            documents.append(document)
            size += len(document.text.encode("utf-8", "replace"))
            if size >= SAMPLE_BYTES or time.monotonic() - started > SAMPLE_SECONDS:
                break
        if documents:
            break  # otherwise the files of this task are empty
    complete = next(rows, None) is None and len(tasks) == 1 and len(first.files) <= 1
    stored = sum(task.bytes for task in tasks)
    times = 1.0
    if not complete:
        times = _scale(work, first, [document.text for document in documents], stored)
    text = times * size
    for step in steps:
        step.prepare(first.number)
    fingerprint("Warm up, so that one-time costs are not counted for the first source.")
    cpu = time.process_time()
    stream: Documents = iter(documents)
    for step in steps:
        stream = step.run(stream, first.number)
    for document in stream:
        if document.metadata["reason"] is None:
            fingerprint(document.text)
    seconds = (time.process_time() - cpu) / max(1, size) * text
    return Estimate(
        stored, text, times * len(documents), text / BYTES_PER_TOKEN, LATER_STAGES * seconds
    )


def _scale(work: Work, first: Task, texts: list[str], stored: int) -> float:
    """The size of the whole source as a multiple of the sample, the first documents of a task."""
    source = work.recipe.sources[first.source]
    size = sum(len(text.encode("utf-8", "replace")) for text in texts) or 1
    if not texts:
        return 0
    if source.documents is not None:
        return source.documents / len(texts)
    if source.format == "tfds":
        from data_prep.tfds_folder import Texts

        return len(Texts(source.path, source.split, [source.text_field])) / len(texts)
    if source.format == "hf":
        from data_prep.readers import open_hf

        info = open_hf(source).info
        if info.splits and info.splits[source.split].num_examples:
            return float(info.splits[source.split].num_examples / len(texts))
        files, stored = _files_of(source)
    else:
        files = first.files
    if files[0].endswith(".parquet"):
        uncompressed = file_size = 0
        for file in files:  # the first ones may be empty
            uncompressed, file_size = parquet_text(file, source.text_field)
            if uncompressed:
                break
        return uncompressed / size * stored / max(1, file_size)
    return stored / max(1, stored_size(files, len(texts), lines=source.format != "text"))


def _files_of(source: Source) -> tuple[list[str], int]:
    """The files of a dataset that `datasets` opens, and their approximate bytes."""
    import datasets

    builder = datasets.load_dataset_builder(
        source.path, name=source.subset, revision=source.revision
    )
    files = [str(file) for file in builder.config.data_files[source.split]]
    some = files[:: -(-len(files) // SAMPLE_FILES)]
    size = 0
    for file in some:
        with open_file(file) as stream:
            size += stream.seek(0, 2)
    return files, size * len(files) // len(some)


def stored_size(files: list[str], documents: int, lines: bool) -> int:
    """Bytes on disk of the first documents of some files; a document is a line or a file."""
    size = 0
    for file in files:
        if not documents:
            break
        with open_file(file) as stored:
            if lines:
                content = decompressed(stored, file, 1 << 16)
                lengths = [len(line) for line in itertools.islice(content, documents)]
                documents -= len(lengths)
                # Decompression works in blocks, so the share of these lines is estimated over many.
                total = sum(lengths)
                while stored.tell() < 1 << 21 and (more := content.read(1 << 16)):
                    total += len(more)
                size += sum(lengths) * stored.tell() // max(1, total)
            else:
                documents -= 1
                size += stored.seek(0, 2)
    return size


def parquet_text(file: str, column: str) -> tuple[int, int]:
    """Uncompressed bytes of one column of a Parquet file, by its footer; and bytes of the file."""
    import pyarrow.parquet

    with open_file(file) as stream:
        metadata = pyarrow.parquet.ParquetFile(stream).metadata
        file_size = stream.seek(0, 2)
    groups = (metadata.row_group(k) for k in range(metadata.num_row_groups))
    columns = (group.column(k) for group in groups for k in range(group.num_columns))
    uncompressed = sum(c.total_uncompressed_size for c in columns if c.path_in_schema == column)
    return uncompressed, file_size


def table(work: Work, estimates: dict[str, Estimate]) -> str:
    """The plan: a line for each source, then what the whole build needs."""
    recipe = work.recipe
    tokens = {name: each.tokens for name, each in estimates.items()}
    budget = recipe.token_budget or min(tokens[n] / recipe.shares[n] for n in tokens)
    rows = []
    for name, each in estimates.items():
        source = recipe.sources[name]
        files = [file for task in work.tasks_of(name) for file in task.files]
        fetch = each.fetch if any("://" in file for file in files) else 0
        rows.append(
            [
                name,
                source.format,
                f"{len(files):,}",
                units.size(fetch),
                units.size(each.text),
                units.count(each.tokens),
                f"{recipe.shares[name]:.1%}",
                f"{budget * recipe.shares[name] / max(1.0, each.tokens):.2f}",
                units.duration(each.cpu_seconds),
            ]
        )
    seconds = sum(each.cpu_seconds for each in estimates.values())
    workers = recipe.executor.workers
    head = ["source", "format", "files", "to fetch", "text", "tokens", "weight", "passes"]
    return (
        f"{text_table([*head, 'CPU time'], rows)}\n"
        f"{units.count(budget)} tokens in training; {units.duration(seconds)} of a core, "
        f"{units.duration(seconds / workers)} with {workers} {recipe.executor.kind} workers; "
        f"{units.size(disk(estimates))} of disk in {work.folder.parent}, "
        f"{units.size(MEMORY)} of memory for each worker (all but the files are estimates)"
    )


def disk(estimates: dict[str, Estimate]) -> float:
    """Bytes of disk that the working folder and the result need together."""
    return DISK_PER_BYTE * sum(each.text for each in estimates.values())


def check(work: Work, estimates: dict[str, Estimate]) -> None:
    """Raise `InputError` when there is too little disk, or a source would be repeated too often."""
    place = existing(work.folder)
    free = shutil.disk_usage(place).free
    if disk(estimates) > free:
        raise InputError(
            f"output_dir: {place} has {units.size(free)} free, the build needs about "
            f"{units.size(disk(estimates))}; {SMALLER}"
        )
    for name, each in estimates.items():
        if not each.documents:
            raise InputError(f"sources.{name}: contains no document")
        if not each.text:
            field = work.recipe.sources[name].text_field
            raise InputError(f"sources.{name}: none of its first documents has text in {field!r}")
    budget = work.recipe.token_budget
    for name, share in work.recipe.shares.items():
        passes = (budget or 0) * share / max(1.0, estimates[name].tokens)
        if passes > work.recipe.max_epochs:
            raise InputError(
                f"sources.{name}.weight: a budget of {units.count(budget or 0)} tokens would read "
                f"it about {passes:.1f} times, max_epochs is {work.recipe.max_epochs:g}"
            )
