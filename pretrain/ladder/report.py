"""The report of a ladder: report.json for forecasts, report.md and plots for people."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pretrain import mixture
from pretrain.ladder import left_out, plots, task_law
from pretrain.ladder.law import Runs
from pretrain.ladder.sections import Section, law_sections
from pretrain.ladder.table import as_csv
from tinymathreason import provenance
from tinymathreason.files import write_text
from tinymathreason.records.ladder import LadderRange, LadderReport
from tinymathreason.records.mixture import Mixture

if TYPE_CHECKING:
    import pandas as pd

LEVEL = 0.9
"""Of the intervals."""
JSON, TEXT = "report.json", "report.md"
"""Names of the report's files."""


def make(ladder: Path, table: "pd.DataFrame", mixture_folder: Path | None) -> LadderReport:
    """Fit every law and link to a table of results.

    ``ladder`` is its file and ``mixture_folder`` the mixture of its runs, for the comparison with
    another run's. Raises `InputError` when the table has too few finished runs for a law.
    """
    runs = Runs.of(table, "loss")
    whole = left_out.resampled(runs)
    without = left_out.without_each(runs, whole.form)
    flops = table.set_index("name").loc[list(runs.names), "flops"].to_numpy(dtype=np.float64)
    return LadderReport(
        ladder=str(ladder),
        table_sha256=table_hash(table),
        **_trained_on(mixture_folder),
        level=LEVEL,
        range=LadderRange(
            sizes=runs.distinct_sizes,
            parameters=[float(runs.weights.min()), float(runs.weights.max())],
            tokens=[float(runs.tokens.min()), float(runs.tokens.max())],
            flops=[float(flops.min()), float(flops.max())],
            runs=len(runs),
        ),
        diverged=sorted(map(str, table.loc[table["status"] == "diverged", "name"])),
        loss=left_out.scaling_law(runs, whole, without, "loss", "nats a token", LEVEL),
        tasks={task: task_law.task_law(table, task, LEVEL) for task in task_law.tasks(table)},
        provenance=provenance.record(),
    )


def _trained_on(folder: Path | None) -> dict[str, Any]:
    """The fields of the record that say what the runs were trained on."""
    if folder is None:
        return {"vocab_size": None, "tokenizer_sha256": None, "mixture": None, "shares": {}}
    manifest = Mixture.load(folder / "manifest.json")
    tokenizer = folder / "tokenizer" / "tokenizer.json"
    return {
        "vocab_size": manifest.vocab_size,
        "tokenizer_sha256": provenance.file_hash(tokenizer) if tokenizer.is_file() else None,
        "mixture": mixture.record({mixture.MIXTURE: str(folder / "mixture.json")}),
        "shares": manifest.recipe.shares,
    }


def table_hash(table: "pd.DataFrame") -> str:
    """SHA-256 of a table of results, whatever the order of its rows."""
    return hashlib.sha256(as_csv(table.sort_values("name")).encode()).hexdigest()


def write(
    folder: Path, report: LadderReport, table: "pd.DataFrame", more: Sequence[Section] = ()
) -> None:
    """Write report.json, report.md and the plots into ``folder``; ``more`` follows the laws."""
    sections = [*law_sections(report, table), *more]
    for section in sections:
        for name, figure in section.figures.items():
            plots.save(figure, folder / f"{name}.png")
    write_text(folder / TEXT, markdown(report.ladder, sections))
    report.write(folder / JSON)


def markdown(ladder: str, sections: Sequence[Section]) -> str:
    """The text of report.md."""
    lines = [f"# Ladder {ladder}", ""]
    for section in sections:
        lines += [f"## {section.title}", "", *section.lines, ""]
        for name in section.figures:
            lines += [f"![{section.title}]({name}.png)", ""]
    return "\n".join(lines).rstrip() + "\n"
