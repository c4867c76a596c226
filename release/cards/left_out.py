"""What a card leaves out because no record has it; the user is told on the terminal."""

from pathlib import Path

from release.records import RunRecords


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

    def add_missing(self, records: RunRecords) -> None:
        """Remember the figures of every record that does not exist."""
        folders = records.folders
        missing: list[tuple[object, Path, str]] = [
            (
                records.mixture,
                folders.mixture / "manifest.json",
                "sources of pretraining, their weights, documents, tokens and passes, documents "
                "rejected, benchmarks looked for in pretraining",
            ),
            (
                records.configuration,
                folders.pretrain / "config.json",
                "batch, optimiser, peak learning rate, schedule, warm-up and precision of "
                "pretraining",
            ),
            (
                records.starts,
                folders.pretrain / "provenance.json",
                "batch, hardware and chip-hours of pretraining",
            ),
            (
                records.conversion,
                folders.base / "conversion.json",
                "largest difference of logits, mean KL divergence, agreement of the most likely "
                "token",
            ),
            (records.stages, folders.stages, "seconds and memory of the stages"),
            (records.results, folders.evaluation, "accuracy"),
        ]
        if records.tuned:
            missing.append(
                (
                    records.examples,
                    records.examples_path,
                    "origin of the examples, benchmarks looked for in fine-tuning",
                )
            )
        for record, path, figures in missing:
            if not record:
                self.add(figures, f"{path}: no such record")
        if records.conversion and records.conversion.parity is None:
            self.add("parity", f"{missing[3][1]}: the conversion was not proven")
