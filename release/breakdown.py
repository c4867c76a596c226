"""Tables that the card and the report show below the accuracies: what the figures consist of."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from release.markdown import escape
from tinymathreason.records.contamination import Contamination
from tinymathreason.records.evaluation import MetricEstimate, Results
from tinymathreason.records.report import Report, ReportAccuracy
from tinymathreason.tables import markdown_table

Percent = Callable[[float], str]
"""A share of 1 as text."""


@dataclass(frozen=True)
class Evaluation:
    """An evaluation as a table names it."""

    name: str
    """That of its folder, or of its model."""
    results: Results | ReportAccuracy
    contamination: Contamination | None = None


@dataclass(frozen=True)
class Breakdown:
    """A table with its title and a note below it; its cells are plain text."""

    title: str
    head: list[str]
    rows: list[list[str]]
    words: int
    """How many columns, from the first, hold words; the others hold numbers."""
    note: str = ""


def of_report(report: Report, title: Callable[[str], str] = str) -> list[Evaluation]:
    """The evaluations of a report; ``title`` is what a model is called."""
    return [
        Evaluation(title(name), accuracy, report.contamination.get(name))
        for name, accuracy in report.accuracy.items()
    ]


def breakdowns(evaluations: Sequence[Evaluation], percent: Percent) -> Iterator[Breakdown]:
    """The tables that have a row."""
    for make in (_contamination, _variants, _groups):
        table = make(evaluations, percent)
        if table.rows:
            yield table


def as_markdown(table: Breakdown) -> str:
    """The table itself in Markdown."""
    return markdown_table(table.head, [list(map(escape, row)) for row in table.rows])


def _contamination(evaluations: Sequence[Evaluation], percent: Percent) -> Breakdown:
    rows, notes = [], dict[str, None]()
    for one in evaluations:
        if (record := one.contamination) is None:
            continue
        sides = (with_interval(s, percent) for s in (record.clean, record.contaminated))
        numbers = (f"{record.problems:,}", f"{len(record.found):,}")
        stages = " and ".join(dict.fromkeys(text.stage for text in record.texts))
        rows.append([one.name, one.results.task, stages, *numbers, *sides])
        notes[f"A problem is found where a document contains {record.rule}."] = None
    return Breakdown(
        "Problems in the training text",
        ["evaluation", "task", "searched", "problems", "found", "value, others", "value, found"],
        rows,
        3,
        " ".join(notes),
    )


def _variants(evaluations: Sequence[Evaluation], percent: Percent) -> Breakdown:
    rows = [
        [
            one.name,
            _words(kind),
            f"{found.n:,}",
            percent(found.original),
            percent(found.variant),
            f"{100 * found.difference:+.1f}",
            f"{100 * found.low:+.1f} to {100 * found.high:+.1f}",
        ]
        for one in evaluations
        for kind, found in one.results.differences.items()
    ]
    return Breakdown(
        "Variants of the problems",
        ["evaluation", "variant", "pairs", "originals", "variants", "points", "95 % interval"],
        rows,
        2,
        "Each variant is compared with its original; a model that only remembers the originals "
        "loses on the variants. The intervals are Newcombe's for pairs.",
    )


def _groups(evaluations: Sequence[Evaluation], percent: Percent) -> Breakdown:
    rows = [
        [
            one.name,
            one.results.task,
            _words(column),
            value,
            f"{estimate.n:,}",
            percent(estimate.value),
            f"{percent(estimate.low)} to {percent(estimate.high)}",
        ]
        for one in evaluations
        for column, by_value in one.results.groups.items()
        for value, estimate in by_value.items()
    ]
    return Breakdown(
        "Groups of problems",
        ["evaluation", "task", "by", "group", "problems", "value", "95 % interval"],
        rows,
        4,
    )


def with_interval(estimate: MetricEstimate | None, percent: Percent) -> str:
    """The value and its interval in a cell; empty for None."""
    if estimate is None:
        return ""
    interval = f"{percent(estimate.low)} to {percent(estimate.high)}"
    return f"{percent(estimate.value)} ({interval})"


def _words(name: str) -> str:
    return name.replace("_", " ").lower()
