"""The base of every stage's steps, and what each does around its task."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pyarrow
import pyarrow.parquet
from datatrove.data import Document
from datatrove.pipeline.base import PipelineStep
from datatrove.utils.logging import logger

from data_prep import checksums
from data_prep.progress import Progress
from data_prep.stages import artifacts
from data_prep.work import Work
from tinymathreason.cli import InputError
from tinymathreason.files import write_json
from tinymathreason.writes import failed_write

logger.disable("datatrove")  # it would log a user's mistake as a hundred lines in every process

Documents = Iterator[Document]


class Step(PipelineStep):  # type: ignore[misc]
    """A step of a build."""

    type = "TinyMathReason"

    def __init__(self, work: Work) -> None:
        super().__init__()
        self.work = work


@contextmanager
def running(work: Work, stage: str, rank: int, total: int) -> Iterator[Progress]:
    """Run a task in the block: record its progress, its files' hashes, and its error if it fails.

    The error is recorded because Ray and Slurm do not return exceptions.
    """
    error_path = work.record_path("errors", stage, rank)
    error_path.unlink(missing_ok=True)
    progress = Progress(work.record_path("progress", stage, rank), total)
    try:
        yield progress
        checksums.record(work.folder, stage, rank)
    except Exception as error:
        is_machines = isinstance(error, OSError | pyarrow.ArrowException) or failed_write(
            error, work.folder
        )
        if not (is_machines or isinstance(error, InputError)):
            raise
        reported = work.input_error(error) if is_machines else error
        with suppress(OSError):
            write_json(error_path, {"message": str(reported)})
        if reported is error:
            raise
        raise reported from error
    progress.record()


def stored_documents(work: Work, task: int) -> pyarrow.parquet.ParquetFile:
    """The documents that the first stage stored for a task; reading a damaged page is an error."""
    path = work.path(artifacts.DOCUMENTS, task).absolute()
    return pyarrow.parquet.ParquetFile(path, page_checksum_verification=True)
