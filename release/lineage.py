"""The models that a model comes from, by the records of fine-tuning in their folders."""

from collections.abc import Iterator
from pathlib import Path

from tinymathreason.provenance import model_hash
from tinymathreason.records.tuning import DpoRecord, GrpoRecord, SftRecord

AnyTuned = SftRecord | DpoRecord | GrpoRecord
PARITY = "conversion.json"
TUNINGS: dict[str, type[AnyTuned]] = {
    "sft.json": SftRecord,
    "dpo.json": DpoRecord,
    "grpo.json": GrpoRecord,
}
"""The record that a fine-tuning leaves in the folder of its model, by its file."""


def parity_record(folder: Path) -> Path | None:
    """The record of the conversion from which a model comes; None when nothing leads to it."""
    return next((p / PARITY for p in lineage(folder) if (p / PARITY).is_file()), None)


def lineage(folder: Path) -> Iterator[Path]:
    """A model's folder, that of the model it was tuned from, and so on.

    It ends where the folder of a start is gone or holds other weights than those recorded.
    """
    seen = set()
    while folder not in seen:
        yield folder
        seen.add(folder)
        tuned = tuning_record(folder)
        if tuned is None or not Path(tuned.model_name_or_path).is_dir():
            return
        if model_hash(Path(tuned.model_name_or_path)) == tuned.base:
            folder = Path(tuned.model_name_or_path)


def tuning_record(folder: Path) -> AnyTuned | None:
    """The record of fine-tuning in the folder of a model; None when it was not tuned.

    Raises `InputError` for a damaged one.
    """
    for name, kind in TUNINGS.items():
        if (folder / name).is_file():
            return kind.load(folder / name)
    return None
