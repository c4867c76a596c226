"""The sections of a ladder's report in Markdown, with their figures."""

import dataclasses
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from pretrain.ladder import forecast, plots
from pretrain.ladder.forecast import Target
from pretrain.ladder.forms import FORMS, NAMES, ends
from pretrain.ladder.law import Runs
from pretrain.ladder.link import Answers
from tinymathreason.records.ladder import (
    AccuracyLink,
    HeldOutRun,
    LadderReport,
    ScalingLaw,
    TaskLaw,
)
from tinymathreason.tables import markdown_table
from tinymathreason.units import duration

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

NEGLIGIBLE = math.log(1e-6)
"""Logarithm of an E that is not printed."""
FURTHER = (10, 100)
"""Multiples of the largest run's FLOPs whose forecasts the report shows."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Section:
    """A part of report.md."""

    title: str
    lines: Sequence[str]
    """Markdown."""
    figures: "dict[str, Figure]" = dataclasses.field(default_factory=dict)
    """Figures by the name of their file without its suffix."""


def law_sections(report: LadderReport, table: "pd.DataFrame") -> list[Section]:
    """What was run, the law of the loss, each task, and forecasts."""
    runs = Runs.of(table, "loss")
    sections = [
        Section(title="Runs", lines=_runs(report, table)),
        Section(
            title="Held-out loss",
            lines=_law(report.loss, report),
            figures={"loss": plots.law(runs, report.loss, report.level)},
        ),
    ]
    for name, task in report.tasks.items():
        of_task = Runs.of(table, task.bits.target)
        figures = {f"bits-{name}": plots.law(of_task, task.bits, report.level)}
        if task.link:
            answers = Answers.of(table, name, of_task)
            figures[f"accuracy-{name}"] = plots.accuracy_link(
                name, of_task, answers, task.link, task.held_out, report.level
            )
        sections.append(Section(title=name, lines=_task(task, report), figures=figures))
    return [*sections, Section(title="Forecasts", lines=_forecasts(report))]


def _runs(report: LadderReport, table: "pd.DataFrame") -> list[str]:
    spans = report.range
    seconds = float(table["seconds"].sum()) if "seconds" in table else math.nan
    lines = [
        f"The law is fitted to {spans.runs} finished runs of {len(spans.sizes)} sizes "
        f"({', '.join(spans.sizes)}): {spans.parameters[0]:.3g} to {spans.parameters[1]:.3g} "
        f"weights that multiply every token, {spans.tokens[0]:.3g} to {spans.tokens[1]:.3g} "
        f"tokens, {spans.flops[0]:.2g} to {spans.flops[1]:.2g} FLOPs. All {len(table)} runs of the "
        f"ladder took {duration(seconds)}.",
    ]
    if report.diverged:
        lines += ["", f"Diverged, and in no fit: {', '.join(report.diverged)}."]
    return lines


def _law(law: ScalingLaw, report: LadderReport) -> list[str]:
    return [
        f"`{formula(law)}`",
        "",
        f"N are the weights that multiply every token, D the tokens. Intervals are "
        f"{report.level:.0%} intervals for what a new run measures, from {len(law.bootstrap)} "
        f"resamples of the runs, widened {law.widening:.2f} times.",
        "",
        markdown_table(("parameter", "value", "low", "high"), _parameters(law, report.level)),
        "",
        markdown_table(
            ("form", "formula", "error of the sizes left out", "source"),
            [
                (name, f"`{FORMS[name].formula}`", f"{error:.2%}", FORMS[name].source)
                for name, error in sorted(law.errors.items(), key=lambda item: item[1])
            ],
        ),
        "",
        *held_out_lines(law.held_out, report.range.sizes, relative=True),
    ]


def formula(law: ScalingLaw) -> str:
    """The law with its numbers."""
    e, a, b, alpha, beta, gamma, kappa = law.parameters
    powers = f"(N^{kappa:.3f} * D^{beta:.3f})" if kappa else f"D^{beta:.3f}"
    inner = f"{math.exp(b):.4g} / {powers}"
    if a > NEGLIGIBLE:
        inner = f"{math.exp(a):.4g} / N^{alpha:.3f} + {inner}"
    raised = inner if gamma == 1 else f"({inner})^{gamma:.3f}"
    return raised if e < NEGLIGIBLE else f"{math.exp(e):.4g} + {raised}"


def _parameters(law: ScalingLaw, level: float) -> list[tuple[str, str, str, str]]:
    draws = np.array(law.bootstrap)
    form = FORMS[law.form]
    rows = []
    for number, name in enumerate(NAMES):
        if name not in form.fixed:
            low, high = np.quantile(draws[:, number], ends(level))
            shown = f"log {name.upper()}" if name in "eab" else name
            rows.append((shown, f"{law.parameters[number]:.3f}", f"{low:.3f}", f"{high:.3f}"))
    return rows


def held_out_lines(
    held_out: Sequence[HeldOutRun], sizes: Sequence[str], relative: bool
) -> list[str]:
    """Each size left out and foretold: a table by size, then one of the largest size's runs."""
    if not held_out:
        return ["No size could be left out and foretold: the ladder has too few."]

    def error(run: HeldOutRun) -> str:
        return f"{run.relative_error:+.2%}" if relative else f"{100 * run.error:+.1f} points"

    def value(number: float) -> str:
        return f"{number:.4f}" if relative else f"{number:.1%}"

    by_size = []
    for size in sizes:
        runs = [run for run in held_out if run.size == size]
        if runs:
            worst = max(runs, key=lambda run: abs(run.error))
            inside = f"{sum(run.inside for run in runs)} of {len(runs)}"
            by_size.append((size, error(worst), inside))
    largest = by_size[-1][0]
    return [
        markdown_table(("size left out", "largest error", "inside the interval"), by_size),
        "",
        f"The runs of {largest}, of which the forecast knew nothing:",
        "",
        markdown_table(
            ("run", "measured", "foretold", "low", "high", "error"),
            [
                (
                    run.name,
                    value(run.measured),
                    value(run.foretold.value),
                    value(run.foretold.low),
                    value(run.foretold.high),
                    error(run),
                )
                for run in held_out
                if run.size == largest
            ],
        ),
    ]


def link_in_words(link: AccuracyLink, digits: int) -> str:
    """The curve, its middle with so many ``digits``, and how the accuracies scatter around it."""
    floor, slope, middle = link.parameters
    return (
        f"accuracy = {floor:.3f} + {1 - floor:.3f} / (1 + exp({slope:.2f} (bits - "
        f"{middle:.{digits}f}))). The accuracies scatter around it with {link.dispersion:.1f} "
        f"times the binomial variance of {link.problems} problems."
    )


def _task(task: TaskLaw, report: LadderReport) -> list[str]:
    lines = ["Bits a byte of the gold solutions given the question.", "", *_law(task.bits, report)]
    if task.link is None:
        return [*lines, "", f"No link to the accuracy was fitted: {task.reason}."]
    return [
        *lines,
        "",
        link_in_words(task.link, 3),
        "",
        *held_out_lines(task.held_out, report.range.sizes, relative=False),
    ]


def _forecasts(report: LadderReport) -> list[str]:
    lines = [
        "Estimates for runs with as many tokens a weight as the largest one. For a run of your "
        "own: `python -m pretrain.preflight OVERLAY --ladder REPORT`.",
    ]
    spans = report.range
    for factor in FURTHER:
        step = math.sqrt(factor)
        target = Target(
            weights=spans.parameters[1] * step,
            tokens=spans.tokens[1] * step,
            flops=spans.flops[1] * factor,
        )
        lines += ["", f"With {factor} times the FLOPs ({target.weights:.3g} weights):", ""]
        lines += [f"- {name}: {words}" for name, words in forecast.rows(report, target)]
        lines += [f"- not to be believed: {why}" for why in forecast.doubts(report, target)]
    return lines
