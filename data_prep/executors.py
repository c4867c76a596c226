"""The stages of a build, run by datatrove's executors, with their progress told."""

import contextlib
import copy
import multiprocessing
import multiprocessing.connection
import multiprocessing.resource_tracker
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from datatrove.executor.local import LocalPipelineExecutor
from datatrove.executor.slurm import SlurmPipelineExecutor

from data_prep.progress import watch
from data_prep.stages.documents import pipeline
from data_prep.stages.duplicates import Compare, Decide
from data_prep.stages.publish import Publish
from data_prep.stages.records import WriteRecords
from data_prep.stages.step import Step
from data_prep.stages.train_tokenizer import TrainTokenizer
from data_prep.work import NUMBERED, STAGES, Work
from tinymathreason.cli import InputError
from tinymathreason.files import read_json, write_json


def stages(work: Work) -> dict[str, tuple[list[Step], int]]:
    """Each stage's steps, and its number of tasks, in the order of `STAGES`."""
    count = len(work.tasks)
    steps: list[tuple[list[Step], int]] = [
        (pipeline(work), count),
        ([Compare(work)], work.ranges),
        ([Decide(work)], 1),
        ([TrainTokenizer(work)], 1),
        ([WriteRecords(work)], count),
        ([Publish(work)], 1),
    ]
    return dict(zip(STAGES, steps, strict=True))


def run(work: Work) -> None:
    """Run every stage here or on a Ray cluster; what is finished is skipped.

    Raises `InputError` for what a task found wrong with its input.
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
                    raise work.failed(error) from error
                finally:
                    _tell_error(work, stage)
            if left := executor.get_incomplete_ranks():
                raise RuntimeError(f"{stage}: {len(left)} of {tasks} tasks did not finish")


def submit(work: Work) -> str:
    """Hand every stage to Slurm, each to start after the one before it; returns the last job's id.

    What is finished is skipped, so the same command resubmits what failed. Raises `InputError`
    when Slurm takes none.
    """
    settings, path = work.recipe.executor, work.folder / "slurm.json"
    jobs: list[str] = []
    before: _Slurm | None = None
    here = f"export PATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH"
    for stage, (steps, tasks) in stages(work).items():
        shutil.rmtree(work.folder / "errors" / stage, ignore_errors=True)
        executor = _Slurm(
            steps,
            tasks=tasks,
            time=settings.time,
            partition=settings.partition,
            workers=settings.workers,
            mem_per_cpu_gb=settings.memory_gb,
            job_name=f"mixture-{stage}",
            qos="",
            env_command=settings.setup or here,
            depends_job_id=jobs[-1] if jobs else None,
            job_id_retriever=_job_id,
            logging_dir=_logs(work, stage),
            requeue_signals=None,
            sbatch_args={"kill-on-invalid-dep": "yes"},
        )
        executor.before = before
        try:
            executor.run()
        except subprocess.CalledProcessError as error:
            raise InputError(f"sbatch ended with status {error.returncode}, see above") from error
        executor.before, before = None, executor
        if executor.job_id != -1:
            jobs.append(executor.job_id)
            write_json(path, jobs)
    return jobs[-1]


def refuse_running(folder: Path) -> None:
    """Raise `InputError` while Slurm's jobs of an earlier call are queued or running."""
    path = folder / "slurm.json"
    if not path.exists():
        return
    jobs = read_json(path)
    # Of jobs that it has forgotten, squeue says nothing or that their ids are invalid.
    asked = ["squeue", "--noheader", "--format=%i", f"--jobs={','.join(jobs)}"]
    with contextlib.suppress(FileNotFoundError):  # where there is no Slurm, nothing of it runs
        if subprocess.run(asked, capture_output=True, text=True).stdout.strip():
            raise InputError(f"{folder}: the jobs {', '.join(jobs)} are queued or running")


def _job_id(printed: str) -> str:
    """The id in "Submitted batch job 12 on cluster one"."""
    found = re.search(r"Submitted batch job (\d+)", printed)
    if found is None:
        raise InputError(f"sbatch: printed no job id but {printed!r}")
    return found[1]


class _Slurm(SlurmPipelineExecutor):  # type: ignore[misc]
    """datatrove's, for stages that need all of the one before."""

    before: "_Slurm | None" = None

    def _run_for_rank(self, *rank: Any, **more: Any) -> Any:
        # Of several arrays of jobs, Slurm's dependency is the last one only.
        if self.before is not None and self.before.get_incomplete_ranks():
            raise InputError(f"{self.before.job_name} is not complete")
        return super()._run_for_rank(*rank, **more)

    def launch_merge_stats(self) -> None:
        """Nobody reads them."""


class _Local(LocalPipelineExecutor):  # type: ignore[misc]
    """datatrove's, with processes whose death is noticed; its pool would wait for ever."""

    def run(self) -> None:
        """Run what is not finished. Raises `InputError` for the first task that does."""
        ranks = self.get_incomplete_ranks()
        if self.workers == 1:
            for rank in ranks:
                copy.deepcopy(self)._run_for_rank(rank)
            return
        # A fork is not safe in a process with threads, and ours has one that tells the progress.
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["data_prep.executors"])
        taken = context.Value("q", 0)
        workers, receivers = {}, {}
        try:
            with _ctrl_c_later():
                for _ in range(min(self.workers, len(ranks))):
                    receiver, sender = context.Pipe(duplex=False)
                    worker = context.Process(target=_work, args=(self, ranks, taken, sender))
                    worker.start()
                    sender.close()
                    workers[worker.sentinel], receivers[worker.sentinel] = worker, receiver
            left = set(workers)
            while left:
                for ended in multiprocessing.connection.wait(left):
                    left.discard(ended)
                    _check(workers[ended], receivers[ended])  # type: ignore[index]
        finally:
            for worker in workers.values():
                worker.terminate()
                worker.join()


@contextlib.contextmanager
def _ctrl_c_later() -> Iterator[None]:
    """Hold Ctrl-C back in the block, and from the processes that it starts for good.

    They would tell of it in a traceback while they import; who started them ends them.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    pressed: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _: pressed.append(number))
    multiprocessing.resource_tracker.ensure_running()  # as it starts, it lets signals through
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        signal.signal(signal.SIGINT, before)
    if pressed:
        raise KeyboardInterrupt


def _check(worker: Any, receiver: Any) -> None:
    """Raise what stopped a process that has ended."""
    worker.join()
    if worker.exitcode < 0:
        raise InputError(
            f"a worker died of {signal.Signals(-worker.exitcode).name}; out of memory? "
            "the same command goes on, executor.workers=1 needs the least"
        )
    if worker.exitcode:
        with contextlib.suppress(EOFError):
            kind, message = receiver.recv()
            raise kind(message)


def _work(executor: _Local, ranks: list[int], taken: Any, sender: Any) -> None:
    """Run one task after the other, in a process of its own."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # also of a server that others had started
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        while True:
            with taken.get_lock():
                number = taken.value
                taken.value += 1
            if number >= len(ranks):
                return
            copy.deepcopy(executor)._run_for_rank(ranks[number])
    except (InputError, OSError) as error:
        # Not the error itself: those of remote systems cannot always be sent.
        sender.send((OSError if isinstance(error, OSError) else InputError, str(error)))
        sys.exit(1)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _logs(work: Work, stage: str) -> str:
    """Absolute: fsspec keeps what a relative path once meant."""
    return str((work.folder / "logs" / stage).absolute())


def _executor(work: Work, stage: str, steps: list[Step], tasks: int) -> Any:
    settings, logs = work.recipe.executor, _logs(work, stage)
    if settings.kind == "ray":
        from datatrove.executor.ray import RayPipelineExecutor

        return RayPipelineExecutor(
            steps, tasks, settings.workers, logging_dir=logs, mem_per_cpu_gb=settings.memory_gb
        )
    return _Local(steps, tasks, min(settings.workers, tasks), logging_dir=logs)


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


def _tell_error(work: Work, stage: str) -> None:
    """Raise the first error that a task left; Ray brings none back."""
    for path in sorted((work.folder / "errors" / stage).glob(f"{NUMBERED}.json")):
        raise InputError(read_json(path)["message"])
