"""A robust fit of the scaling law, and resamples of the runs for its bootstrap.

The fit is that of Hoffmann et al. 2022 (arXiv 2203.15556, appendix D.3): the Huber loss of the
difference of the logarithms, minimised by L-BFGS from several starts, with the powers as a
log-sum-exp. Two things differ. The tolerance is tight, because stopping early was the error of that
fit (Besiroglu et al. 2024, arXiv 2404.10102). And Huber's threshold follows the runs' own scatter
(1.345 standard deviations, Huber 1964), because small runs scatter by more than 0.001.
"""

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from pretrain.ladder.forms import FORMS, NAMES, NONE, Array, LawForm, value_and_jacobian
from tinymathreason.cli import InputError

if TYPE_CHECKING:
    import pandas as pd

BOUNDS = {
    "e": (NONE, 5.0),
    "a": (-60.0, 200.0),
    "b": (-60.0, 200.0),
    "alpha": (0.01, 3.0),
    "beta": (0.01, 3.0),
    "gamma": (0.02, 3.0),
    "kappa": (0.0, 3.0),
}
"""The range in which each parameter is looked for; those of a and b do not bind."""
PENALTY = 100.0
"""Of the square of what a parameter is outside of its range."""
HUBER = 1.345
"""Huber's threshold in standard deviations: 95 % of least squares' efficiency, if normal."""
SMALLEST_THRESHOLD = 1e-4
"""Of a difference of logarithms: runs without scatter would make the threshold zero."""
FIRST_THRESHOLD = 0.02
"""Of the first fit, from which the scatter is estimated."""
FEWEST_SIZES = 3
"""Sizes without which no law is fitted, also in a resample."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Runs:
    """Finished runs and what they measured, one element a run, in an order of their own."""

    names: tuple[str, ...]
    sizes: tuple[str, ...]
    weights: Array
    """Weights that multiply every token."""
    tokens: Array
    values: Array
    """The measured value, above zero."""

    @classmethod
    def of(cls, table: "pd.DataFrame", column: str) -> "Runs":
        """The finished runs of the group ``law`` with a value in ``column``.

        They are sorted, so that the order of the table does not matter. Raises `InputError` for a
        value that is not above zero.
        """
        table = table if column in table else table.assign(**{column: np.nan})
        rows = table[(table["status"] == "finished") & (table["group"] == "law")]
        rows = rows[rows[column].notna()].sort_values(["matrices", "tokens", "name"])
        for name, value in zip(rows["name"], rows[column], strict=True):
            if not value > 0:
                raise InputError(f"{name}: {column}: expected a number above 0 (got {value})")
        return cls(
            names=tuple(map(str, rows["name"])),
            sizes=tuple(map(str, rows["size"])),
            weights=rows["matrices"].to_numpy(dtype=np.float64),
            tokens=rows["tokens"].to_numpy(dtype=np.float64),
            values=rows[column].to_numpy(dtype=np.float64),
        )

    def __len__(self) -> int:
        return len(self.names)

    @property
    def distinct_sizes(self) -> list[str]:
        """Every size once, smallest first."""
        return list(dict.fromkeys(self.sizes))

    def where(self, kept: Sequence[bool]) -> "Runs":
        """The runs for which ``kept`` is true."""
        index = np.flatnonzero(kept)
        return Runs(
            names=tuple(self.names[i] for i in index),
            sizes=tuple(self.sizes[i] for i in index),
            weights=self.weights[index],
            tokens=self.tokens[index],
            values=self.values[index],
        )

    def without(self, size: str) -> "Runs":
        """The runs of the other sizes."""
        return self.where([other != size for other in self.sizes])

    def only(self, size: str) -> "Runs":
        """The runs of a size."""
        return self.where([other == size for other in self.sizes])


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fit:
    """A fitted law."""

    form: str
    parameters: Array
    """[7], in the order of `NAMES`."""
    threshold: float
    """Huber's threshold that was used."""


def fit(runs: Runs, form: str) -> Fit:
    """The parameters with which a form describes the runs best.

    Raises `InputError` for fewer than `FEWEST_SIZES` sizes, or no more runs than free parameters.
    """
    check(runs, form)
    problem = _Problem.of(runs, form)
    fits = [problem.minimise(start, FIRST_THRESHOLD) for start in problem.starts()]
    best = min(fits, key=lambda entry: entry[0])[1]
    residuals = problem.residuals(best)
    scatter = 1.4826 * float(np.median(np.abs(residuals)))
    scatter *= np.sqrt(len(runs) / (len(runs) - len(best)))
    threshold = max(HUBER * scatter, SMALLEST_THRESHOLD)
    best = problem.minimise(best, threshold)[1]
    return Fit(form=form, parameters=problem.parameters(best), threshold=threshold)


def check(runs: Runs, form: str) -> None:
    """Raise `InputError` when there are too few runs for a form."""
    free = len(FORMS[form].free)
    if len(runs.distinct_sizes) < FEWEST_SIZES or len(runs) <= free:
        raise InputError(
            f"a law of the form {form} needs {FEWEST_SIZES} sizes and {free + 1} finished runs "
            f"(got {len(runs.distinct_sizes)} and {len(runs)})"
        )


def refit(runs: Runs, fitted: Fit, counts: Array) -> Array:
    """The parameters when run i counts ``counts[i]`` times, [7]."""
    problem = _Problem.of(runs, fitted.form, counts)
    return problem.parameters(problem.minimise(problem.free(fitted), fitted.threshold)[1])


def resamples(runs: Runs, draws: int, seed: int, least: int) -> Array:
    """How often each run counts in each resample, [draws, runs].

    Pairs of a size and a number of tokens are drawn with replacement, and then, as often as a pair
    has runs, one of its seeds. A resample with fewer than `FEWEST_SIZES` sizes or fewer than
    ``least`` different pairs is drawn again, because no law could be fitted to it. Raises
    `InputError` when all runs together have fewer.
    """
    pairs: dict[tuple[str, float], list[int]] = {}
    for index, key in enumerate(zip(runs.sizes, runs.tokens, strict=True)):
        pairs.setdefault(key, []).append(index)
    members, generator = list(pairs.values()), np.random.default_rng(seed)
    if not _enough(runs, members, np.ones(len(runs)), least):
        raise InputError(
            f"a law needs finished runs of {FEWEST_SIZES} sizes and {least} pairs of a size and a "
            f"number of tokens (got {len(runs.distinct_sizes)} and {len(members)})"
        )
    result = np.zeros((draws, len(runs)))
    for counts in result:
        while not _enough(runs, members, counts, least):
            counts[:] = 0
            for drawn in generator.integers(len(members), size=len(members)):
                of_pair = members[drawn]
                np.add.at(counts, generator.choice(of_pair, size=len(of_pair)), 1)
    return result


def _enough(runs: Runs, members: list[list[int]], counts: Array, least: int) -> bool:
    sizes = {size for size, count in zip(runs.sizes, counts, strict=True) if count}
    pairs = sum(bool(counts[of_pair].any()) for of_pair in members)
    return len(sizes) >= FEWEST_SIZES and pairs >= least


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Problem:
    """A weighted fit of one form, whose variables are centred so that L-BFGS converges fast."""

    form: LawForm
    matrix: Array
    log_weights: Array
    log_tokens: Array
    log_values: Array
    centre: tuple[float, float]
    counts: Array

    @classmethod
    def of(cls, runs: Runs, form: str, counts: Array | None = None) -> "_Problem":
        n, d = np.log(runs.weights), np.log(runs.tokens)
        centre = (float(n.mean()), float(d.mean()))
        return cls(
            form=FORMS[form],
            matrix=FORMS[form].matrix,
            log_weights=n - centre[0],
            log_tokens=d - centre[1],
            log_values=np.log(runs.values),
            centre=centre,
            counts=np.ones(len(runs)) if counts is None else counts,
        )

    def starts(self) -> list[Array]:
        """Starting points: a small, a middling and a large E, and slow and fast decays."""
        low, middle = float(self.log_values.min()), float(np.median(self.log_values))
        values = [
            dict(
                zip(
                    NAMES,
                    (low + np.log(share), middle - 1, middle - 1, x, x, 1.0, x / 2),
                    strict=True,
                )
            )
            for share in (0.1, 0.5, 0.9)
            for x in (0.3, 0.8)
        ]
        return [np.array([one[group[0]] for group in self.form.free]) for one in values]

    def residuals(self, free: Array) -> Array:
        parameters = self.form.base + self.matrix @ free
        return (
            self.log_values - value_and_jacobian(parameters, self.log_weights, self.log_tokens)[0]
        )

    def minimise(self, start: Array, threshold: float) -> tuple[float, Array]:
        """The least sum of Huber losses in units of the threshold, and the free values there.

        L-BFGS gets variables in which the curvature at the start is that of a sphere, which takes
        a tenth of the iterations. A quadratic penalty keeps the parameters within `BOUNDS`.
        """
        from scipy.optimize import minimize

        low, high = np.array([BOUNDS[group[0]] for group in self.form.free]).T

        def objective(free: Array) -> tuple[float, Array, Array]:
            parameters = self.form.base + self.matrix @ free
            value, jacobian = value_and_jacobian(parameters, self.log_weights, self.log_tokens)
            scaled = (value - self.log_values) / threshold
            inside = np.clip(scaled, -1, 1)
            outside = free - np.clip(free, low, high)
            loss = self.counts @ (inside * (scaled - inside / 2)) + PENALTY * outside @ outside
            by_free = self.matrix.T @ jacobian / threshold
            return (
                float(loss),
                by_free @ (self.counts * inside) + 2 * PENALTY * outside,
                by_free,
            )

        by_free = objective(start)[2]
        curvature = (by_free * self.counts) @ by_free.T
        ridge = 1e-3 * np.diag(np.maximum(curvature.diagonal(), 1e-6))
        to_free = np.linalg.inv(np.linalg.cholesky(curvature + ridge)).T

        def whitened(variables: Array) -> tuple[float, Array]:
            loss, gradient, _ = objective(start + to_free @ variables)
            return loss, to_free.T @ gradient

        found = minimize(
            whitened,
            np.zeros(len(start)),
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": 1000, "maxfun": 2000, "ftol": 1e-10, "gtol": 1e-6},
        )
        return float(found.fun), start + to_free @ found.x

    def parameters(self, free: Array) -> Array:
        """The law's parameters without the centring."""
        result = self.form.base + self.matrix @ free
        result[1] += result[3] * self.centre[0]
        result[2] += result[4] * self.centre[1] + result[6] * self.centre[0]
        return result

    def free(self, fitted: Fit) -> Array:
        """The free values of a fit with this centring."""
        p = fitted.parameters.copy()
        p[1] -= p[3] * self.centre[0]
        p[2] -= p[4] * self.centre[1] + p[6] * self.centre[0]
        return np.array([p[NAMES.index(group[0])] for group in self.form.free])
