"""What a ladder foretells for a model of some size after some tokens, with intervals.

An interval is for what a new run would measure: it has the scatter of the runs around the law, not
only the uncertainty of the law's parameters.
"""

import dataclasses
import math
from typing import Any

import numpy as np

from pretrain.ladder.forms import Array, ends, log_value
from tinymathreason.records.ladder import (
    AccuracyLink,
    Interval,
    LadderReport,
    LinkParameters,
    ScalingLaw,
    TaskLaw,
)

MOST_ORDERS = 2.0
"""Orders of magnitude of FLOPs beyond the ladder's largest run that are believed.

Of published forecasts, the task ladder goes two orders of magnitude (Bhagia et al. 2024, arXiv
2412.04403: 1 % of the compute) and misses half of its tasks by 7 points.
"""
FEWEST_SIZES = 4
"""Sizes of a ladder that is believed: one is left out, and three lie on a curve, not on a line."""
WORST_ERROR = 0.02
"""Relative error of the largest size's left-out loss with which a ladder is believed."""
MAIN_TASK = "gsm8k"
"""The task that a forecast never passes over in silence."""
LEAST_DRAWS = 4000
"""Draws of an accuracy, for the ends of its interval."""
SEED = 0
"""Of the draws of an accuracy."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Target:
    """A training that has not happened."""

    weights: float
    """Weights that multiply every token: `pretrain.model.Model.matrices`."""
    tokens: float
    """Tokens of training."""
    flops: float
    """Operations of the training."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class LawSpread:
    """A law's parameters with what its intervals are made of."""

    parameters: Array
    """[7]."""
    bootstrap: Array
    """[draws, 7]."""
    residuals: Array
    """Of the logarithms, [runs]."""
    widening: float = 1.0
    """Factor on the intervals."""

    @classmethod
    def of(cls, law: ScalingLaw) -> "LawSpread":
        """The spread of a recorded law."""
        return cls(
            parameters=np.array(law.parameters),
            bootstrap=np.array(law.bootstrap).reshape(-1, 7),
            residuals=np.array(law.residuals),
            widening=law.widening,
        )

    def log_value(self, weights: float, tokens: float) -> float:
        """The logarithm of the law's value."""
        return float(log_value(self.parameters, np.array(weights), np.array(tokens)))

    def log_draws(self, weights: float, tokens: float) -> Array:
        """Logarithms that a new run may measure, [draws, runs]: each law with each residual."""
        laws = log_value(self.bootstrap, np.array(weights), np.array(tokens))
        middle = self.log_value(weights, tokens)
        return middle + self.widening * (laws[:, None] + self.residuals - middle)

    def interval(self, weights: float, tokens: float, level: float) -> Interval:
        """The law's value, and the interval that has a share ``level`` of the draws."""
        low, high = np.quantile(self.log_draws(weights, tokens), ends(level))
        value = math.exp(self.log_value(weights, tokens))
        return Interval(value=value, low=math.exp(low), high=math.exp(high))


def accuracy_of(link: LinkParameters | Array, bits: Array) -> Array:
    """The accuracy at ``bits`` a byte: floor + (1 - floor) / (1 + exp(slope (bits - middle)))."""
    floor, slope, middle = np.moveaxis(np.asarray(link), -1, 0)
    return np.asarray(floor + (1 - floor) * 0.5 * (1 + np.tanh(slope * (middle - bits) / 2)))


def accuracy(
    spread: LawSpread, link: AccuracyLink, weights: float, tokens: float, level: float,
    problems: int | None = None,
) -> Interval:  # fmt: skip
    """The accuracy that a new run may measure on ``problems``; None takes the ladder's number.

    Every resample of the runs gives a law of the bits and a link; the accuracy scatters around the
    link as the ladder's did, which is at least binomial.
    """
    generator = np.random.default_rng(SEED)
    count = problems or link.problems
    links = np.array(link.bootstrap)[:, None, :]
    means = accuracy_of(links, np.exp(spread.log_draws(weights, tokens)))
    means = np.resize(means, max(means.size, LEAST_DRAWS))
    drawn = scattered(means, count, link, generator)
    low, high = np.quantile(drawn, ends(level), method="inverted_cdf")
    value = accuracy_of(link.parameters, np.exp(spread.log_value(weights, tokens)))
    return Interval(value=float(value), low=float(low), high=float(high))


def scattered(
    means: Array, problems: int, link: AccuracyLink, generator: np.random.Generator
) -> Array:
    """Accuracies on ``problems`` around their means: beta-binomial with the link's dispersion."""
    if link.dispersion > 1 and link.problems > 1:
        # Dispersion is the variance in units of the binomial one: 1 + (n - 1) correlation.
        correlation = min((link.dispersion - 1) / (link.problems - 1), 0.5)
        total = 1 / correlation - 1
        inner = np.clip(means, 1e-9, 1 - 1e-9)
        means = generator.beta(inner * total, (1 - inner) * total)
    return np.asarray(generator.binomial(problems, np.clip(means, 0, 1)) / problems)


def orders(report: LadderReport, target: Target) -> dict[str, float]:
    """How far the target lies beyond the ladder, in orders of magnitude; below zero inside it."""
    spans = report.range
    return {
        "parameters": math.log10(target.weights / spans.parameters[1]),
        "tokens": math.log10(target.tokens / spans.tokens[1]),
        "FLOPs": math.log10(target.flops / spans.flops[1]),
    }


def doubts(report: LadderReport, target: Target) -> list[str]:
    """Why the forecast is not to be believed, one reason each; empty when it is."""
    reasons = []
    if (beyond := orders(report, target)["FLOPs"]) > MOST_ORDERS:
        reasons.append(
            f"the run lies {beyond:.1f} orders of magnitude of FLOPs beyond its largest run, "
            f"believed are {MOST_ORDERS:g}"
        )
    if (sizes := len(report.range.sizes)) < FEWEST_SIZES:
        reasons.append(f"it has {sizes} sizes, needed are {FEWEST_SIZES}")
    largest = [run for run in report.loss.held_out if run.size == report.range.sizes[-1]]
    if not largest:
        reasons.append("its largest size could not be left out and foretold")
    elif (worst := max(abs(run.relative_error) for run in largest)) > WORST_ERROR:
        reasons.append(
            f"it foretold its own largest size's loss with an error of {worst:.1%}, "
            f"accepted are {WORST_ERROR:.0%}"
        )
    return reasons


def rows(report: LadderReport, target: Target) -> list[tuple[str, str]]:
    """The rows that preflight prints beside days and dollars."""
    level = f"{report.level:.0%}"
    loss = _of_loss(report, target)
    result = [
        (
            "estimated held-out loss",
            f"{loss.value:.3f} ({level}: {loss.low:.3f} to {loss.high:.3f}) nats a token",
        )
    ]
    for name, task in report.tasks.items():
        result += _task_rows(name, task, target, report.level)
    if MAIN_TASK not in report.tasks:
        result.append((f"accuracy, {MAIN_TASK}", "no estimate: the ladder did not measure it"))
    beyond = orders(report, target)
    words = ", ".join(f"{name} {_signed(value)}" for name, value in beyond.items())
    result.append(("beyond the ladder", f"{words} orders of magnitude"))
    return result


def numbers(report: LadderReport, target: Target) -> dict[str, Any]:
    """The forecast for JSON; an accuracy that cannot be foretold is null."""
    tasks = {}
    for name, task in report.tasks.items():
        bits, found = _of_task(task, target, report.level)
        tasks[name] = {
            "bits": bits.model_dump(),
            "accuracy": found.model_dump() if found else None,
        }
    return {
        "level": report.level,
        "loss": _of_loss(report, target).model_dump(),
        "tasks": tasks,
        "orders_of_magnitude_beyond": orders(report, target),
        "doubts": doubts(report, target),
    }


def _of_loss(report: LadderReport, target: Target) -> Interval:
    return LawSpread.of(report.loss).interval(target.weights, target.tokens, report.level)


def _of_task(task: TaskLaw, target: Target, level: float) -> tuple[Interval, Interval | None]:
    """The bits of the solutions, and the accuracy; None for one that cannot be foretold."""
    spread, at = LawSpread.of(task.bits), (target.weights, target.tokens)
    found = accuracy(spread, task.link, *at, level) if task.link else None
    return spread.interval(*at, level), found


def _task_rows(name: str, task: TaskLaw, target: Target, level: float) -> list[tuple[str, str]]:
    bits, found = _of_task(task, target, level)
    share = f"{level:.0%}"
    result = [
        (
            f"estimated bits, {name}",
            f"{bits.value:.3f} ({share}: {bits.low:.3f} to {bits.high:.3f}) "
            "a byte of the gold solutions",
        )
    ]
    if found is None:
        return [*result, (f"accuracy, {name}", f"no estimate: {task.reason}")]
    words = f"{found.value:.1%} ({share}: {found.low:.1%} to {found.high:.1%})"
    return [*result, (f"estimated accuracy, {name}", words)]


def _signed(value: float) -> str:
    return "0 (inside)" if value <= 0 else f"{value:.1f}"
