"""A model's folder in; the folders of the models that it comes from out."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tinymathreason.cli import InputError
from tinymathreason.files import read_json
from tinymathreason.provenance import model_hash

PARITY = "conversion.json"
TUNINGS = ("sft.json", "dpo.json", "grpo.json")
"""Records that fine-tuning leaves in the folder of its model, each with the model it began with."""


def parity_record(folder: Path) -> Path | None:
    """The record of the conversion from which a model comes; None when nothing leads to it."""
    return next((p / PARITY for p in lineage(folder) if (p / PARITY).is_file()), None)


def lineage(folder: Path) -> Iterator[Path]:
    """A model's folder, the one it was tuned from, and so on, while the weights are those."""
    seen = set()
    while folder not in seen:
        yield folder
        seen.add(folder)
        tuned = tuning_record(folder)
        start = tuned.get("model_name_or_path")
        if not isinstance(start, str) or not Path(start).is_dir():
            return
        if model_hash(Path(start)) == tuned.get("base"):
            folder = Path(start)


def tuning_record(folder: Path) -> dict[str, Any]:
    """What fine-tuning recorded in the folder of its model; empty when it was not tuned."""
    for name in TUNINGS:
        if (folder / name).is_file():
            value = read_json(folder / name)
            if not isinstance(value, dict):
                raise InputError(f"{folder / name}: is no record of a fine-tuning")
            return value
    return {}
