"""When a checkpoint is complete: one rule for MaxText's trainer and one for transformers' Trainer.

A checkpoint may lie on a disk or in a bucket, and not every host has a library for both. The rule
for MaxText's therefore takes the names of files, which each caller lists in its own way.
"""

from collections.abc import Iterable
from pathlib import Path

from tinymathreason.cli import InputError
from tinymathreason.files import read_json

METADATA = "_CHECKPOINT_METADATA"
"""Orbax's record of a step, with the times of its start and its commit."""
MAXTEXT_FILES = ("commit_success.txt", METADATA)
"""Files that Orbax writes beside the arrays of a step; the first one is written last."""
TRAINER_STATE = "trainer_state.json"
"""The file that the Trainer's main process writes last."""


def maxtext_complete(names: Iterable[str]) -> bool:
    """Whether a step's folder, ``RUN/checkpoints/STEP``, with these files is a whole checkpoint."""
    return set(MAXTEXT_FILES) <= set(names)


def trainer_complete(folder: Path, processes: int = 1) -> bool:
    """Whether ``folder``, ``OUTPUT/checkpoint-STEP``, was saved by all of ``processes``.

    Each process of several writes its own random state, in no order with the others.
    """
    try:
        read_json(folder / TRAINER_STATE)
    except InputError:
        return False
    states = [folder / f"rng_state_{rank}.pth" for rank in range(processes)]
    return processes == 1 or all(state.is_file() for state in states)
