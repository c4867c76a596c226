"""Plots of a ladder's law and links, drawn by matplotlib."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pretrain.ladder.forecast import LawSpread, accuracy_of
from pretrain.ladder.forms import Array, ends, log_value
from pretrain.ladder.law import Runs
from pretrain.ladder.link import Answers
from tinymathreason.files import new_file
from tinymathreason.records.ladder import AccuracyLink, HeldOutRun, ScalingLaw

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SIZE = (10, 4.2)
"""Of a figure of two plots, in inches."""


def save(figure: "Figure", path: Path) -> None:
    """Write a figure as PNG; a crash leaves the old file or the new."""
    with new_file(path) as aside:
        figure.savefig(aside, dpi=110, format="png", metadata={"Software": None})


def law(runs: Runs, fitted: ScalingLaw, level: float) -> "Figure":
    """Left, the runs and the law by tokens, a colour a size; right, what was foretold left out."""
    figure, (left, right) = pair()
    spread = LawSpread.of(fitted)
    for number, size in enumerate(runs.distinct_sizes):
        of_size = runs.only(size)
        _curve(left, spread, of_size, level, f"C{number}")
        left.plot(of_size.tokens, of_size.values, "o", ms=4, color=f"C{number}", label=size)
    left.set(xscale="log", yscale="log", xlabel="tokens of training", ylabel=fitted.unit)
    left.set_title(f"{fitted.target}: the runs, the law and its {level:.0%} interval")
    _plain_numbers(left, runs.values)
    left.legend(frameon=False)
    _foretold(right, fitted.held_out, runs.distinct_sizes, fitted.unit, level)
    right.set(xscale="log", yscale="log")
    _plain_numbers(right, runs.values)
    right.xaxis.set_major_formatter("{x:g}")
    right.set_xticks(*_ticks(runs.values))
    return figure


def accuracy_link(
    task: str, runs: Runs, answers: Answers, link: AccuracyLink,
    held_out: Sequence[HeldOutRun], level: float,
) -> "Figure":  # fmt: skip
    """Left, the accuracies by bits a byte with the link; right, those foretold left out."""
    figure, (left, right) = pair()
    bits = np.linspace(answers.bits.min() * 0.8, answers.bits.max() * 1.05, 200)
    curves = accuracy_of(np.array(link.bootstrap)[:, None, :], bits)
    low, high = np.quantile(curves, ends(level), axis=0)
    left.fill_between(bits, low, high, color="0.85", label=f"{level:.0%} of the resamples")
    left.plot(bits, accuracy_of(link.parameters, bits), color="0.3", label="link")
    for number, size in enumerate(runs.distinct_sizes):
        kept = np.array([other == size for other in runs.sizes]) & (answers.problems > 0)
        share = answers.correct[kept] / answers.problems[kept]
        left.plot(answers.bits[kept], share, "o", ms=4, color=f"C{number}", label=size)
    left.invert_xaxis()
    left.set(xlabel="bits a byte of the gold solutions", ylabel="accuracy", ylim=(-0.02, 1.02))
    left.set_title(f"{task}: from likelihood to accuracy")
    left.legend(frameon=False)
    _foretold(right, held_out, runs.distinct_sizes, "accuracy", level)
    return figure


def _curve(axes: "Axes", spread: LawSpread, of_size: Runs, level: float, colour: str) -> None:
    tokens = np.geomspace(of_size.tokens.min() / 1.3, of_size.tokens.max() * 1.3, 30)
    weights = float(of_size.weights[0])
    ends = [spread.interval(weights, float(count), level) for count in tokens]
    axes.fill_between(
        tokens,
        [end.low for end in ends],
        [end.high for end in ends],
        color=colour,
        alpha=0.15,
        lw=0,
    )
    axes.plot(tokens, np.exp(log_value(spread.parameters, np.array(weights), tokens)), color=colour)


def _foretold(
    axes: "Axes", held_out: Sequence[HeldOutRun], sizes: Sequence[str], unit: str, level: float
) -> None:
    for number, size in enumerate(sizes):
        runs = [run for run in held_out if run.size == size]
        if runs:
            values = np.array([run.foretold.value for run in runs])
            low = np.maximum(values - [run.foretold.low for run in runs], 0)
            high = np.maximum([run.foretold.high for run in runs] - values, 0)
            axes.errorbar(
                [run.measured for run in runs], values, yerr=[low, high], fmt="o", ms=4,
                capsize=3, color=f"C{number}", label=f"without {size}",
            )  # fmt: skip
    if held_out:
        ends = [min(run.measured for run in held_out), max(run.measured for run in held_out)]
        axes.plot(ends, ends, color="0.5", lw=0.8)
        axes.legend(frameon=False)
    axes.set(xlabel=f"measured, {unit}", ylabel=f"foretold, {unit}")
    axes.set_title(f"each size foretold from the others, {level:.0%} intervals")


def _ticks(values: Array) -> tuple[Array, list[str]]:
    ticks = np.geomspace(values.min(), values.max(), 5)
    return ticks, [f"{tick:.3g}" for tick in ticks]


def _plain_numbers(axes: "Axes", values: Array) -> None:
    """Five labelled values on the vertical axis: a power of ten is rarely among the values."""
    from matplotlib.ticker import NullFormatter

    axes.set_yticks(*_ticks(values))
    axes.yaxis.set_minor_formatter(NullFormatter())
    if axes.get_xlabel().startswith("measured"):
        axes.xaxis.set_minor_formatter(NullFormatter())
    axes.grid(color="0.92")


def pair(size: tuple[float, float] = SIZE) -> "tuple[Figure, Sequence[Axes]]":
    """A figure of two plots side by side; ``size`` is in inches."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    return figure, figure.subplots(1, 2)
