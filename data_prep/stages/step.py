"""A stage's step, as datatrove's executors run it, and what every step does around its task."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pyarrow
import pyarrow.parquet
from datatrove.data import Document
from datatrove.pipeline.base import PipelineStep
from datatrove.utils.logging import logger

from data_prep import checksums
from data_prep.progress import Progress
from data_prep.work import Work
from tinymathreason.cli import InputError
from tinymathreason.files import write_json
from tinymathreason.writes import failed_write

logger.disable("datatrove")  # it would tell a user's mistake in a hundred lines, in every process

Documents = Iterator[Document]


class Step(PipelineStep):  # type: ignore[misc]
    """A step of a build."""

    type = "TinyMathReason"

    def __init__(self, work: Work) -> None:
        super().__init__()
        self.work = work


def stored(work: Work, task: int) -> pyarrow.parquet.ParquetFile:
    """The documents that a task keeps; a page that is not as it was written is an error."""
    path = work.path("documents", task, ".parquet").absolute()
    return pyarrow.parquet.ParquetFile(path, page_checksum_verification=True)


@contextmanager
def running(work: Work, stage: str, rank: int, total: int) -> Iterator[Progress]:
    """Do a task: its progress is told, and what stops it is left for who started the executor.

    Ray and Slurm do not bring an exception back.
    """
    error_path = work.path(f"errors/{stage}", rank, ".json")
    error_path.unlink(missing_ok=True)
    progress = Progress(work.path(f"progress/{stage}", rank, ".json"), total)
    try:
        yield progress
        checksums.record(work.folder, stage, rank)
    except Exception as error:
        is_machines = isinstance(error, OSError | pyarrow.ArrowException) or failed_write(
            error, work.folder
        )
        if not (is_machines or isinstance(error, InputError)):
            raise
        told = work.failed(error) if is_machines else error
        with suppress(OSError):
            write_json(error_path, {"message": str(told)})
        if told is error:
            raise
        raise told from error
    progress.tell()
