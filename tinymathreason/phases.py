"""The phases of pretraining that a checkpoint or a model comes from, by the records beside it."""

from pathlib import Path

import pydantic

from tinymathreason.files import read_json
from tinymathreason.listing import is_remote, open_file
from tinymathreason.records.base import OpenPart, validated
from tinymathreason.records.pretraining import Phase, Starts

MODEL_RECORDS = ("conversion.json", "sft.json", "dpo.json", "grpo.json")
"""Records in the folder of a model that have its phases."""


class _Phases(OpenPart):
    """What the `MODEL_RECORDS` have in common."""

    phases: list[Phase] = pydantic.Field(default_factory=list)
    """As in each of them."""


def of_checkpoint(step_dir: str) -> list[Phase]:
    """The phases up to a checkpoint, ``RUN/checkpoints/STEP``, oldest first.

    None for a checkpoint that no training here wrote, and for a remote one whose records cannot be
    reached: that must not stop the work on its weights.
    """
    run, _, step = step_dir.rstrip("/").removesuffix("/items").rpartition("/checkpoints/")
    path = f"{run}/provenance.json"
    if not run or not step.isdigit() or not (is_remote(path) or Path(path).is_file()):
        return []
    try:
        with open_file(path) as file:
            content = file.read()
    except (OSError, ImportError, ValueError):
        if is_remote(path):
            return []
        raise
    last = Starts.parse(content, path).starts[-1]
    mixture = last.mixture
    return [
        *last.earlier,
        Phase(
            run=run.rpartition("/")[2],
            recipe=mixture.recipe if mixture else None,
            file=mixture.file if mixture else None,
            last_step=int(step),
        ),
    ]


def of_model(folder: Path) -> list[Phase]:
    """The phases that the record in a model's folder names; none without a record."""
    for name in MODEL_RECORDS:
        if (folder / name).is_file():
            path = folder / name
            return validated(_Phases, read_json(path), path, "remove the damaged record").phases
    return []
