"""Runs the stages of a build with one of datatrove's executors, and reports their progress."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from typing import Any

from data_prep.local_executor import LocalExecutor
from data_prep.progress import watch
from data_prep.stages.artifacts import NUMBERED
from data_prep.stages.classifiers import TrainClassifier
from data_prep.stages.documents import pipeline
from data_prep.stages.duplicates import Compare, Decide
from data_prep.stages.publish import Publish
from data_prep.stages.records import WriteRecords
from data_prep.stages.step import Step
from data_prep.stages.train_tokenizer import TrainTokenizer
from data_prep.work import STAGES, Work
from tinymathreason.cli import InputError
from tinymathreason.files import read_json


def stages(work: Work) -> dict[str, tuple[list[Step], int]]:
    """Each stage's steps and its number of tasks, in the order of `STAGES`; none without a task."""
    count = len(work.tasks)
    steps: list[tuple[list[Step], int]] = [
        ([TrainClassifier(work)], len(work.recipe.classifiers)),
        (pipeline(work), count),
        ([Compare(work)], work.ranges),
        ([Decide(work)], 1),
        ([TrainTokenizer(work)], 1),
        ([WriteRecords(work)], count),
        ([Publish(work)], 1),
    ]
    stages = dict(zip(STAGES, steps, strict=True))
    return {stage: each for stage, each in stages.items() if each[1]}


def run(work: Work) -> None:
    """Run every stage on this machine or on a Ray cluster; finished tasks are skipped.

    Raises `InputError` for a fault that a task found in its input.
    """
    settings = work.recipe.executor
    with _ray(settings.workers) if settings.kind == "ray" else contextlib.nullcontext():
        for stage, (steps, tasks) in stages(work).items():
            executor = _executor(work, stage, steps, tasks)
            if not executor.get_incomplete_ranks():
                continue
            shutil.rmtree(work.folder / "errors" / stage, ignore_errors=True)
            with watch(work, stage, tasks):
                try:
                    executor.run()
                except OSError as error:
                    raise work.input_error(error) from error
                finally:
                    _raise_task_error(work, stage)
            if left := executor.get_incomplete_ranks():
                raise RuntimeError(f"{stage}: {len(left)} of {tasks} tasks did not finish")


def log_folder(work: Work, stage: str) -> str:
    """Where datatrove keeps a stage's logs and finished tasks.

    Absolute, since fsspec would remember what a relative path meant at first.
    """
    return str((work.folder / "logs" / stage).absolute())


def _executor(work: Work, stage: str, steps: list[Step], tasks: int) -> Any:
    settings, logs = work.recipe.executor, log_folder(work, stage)
    if settings.kind == "ray":
        from datatrove.executor.ray import RayPipelineExecutor

        return RayPipelineExecutor(
            steps, tasks, settings.workers, logging_dir=logs, mem_per_cpu_gb=settings.memory_gb
        )
    return LocalExecutor(steps, tasks, min(settings.workers, tasks), logging_dir=logs)


@contextlib.contextmanager
def _ray(workers: int) -> Iterator[None]:
    try:
        import ray
    except ImportError as error:
        raise InputError(f"executor.kind: Ray is not installed: {error}") from error

    address = os.environ.get("RAY_ADDRESS")
    here: dict[str, Any] = {"num_cpus": workers, "include_dashboard": False}
    ray.init(address=address, log_to_driver=False, **({} if address else here))
    try:
        yield
    finally:
        ray.shutdown()


def _raise_task_error(work: Work, stage: str) -> None:
    """Raise the first error that a task recorded; Ray returns none."""
    for path in sorted((work.folder / "errors" / stage).glob(f"{NUMBERED}.json")):
        raise InputError(read_json(path)["message"])
