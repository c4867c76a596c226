"""Figures that a card or a report leaves out because no record has them; the command prints it."""

from release.origin import Origin
from release.records import RunRecords
from tinymathreason.records.tuning import SftRecord

_FIGURES = {
    "mixture": "sources of pretraining, their weights, documents, tokens and passes, documents "
    "rejected, benchmarks looked for in pretraining",
    "configuration": "batch, optimiser, peak learning rate, schedule, warm-up and precision of "
    "pretraining",
    "starts": "batch, hardware and chip-hours of pretraining",
    "conversion": "largest difference of logits, mean KL divergence, agreement of the most likely "
    "token",
    "stages": "seconds and memory of the stages",
    "results": "accuracy",
    "examples": "origin of the examples, benchmarks looked for in fine-tuning",
}
"""The figures of a card that come from a record, by its name in `RunRecords`."""
_PRETRAINING = ("mixture", "configuration", "starts", "conversion")
"""The records that pretraining and conversion leave."""


class LeftOut:
    """Names of figures, by the reason why the card does not have them."""

    def __init__(self) -> None:
        self._figures: dict[str, list[str]] = {}

    def add(self, figures: str, reason: str) -> None:
        """Remember figures that are left out."""
        self._figures.setdefault(reason, []).append(figures)

    def lines(self) -> list[str]:
        """A line for each reason."""
        return [f"left out: {', '.join(names)} ({why})" for why, names in self._figures.items()]

    def add_missing(self, records: RunRecords, began: Origin | None = None) -> None:
        """Remember the figures of every record that does not exist.

        ``began`` is the open model that it began with. Without any record of pretraining it was
        tuned from that model as it is, so that nothing of these records is missing.
        """
        folders = records.folders
        paths = {
            "mixture": folders.mixture / "manifest.json",
            "configuration": folders.pretrain / "config.json",
            "starts": folders.pretrain / "provenance.json",
            "conversion": folders.base / "conversion.json",
            "stages": folders.stages,
            "results": folders.evaluation,
            **({"examples": records.examples_path} if isinstance(records.tuned, SftRecord) else {}),
        }
        not_made = _PRETRAINING if began and not records.pretrained else ()
        for name, path in paths.items():
            if not getattr(records, name) and name not in not_made:
                self.add(_FIGURES[name], f"{path}: no such record")
        if began:
            given = "no record tells it; give --base-model ORG/NAME@REVISION"
            for figure in ("name", "revision"):
                if getattr(began, figure) is None:
                    self.add(f"{figure} of the model that it began with", given)
            if not began.license:
                self.add("licence of the model that it began with", "it has no card that tells it")
        if records.conversion and records.conversion.parity is None:
            self.add("parity", f"{paths['conversion']}: the conversion was not proven")
