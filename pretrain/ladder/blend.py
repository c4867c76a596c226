"""The weights of a mixture that small runs recommend, and what they should gain."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from data_prep.recipe import Recipe
from pretrain.ladder.forms import Array, ends
from pretrain.ladder.proxies import STEP, limited, whole
from pretrain.ladder.regression import FORMS, Predictor, Regression, regress
from tinymathreason.cli import InputError
from tinymathreason.config import nearest

if TYPE_CHECKING:
    import pandas as pd

DRAWS = 200
"""Draws of the bootstrap."""
LEVEL = 0.9
"""Of the intervals."""
STARTS = 4
"""Best proxies from which the optimum is looked for."""


@dataclass(frozen=True, kw_only=True)
class Blend:
    """What the proxies say about the weights. The forecasts are estimates at the proxies' size."""

    target: Mapping[str, float]
    """Columns of the results and their weights in what is to be small."""
    proxies: int
    """Finished proxies."""
    recipe: Mapping[str, float]
    """The recipe's own weights."""
    recommended: Mapping[str, float]
    """The weights with the least forecast target; they sum to 1."""
    limits: Mapping[str, float]
    """Largest weights by the limit of repetition; a source without one has none."""
    regressions: Sequence[Regression]
    """One for each column of the target."""
    measured: Array
    """The target of each proxy, [proxies]."""
    left_out: Array
    """What a fit without each proxy predicts for it, [proxies]."""
    before: float
    """The forecast target with the recipe's weights."""
    gain: float
    """By how much the recommended weights lower the forecast target."""
    gain_interval: tuple[float, float]
    """Where the gain lies with a confidence of `LEVEL`."""
    at_limit: Sequence[str]
    """Sources whose recommended weight is the limit of repetition."""
    at_edge: Sequence[str]
    """Sources whose recommended weight is the largest or the smallest of the proxies."""

    @property
    def rank_correlation(self) -> float:
        """Spearman's, between the measured and the left-out targets."""
        from scipy.stats import spearmanr

        return float(spearmanr(self.measured, self.left_out).statistic)

    @property
    def certain(self) -> bool:
        """Whether the interval of the gain excludes zero."""
        return self.gain_interval[0] > 0


def limits(recipe: Recipe, available: Mapping[str, float]) -> dict[str, float]:
    """The largest weight of each source that ``max_epochs`` allows within the token budget.

    ``available`` are the tokens of the sources; one that is missing has no limit, and without a
    ``token_budget`` none has. Raises `InputError` for a source that the recipe does not have.
    """
    for name in available:
        if name not in recipe.sources:
            raise InputError(f"available: no source {name!r}; {nearest(name, recipe.sources)}")
    if recipe.token_budget is None:
        return {}
    return {
        name: recipe.max_epochs * tokens / recipe.token_budget for name, tokens in available.items()
    }


def rows(table: "pd.DataFrame") -> "pd.DataFrame":
    """The finished runs that differ from the proxies in nothing but the weights and the seed.

    A run of the law on the recipe's weights may be among them. Raises `InputError` without any.
    """
    finished = table[table["status"] == "finished"]
    proxies = finished[finished["group"] == "mixtures"]
    if proxies.empty:
        raise InputError("mixtures: no proxy is finished")
    same = ["size", "tokens", "rate", "weight_decay"]
    return finished[(finished[same] == proxies.iloc[0][same]).all(axis=1)]


def blend(
    table: "pd.DataFrame",
    target: str | Mapping[str, float],
    recipe: Mapping[str, float],
    limits: Mapping[str, float] | None = None,
    seed: int = 0,
) -> Blend:
    """Regress the target on the weights of the proxies in a table of results, and minimise it.

    ``target`` is a column, or a weight for each of several; ``recipe`` are the recipe's own
    weights. The recommended weights are a mean of the proxies' weights (inside of their convex
    hull) and respect ``limits``. The interval of the gain is a wild bootstrap over the proxies'
    leave-one-out errors (Davidson and Flachaire 2008). Raises `InputError` for a column that is
    missing or incomplete, for too few proxies, and where the limits exclude every mixture.
    """
    target = {target: 1.0} if isinstance(target, str) else dict(target)
    used = rows(table)
    names = list(recipe)
    weights = _matrix(used, [f"weight/{name}" for name in names])
    values = {column: _matrix(used, [column])[:, 0] for column in target}
    if len(used) < len(names) + 2:
        raise InputError(
            f"mixtures: {len(used)} finished proxies; {len(names)} sources need {len(names) + 2} "
            "or more"
        )
    own = np.array(list(recipe.values())) / sum(recipe.values())
    most = np.array([min(1.0, (limits or {}).get(name, 1.0)) for name in names])
    fits = [regress(column, weights, values[column]) for column in target]
    factors = np.array(list(target.values()))

    def forecast(w: Array) -> Array:
        return np.asarray(factors @ np.array([fit.predict(w) for fit in fits]))

    best = _minimum(forecast, weights, most)
    low, high = _gain_interval(
        fits, factors, weights, np.array(list(values.values())), (own, best), seed
    )
    named = dict(zip(names, (float(weight) for weight in best), strict=True))
    span = zip(names, weights.min(axis=0), weights.max(axis=0), strict=True)
    return Blend(
        target=target,
        proxies=len(used),
        recipe=dict(zip(names, own.tolist(), strict=True)),
        recommended=named,
        limits=dict(limits or {}),
        regressions=fits,
        measured=factors @ np.array([values[column] for column in target]),
        left_out=factors @ np.array([fit.left_out for fit in fits]),
        before=float(forecast(own)),
        gain=float(forecast(own) - forecast(best)),
        gain_interval=(low, high),
        at_limit=[n for n, m in zip(names, most, strict=True) if named[n] > m - 2 / STEP],
        at_edge=[n for n, a, b in span if not a + 2 / STEP < named[n] < b - 2 / STEP],
    )


def _matrix(table: "pd.DataFrame", columns: Sequence[str]) -> Array:
    """Columns as numbers, [rows, columns]; `InputError` when one is missing or incomplete."""
    for column in columns:
        if column not in table:
            raise InputError(f"mixtures: no column {column!r}; {nearest(column, table.columns)}")
        if table[column].isna().any():
            names = ", ".join(table.loc[table[column].isna(), "name"])
            raise InputError(f"mixtures: {column} was not measured for {names}")
    return np.asarray(table[list(columns)], dtype=np.float64)


def _gain_interval(
    fits: Sequence[Regression],
    factors: Array,
    weights: Array,
    values: Array,
    mixtures: tuple[Array, Array],
    seed: int,
) -> tuple[float, float]:
    """By how much the second mixture lies below the first, refitted with redrawn errors.

    ``values`` is [columns, proxies]. An error is what the fit without the proxy misses it by, and
    the bootstrap draws its sign, the same for all columns of a proxy.
    """
    before, after = mixtures
    generator = np.random.default_rng(seed)
    gains = []
    for _ in range(DRAWS):
        signs = generator.choice([-1.0, 1.0], len(weights))
        redrawn = [
            fit.predict(weights) + signs * (measured - fit.left_out)
            for fit, measured in zip(fits, values, strict=True)
        ]
        refits = [
            FORMS[fit.form](weights, np.maximum(column, 1e-9))
            for fit, column in zip(fits, redrawn, strict=True)
        ]
        gains.append(factors @ np.array([refit(before) - refit(after) for refit in refits]))
    low, high = np.quantile(gains, ends(LEVEL))
    return float(low), float(high)


def _minimum(forecast: Predictor, weights: Array, most: Array) -> Array:
    """The weights of the least forecast among means of the proxies, in whole parts of `STEP`."""
    from scipy.optimize import LinearConstraint, minimize

    most = np.floor(most * STEP) / STEP
    starts = np.eye(len(weights))[np.argsort(forecast(weights), kind="stable")[:STARTS]]
    found = []

    def objective(mean: Array) -> float:
        return float(forecast(mean @ weights))

    for start in [np.full(len(weights), 1 / len(weights)), *starts]:
        result = minimize(
            objective,
            start,
            method="SLSQP",
            bounds=[(0.0, 1.0)] * len(weights),
            constraints=[
                LinearConstraint(np.ones((1, len(weights))), 1, 1),
                LinearConstraint(weights.T, 0, most),
            ],
            tol=1e-10,
        )
        mean = np.maximum(result.x, 0)
        inside = mean @ weights / mean.sum()
        if (inside <= most + 1e-4).all():
            found.append(inside)
    if not found:
        raise InputError("mixtures: the limit of repetition excludes every mean of the proxies")
    best = min(found, key=lambda w: float(forecast(w)))
    return whole(limited(best, most)) / STEP
