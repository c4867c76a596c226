"""The accuracy of a task from the likelihood of its gold solutions, by a logistic curve.

    accuracy = floor + (1 - floor) / (1 + exp(slope * (bits - middle)))

The likelihood moves long before the accuracy does (Schaeffer et al. 2023, arXiv 2304.15004), and a
sigmoid joins them: the second step of the task ladder (Bhagia et al. 2024, arXiv 2412.04403). Here
the curve maximises the binomial likelihood of the counts, so a run without a right answer counts as
what it is. What the runs scatter beyond the binomial is the dispersion of a quasi-binomial model
(McCullagh and Nelder 1989, section 4.5).
"""

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from pretrain.ladder.forecast import accuracy_of
from pretrain.ladder.forms import Array
from pretrain.ladder.law import Runs
from tinymathreason.records.ladder import AccuracyLink

if TYPE_CHECKING:
    import pandas as pd

FEWEST = 4
"""Runs with some right and some wrong answers, without which no link is fitted."""
LEAST_SHARE = 0.01
"""Of the right answers, with which such a run tells something: fewer may be luck."""
BOUNDS = ((0.0, 0.3), (0.01, 100.0), (1e-3, 20.0))
"""The range of floor, slope and middle."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Answers:
    """What each of some runs answered, one element a run, in the order of `Runs`."""

    bits: Array
    """Bits a byte of the gold solutions."""
    correct: Array
    """Right answers."""
    problems: Array
    """Problems; zero where no accuracy was measured."""

    @classmethod
    def of(cls, table: "pd.DataFrame", task: str, runs: Runs) -> "Answers":
        """The answers of the runs of the law of ``bits/TASK``."""
        rows = table.set_index("name").loc[list(runs.names)]

        def column(name: str) -> Array:
            if name not in rows:
                return np.zeros(len(runs))
            return np.asarray(rows[name].fillna(0), dtype=np.float64)

        problems = column(f"problems/{task}")
        return cls(bits=runs.values, correct=column(f"correct/{task}"), problems=problems)

    def where(self, kept: Sequence[bool]) -> "Answers":
        """The runs for which ``kept`` is true."""
        index = np.flatnonzero(kept)
        return Answers(
            bits=self.bits[index], correct=self.correct[index], problems=self.problems[index]
        )

    def refusal(self) -> str:
        """Why no link can be fitted; empty when one can."""
        if not self.problems.any():
            return "no run's accuracy was measured"
        if not self.correct.any():
            return "the accuracy of every run is zero"
        informative = self.informative
        if (count := int(informative.sum())) < FEWEST:
            return (
                f"{count} runs have an accuracy between {LEAST_SHARE:.0%} and "
                f"{1 - LEAST_SHARE:.0%}, needed are {FEWEST}"
            )
        return ""

    @property
    def informative(self) -> npt.NDArray[np.bool_]:
        """Whether each run lies on the slope of the curve."""
        share = self.correct / np.maximum(self.problems, 1)
        return np.asarray((share >= LEAST_SHARE) & (share <= 1 - LEAST_SHARE))


def fit(answers: Answers, counts: Array | None = None, start: Array | None = None) -> Array:
    """Floor, slope and middle of the greatest binomial likelihood, [3].

    Run i counts ``counts[i]`` times; None counts each once.
    """
    from scipy.optimize import minimize

    times = np.ones(len(answers.bits)) if counts is None else counts
    measured = (answers.problems > 0) & (times > 0)
    bits, times = answers.bits[measured], times[measured]
    correct, wrong = answers.correct[measured], (answers.problems - answers.correct)[measured]
    total = float(times @ (correct + wrong))

    def objective(values: Array) -> tuple[float, Array]:
        floor, slope, middle = values
        curve = 0.5 * (1 + np.tanh(slope * (middle - bits) / 2))
        p = np.clip(floor + (1 - floor) * curve, 1e-12, 1 - 1e-12)
        loss = -float(times @ (correct * np.log(p) + wrong * np.log1p(-p))) / total
        by_p = -times * (correct / p - wrong / (1 - p)) / total
        by_inner = by_p * (1 - floor) * curve * (1 - curve)
        gradient = (by_p @ (1 - curve), by_inner @ (middle - bits), by_inner.sum() * slope)
        return loss, np.array(gradient)

    starts = [start] if start is not None else _starts(bits, correct / (correct + wrong))
    found = [
        minimize(
            objective, one, jac=True, method="L-BFGS-B", bounds=BOUNDS,
            options={"maxiter": 500, "ftol": 1e-13, "gtol": 1e-9},
        )
        for one in starts
    ]  # fmt: skip
    return np.asarray(min(found, key=lambda result: result.fun).x)


def _starts(bits: Array, share: Array) -> list[Array]:
    """Starting points: gentle and steep, with the middle where the accuracies suggest it."""
    middle = float(bits[np.argmin(np.abs(share - 0.5))])
    spread = max(float(bits.max() - bits.min()), 1e-3)
    return [
        np.array([floor, steepness / spread, middle]) for floor in (0.0, 0.02)
        for steepness in (4.0, 12.0)
    ]  # fmt: skip


def dispersion(answers: Answers, parameters: Array) -> float:
    """Pearson's statistic over the degrees of freedom, at least 1.

    Only runs with at least five expected right and wrong answers count, as the statistic asks for.
    """
    p = accuracy_of(parameters, answers.bits)
    expected = np.minimum(p, 1 - p) * answers.problems
    kept = expected >= 5
    freedom = int(kept.sum()) - len(parameters)
    if freedom < 1:
        return 1.0
    variance = answers.problems[kept] * p[kept] * (1 - p[kept])
    squares = (answers.correct[kept] - answers.problems[kept] * p[kept]) ** 2 / variance
    return max(1.0, float(squares.sum()) / freedom)


def record(answers: Answers, counts: Array) -> AccuracyLink:
    """The link with its bootstrap; ``counts`` are the resamples of the runs, [draws, runs]."""
    parameters = fit(answers)
    return AccuracyLink(
        parameters=parameters.tolist(),
        bootstrap=[_resampled(answers, row, parameters).tolist() for row in counts],
        dispersion=dispersion(answers, parameters),
        problems=int(answers.problems[answers.problems > 0].min()),
    )


def _resampled(answers: Answers, counts: Array, parameters: Array) -> Array:
    """The link of a resample; of all runs where the resample has too few on the slope."""
    if int((answers.informative & (counts > 0)).sum()) < 2:
        return parameters
    return fit(answers, counts, parameters)
