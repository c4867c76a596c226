"""The texts that a model was trained on, and which questions they contain."""

import functools
import multiprocessing
import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

from data_prep.contamination import SHORTEST, index
from data_prep.text_hashing import HashedText
from tinymathreason.cli import InputError
from tinymathreason.records.examples import ExamplesManifest
from tinymathreason.records.mixture import Mixture

MANIFEST = "manifest.json"
RECORDS_PER_BATCH = 1000
"""Documents that are decoded together."""
EXAMPLES = "train.parquet"
"""The examples that a fine-tuning is trained on."""


@dataclass(frozen=True)
class TextFile:
    """A file of documents or examples to train on."""

    path: Path
    tokenizer: Path | None
    """Of the token ids that a shard of a mixture has; None for examples, which have their text."""


def mixture_files(folder: Path) -> list[TextFile]:
    """The training shards of a mixture; `InputError` when its record or one of them is missing."""
    shards = [
        folder / shard.path
        for shard in Mixture.load(folder / MANIFEST).shards
        if Path(shard.path).name.startswith("train-")
    ]
    return [TextFile(path, folder / "tokenizer" / "tokenizer.json") for path in _there(shards)]


def example_files(folder: Path) -> list[TextFile]:
    """The training split of prepared examples; `InputError` when it or its record is missing."""
    ExamplesManifest.load(folder / MANIFEST)
    return [TextFile(path, None) for path in _there([folder / EXAMPLES])]


def _there(paths: list[Path]) -> list[Path]:
    for path in paths:
        if not path.is_file():
            raise InputError(f"{path}: is missing; copy the whole folder")
    return paths


def texts(file: TextFile) -> Iterator[str]:
    """The text of every document or example of a file."""
    if file.tokenizer is None:
        import pyarrow.parquet

        with pyarrow.parquet.ParquetFile(file.path.absolute()) as table:
            for batch in table.iter_batches(RECORDS_PER_BATCH, columns=["messages"]):
                for messages in batch["messages"].to_pylist():
                    yield "\n\n".join(message["content"] for message in messages)
        return
    from array_record.python.array_record_module import ArrayRecordReader
    from tokenizers import Tokenizer

    from data_prep.stages.records import decode

    tokenizer = Tokenizer.from_file(str(file.tokenizer))
    reader = ArrayRecordReader(str(file.path))
    try:
        for start in range(0, reader.num_records(), RECORDS_PER_BATCH):
            end = min(start + RECORDS_PER_BATCH, reader.num_records())
            ids = [decode(record).tolist() for record in reader.read(start, end)]
            yield from tokenizer.decode_batch(ids, skip_special_tokens=True)
    finally:
        reader.close()


def is_searchable(question: str) -> bool:
    """Whether a question has enough letters to be searched."""
    return len(HashedText.from_text(question).letters) >= SHORTEST


def search(
    files: Sequence[TextFile], questions: Sequence[str], phrases: Sequence[str], workers: int
) -> list[tuple[set[str], int]]:
    """Of each file, which questions it contains by `QuestionIndex`'s rule, and its documents.

    ``phrases`` are those of the questions in which common runs are counted.
    Each file is searched by one of the ``workers`` processes, or in this process if that is one.
    Shows its progress. Raises `InputError` when a process was killed.
    """
    from tqdm import tqdm

    search_one = functools.partial(_search, questions=tuple(questions), phrases=tuple(phrases))
    bar = functools.partial(tqdm, total=len(files), desc="search", unit=" files")
    try:
        if workers == 1:
            numbers = list(bar(map(search_one, files)))
        else:
            context = multiprocessing.get_context("spawn")
            with ProcessPoolExecutor(workers, context, initializer=_leave_interrupts) as pool:
                numbers = list(bar(pool.map(search_one, files)))
    except BrokenProcessPool as error:
        raise InputError("a worker was killed; out of memory? Use fewer --workers") from error
    return [({questions[number] for number in of_file}, count) for of_file, count in numbers]


def _leave_interrupts() -> None:
    """Ctrl-C ends the parent process, which ends this one."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _search(
    file: TextFile, questions: tuple[str, ...], phrases: tuple[str, ...]
) -> tuple[set[int], int]:
    """The numbers of the questions in a file, and its documents."""
    asked, numbers, documents = index(questions, phrases), set[int](), 0
    for text in texts(file):
        numbers.update(asked.all_in(text))
        documents += 1
    return numbers, documents
