"""A build's stages as jobs of Slurm, each of which starts after the one before it."""

import contextlib
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from datatrove.executor.slurm import SlurmPipelineExecutor

from data_prep.executors import log_folder, stages
from data_prep.work import Work
from tinymathreason.cli import InputError
from tinymathreason.files import read_json, write_json


def submit(work: Work) -> str:
    """Submit every unfinished stage; returns the id of the last job.

    Finished tasks are skipped, so the same command resubmits what failed. Raises `InputError`
    when Slurm refuses a job.
    """
    settings, path = work.recipe.executor, work.folder / "slurm.json"
    jobs: list[str] = []
    before: SlurmExecutor | None = None
    activate = f"export PATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH"
    for stage, (steps, tasks) in stages(work).items():
        shutil.rmtree(work.folder / "errors" / stage, ignore_errors=True)
        executor = SlurmExecutor(
            steps,
            tasks=tasks,
            time=settings.time,
            partition=settings.partition,
            workers=settings.workers,
            mem_per_cpu_gb=settings.memory_gb,
            job_name=f"mixture-{stage}",
            qos="",
            env_command=settings.setup or activate,
            depends_job_id=jobs[-1] if jobs else None,
            job_id_retriever=_job_id,
            logging_dir=log_folder(work, stage),
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
    """Raise `InputError` while jobs of an earlier call are queued or running."""
    path = folder / "slurm.json"
    if not path.exists():
        return
    jobs = read_json(path)
    # For jobs that Slurm has forgotten, squeue prints nothing or that their ids are invalid.
    command = ["squeue", "--noheader", "--format=%i", f"--jobs={','.join(jobs)}"]
    with contextlib.suppress(FileNotFoundError):  # without Slurm, no job can be running
        if subprocess.run(command, capture_output=True, text=True).stdout.strip():
            raise InputError(f"{folder}: the jobs {', '.join(jobs)} are queued or running")


def _job_id(printed: str) -> str:
    """The id in "Submitted batch job 12 on cluster one"."""
    match = re.search(r"Submitted batch job (\d+)", printed)
    if match is None:
        raise InputError(f"sbatch: expected a job id, got {printed!r}")
    return match[1]


class SlurmExecutor(SlurmPipelineExecutor):  # type: ignore[misc]
    """datatrove's, for stages that need all of the stage before them."""

    before: "SlurmExecutor | None" = None
    """The stage before."""

    def _run_for_rank(self, *rank: Any, **more: Any) -> Any:
        # Of several arrays of jobs, Slurm's dependency covers the last one only.
        if self.before is not None and self.before.get_incomplete_ranks():
            raise InputError(f"{self.before.job_name} is not complete")
        return super()._run_for_rank(*rank, **more)

    def launch_merge_stats(self) -> None:
        """Nothing reads datatrove's statistics."""
