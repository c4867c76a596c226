"""A run's folder: which run owns it, its last complete checkpoint, and its failed writes."""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sft.model import SHARD
from tinymathreason.checkpoints import trainer_complete
from tinymathreason.cli import InputError
from tinymathreason.records.tuning import TuningRun
from tinymathreason.writes import check_room, failed_write

AGAIN = "run the same command again: it continues from the last checkpoint"
"""What to do after a checkpoint or a model could not be written."""
MODEL = "model"
"""Name of the finished model's folder under output_dir."""
INPUTS = "inputs.json"
"""File under output_dir that identifies the run."""
_DIFFERENCES = {
    "base": "began with other weights or another config.json; restore those, or",
    "data": "was trained on other examples; restore those, or",
    "tokenizer": "was trained with another tokenizer or template; restore those, or",
    "accuracy": "was measured on other problems; restore those, or",
    "processes": "was trained by another number of processes; start as many, or",
}


def check_owner(output: Path, inputs: dict[str, Any]) -> None:
    """Raise `InputError` if ``output`` holds a run that differs in any of ``inputs``.

    ``inputs`` are the fields of `TuningRun` that are already known.
    """
    path = output / INPUTS
    if not path.is_file():
        return
    stored = dict(TuningRun.load(path))
    for key in sorted(inputs, key=lambda key: (key in _DIFFERENCES, key)):
        if stored[key] != inputs[key]:
            other = f"has another {_first_difference(stored[key], inputs[key])};"
            difference = _DIFFERENCES.get(key, other)
            raise InputError(f"{output}: the run there {difference} remove it or set output_dir")


def _first_difference(left: Any, right: Any) -> str:
    if not (isinstance(left, dict) and isinstance(right, dict)):
        return "configuration"
    keys = sorted(left.keys() | right.keys())
    return next(str(key) for key in keys if left.get(key) != right.get(key))


def claim(output: Path, inputs: dict[str, Any]) -> None:
    """`check_owner`, then store ``inputs`` in the run's folder for the next start.

    Also raises `InputError` if another process has completed the model meanwhile.
    """
    check_owner(output, inputs)
    if (output / MODEL).exists():
        raise InputError(f"{output / MODEL}: another process has completed it")
    TuningRun(**inputs).write(output / INPUTS)


def last_checkpoint(output: Path, processes: int = 1) -> Path | None:
    """The last complete checkpoint of an interrupted run, or None."""
    for path in sorted(_checkpoints(output), key=lambda path: -int(path.name.split("-")[1])):
        if trainer_complete(path, processes):
            return path
    return None


def sweep(output: Path, processes: int = 1) -> None:
    """Remove incomplete checkpoints, which a killed process left."""
    for path in _checkpoints(output):
        if not trainer_complete(path, processes):
            shutil.rmtree(path)


def train(trainer: Any, output: Path, inputs: dict[str, Any], state: Any) -> None:
    """Claim the run's folder and train, from its last complete checkpoint if there is one.

    ``state`` is accelerate's PartialState: every process calls this, the main one claims.
    """
    if state.is_main_process:
        claim(output, inputs)
        sweep(output, state.num_processes)
    state.wait_for_everyone()
    resume = last_checkpoint(output, state.num_processes)
    if state.is_main_process:
        _check_room(trainer, output)
    trainer.train(resume_from_checkpoint=str(resume) if resume else None)


def _check_room(trainer: Any, output: Path) -> None:
    """Raise `InputError` if the disk has no room for the checkpoints that are kept and the model.

    Existing checkpoints are counted as room. Runs with sharded weights are not checked.
    """
    args = trainer.args
    if trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled:
        return
    parameters = list(trainer.model.parameters())
    model = sum(p.numel() * p.element_size() for p in parameters)
    trained = sum(p.numel() * p.element_size() for p in parameters if p.requires_grad)
    # Two numbers for each weight; the state of other optimisers is not known here.
    moments = 2 * trained if str(args.optim).startswith("adamw_torch") else 0
    kept = 0 if args.save_strategy == "no" else args.save_total_limit or 1
    there = sum(p.stat().st_size for folder in _checkpoints(output) for p in folder.rglob("*"))
    needed = model + max(0, kept * (trained + moments) - there)
    largest = max(min(model, SHARD), moments if kept else 0)
    check_room(output, needed, largest, "set a lower save_total_limit" if kept > 1 else "")


def _checkpoints(output: Path) -> list[Path]:
    return [p for p in output.glob("checkpoint-*") if p.name.split("-")[1].isdecimal()]


@contextlib.contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Turn a failed write, as on a full disk, into one line; ``folder`` is then removed."""
    try:
        yield
    except Exception as error:
        write_error = failed_write(error, folder, AGAIN)
        if write_error is None:
            raise
        shutil.rmtree(folder, ignore_errors=True)
        raise write_error from error


class WholeCheckpoints:
    """Mixin for TRL's trainers: no half-written checkpoint, no extra step, no telemetry.

    A failed write of a checkpoint is one line and removes the checkpoint. A run that was killed
    while it saved its model has a checkpoint of the last step; it is resumed without training,
    whereas the Trainer itself would take another step.
    """

    def _send_telemetry(self) -> None:
        """Send nothing: TRL would report the use of its trainers."""

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        output = Path(self.args.output_dir)  # type: ignore[attr-defined]
        with writing(output / f"checkpoint-{self.state.global_step}"):  # type: ignore[attr-defined]
            super()._save_checkpoint(model, trial)  # type: ignore[misc]

    def _run_epoch(self, **arguments: Any) -> None:
        if self.state.global_step >= self.state.max_steps:  # type: ignore[attr-defined]
            self.control.should_training_stop = True  # type: ignore[attr-defined]
        else:
            super()._run_epoch(**arguments)  # type: ignore[misc]
