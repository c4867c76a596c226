"""The best learning rate by the size of the model, from runs at several rates.

At each size, the logarithm of the loss is a parabola in the logarithm of the rate, with a cubic
term where five rates allow it, because the valley is steeper above its minimum than below. Over
sizes, the best rate is a power of the weights of the layers, which is how Step Law (arXiv
2503.04715) counts a model's size. Weight decay is treated like the rate.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pretrain.ladder.forms import Array, ends

if TYPE_CHECKING:
    import pandas as pd

NEAR = 0.3
"""Runs whose log loss is at most so much above the best one's shape the curve; far from the minimum
no polynomial describes it."""
DRAWS = 1_000
"""Draws of the bootstrap."""
LEVEL = 0.9
"""Of the intervals."""
FEWEST_VALUES = 3
"""Rates of a size that a curve needs, and sizes that a power law over them needs."""


@dataclass(frozen=True, kw_only=True)
class Curve:
    """The loss of one size over one hyperparameter."""

    size: str
    """Name of the size."""
    weights: float
    """Weights of the layers, without the embedding and the output head."""
    tokens: float
    """Tokens of training."""
    flops: float
    """Operations of training as DeepSeek LLM counts them: `non_embedding_flops`."""
    column: str
    """``rate`` or ``weight_decay``."""
    values: Array
    """What was tried, ascending."""
    losses: Array
    """Held-out loss at each value, the geometric mean over seeds."""
    used: NDArray[np.bool_]
    """Whether each value shaped the curve."""
    best: float
    """The minimum of the curve, or the best value that was tried where there is none."""
    draws: Array
    """Minima of curves through redrawn losses; empty where the scatter of runs is not known."""
    bracketed: bool
    """Whether larger and smaller values were worse. If not, the minimum lies elsewhere."""

    @property
    def interval(self) -> tuple[float, float] | None:
        """Where the minimum lies with a confidence of `LEVEL`; None if that is not known."""
        return _interval(self.draws) if self.bracketed and len(self.draws) else None


@dataclass(frozen=True, kw_only=True)
class RateLaw:
    """The best rate as a power of the layers' weights: at(N) = at(center) (N / center)^exponent."""

    center: float
    """Geometric mean of the sizes' weights."""
    rate: float
    """The best rate there."""
    exponent: float
    """Of the weights."""
    draws: Array
    """Logarithm of the rate, and exponent, of redrawn losses, [draws, 2]; may be empty."""
    held: str
    """What all sizes had in common: ``tokens``, ``tokens a parameter`` or nothing."""

    def at(self, weights: float) -> float:
        """The best rate of a model whose layers have so many weights."""
        return float(self.rate * (weights / self.center) ** self.exponent)

    def interval(self, weights: float) -> tuple[float, float] | None:
        """Where that rate lies with a confidence of `LEVEL`; None if that is not known."""
        if not len(self.draws):
            return None
        return _interval(np.exp(self.draws @ [1, np.log(weights / self.center)]))

    @property
    def exponent_interval(self) -> tuple[float, float] | None:
        """Where the exponent lies with a confidence of `LEVEL`; None if that is not known."""
        return _interval(self.draws[:, 1]) if len(self.draws) else None


@dataclass(frozen=True, kw_only=True)
class Rates:
    """What a ladder says about rates and weight decay."""

    curves: list[Curve]
    """Loss over rate, by size."""
    decays: list[Curve]
    """Loss over weight decay, by size."""
    scatter: float | None
    """Standard deviation of a run's loss in parts of it; None where no run was spare."""
    law: RateLaw | None
    """The best rate over sizes; None without three sizes whose minimum is bracketed."""
    diverged: dict[str, list[float]]
    """By size, the rates at which a run diverged. No fit contains these runs."""


def fit(table: "pd.DataFrame", seed: int = 0) -> Rates:
    """Curves and law from a table of results; runs on other mixtures are left out.

    The intervals are a parametric bootstrap: every loss is redrawn with the scatter that repeated
    seeds and the curves' residuals have. Where the sizes' best rates lie farther from the power
    law than that explains, the law's interval is widened by the ratio.
    """
    table = table[table["group"] != "mixtures"]
    finished = table[table["status"] == "finished"]
    generator = np.random.default_rng(seed)
    groups = {
        column: _groups(finished, column, others)
        for column, others in (("rate", "weight_decay"), ("weight_decay", "rate"))
    }
    scatter = _scatter(finished, [group for found in groups.values() for group in found])
    rates, decays = (
        [_curve(group, column, scatter, generator) for group in found]
        for column, found in groups.items()
    )
    lost = table[table["status"] == "diverged"]
    return Rates(
        curves=rates,
        decays=decays,
        scatter=scatter,
        law=_law([curve for curve in rates if curve.bracketed]),
        diverged={str(size): sorted(of["rate"]) for size, of in lost.groupby("size", sort=False)},
    )


def non_embedding_flops(weights: float, tokens: float, attention: float) -> float:
    """DeepSeek LLM's compute budget, arXiv 2401.02954, section 3.2.

    ``attention`` are the operations of a token in causal attention as `pretrain.model.Model` counts
    them; DeepSeek counts the masked half, too.
    """
    return tokens * (6 * weights + 2 * attention)


def layer_weights(parameters: float, matrices: float) -> float:
    """Weights of the layers, from all weights and those that multiply every token.

    The embedding is what they differ by (and the norms, which are few), and the output head is as
    large: the models of the ladder do not tie the two.
    """
    return 2 * matrices - parameters


def _groups(finished: "pd.DataFrame", column: str, other: str) -> list["pd.DataFrame"]:
    """Runs that differ in ``column`` and the seed only, smallest size first; one group a size."""
    found: dict[str, pd.DataFrame] = {}
    for (size, *_), group in finished.groupby(["size", "tokens", other], sort=False):
        if group[column].nunique() < FEWEST_VALUES or (group[column] <= 0).any():
            continue
        if size not in found or group[column].nunique() > found[size][column].nunique():
            found[size] = group
    return sorted(found.values(), key=lambda group: float(group["parameters"].iloc[0]))


def _points(group: "pd.DataFrame", column: str) -> tuple[Array, Array, Array]:
    """Logarithms of the values and of their losses, and the number of runs of each value."""
    logs = np.log(group["loss"]).groupby(group[column]).agg(["mean", "size"]).sort_index()
    return np.log(logs.index.to_numpy(float)), logs["mean"].to_numpy(), logs["size"].to_numpy(float)


def _near(losses: Array) -> NDArray[np.bool_]:
    """The values around the best one that are almost as good, and its neighbours."""
    least = int(losses.argmin())
    first, last = max(least - 1, 0), min(least + 1, len(losses) - 1)
    while first > 0 and losses[first - 1] < losses[least] + NEAR:
        first -= 1
    while last < len(losses) - 1 and losses[last + 1] < losses[least] + NEAR:
        last += 1
    places = np.arange(len(losses))
    return (places >= first) & (places <= last)


def _scatter(finished: "pd.DataFrame", groups: list["pd.DataFrame"]) -> float | None:
    """Pooled standard deviation of log losses: between seeds, and around the curves."""
    squares, freedom = 0.0, 0
    same = ["size", "tokens", "rate", "weight_decay"]
    for _, repeats in finished.groupby(same, sort=False):
        squares += float(((np.log(repeats["loss"]) - np.log(repeats["loss"]).mean()) ** 2).sum())
        freedom += len(repeats) - 1
    for group in groups:
        for column in ("rate", "weight_decay"):
            if group[column].nunique() < FEWEST_VALUES:
                continue
            x, y, counts = _points(group, column)
            used = _near(y)
            if not 0 < int(y.argmin()) < len(y) - 1:
                continue
            fitted = np.polyfit(x[used], y[used], _degree(used), w=np.sqrt(counts[used]))
            errors = y[used] - np.polyval(fitted, x[used])
            squares += float((counts[used] * errors**2).sum())
            freedom += int(used.sum()) - len(fitted)
    return float(np.sqrt(squares / freedom)) if freedom else None


def _curve(
    group: "pd.DataFrame", column: str, scatter: float | None, generator: np.random.Generator
) -> Curve:
    x, y, counts = _points(group, column)
    least, used = int(y.argmin()), _near(y)
    bracketed = 0 < least < len(y) - 1
    best, draws = x[least], np.empty(0)
    if bracketed:
        (best,) = _minima(x[used], y[used][:, None], counts[used])
        if scatter is not None:
            errors = generator.normal(size=(int(used.sum()), DRAWS)) * scatter
            redrawn = y[used][:, None] + errors / np.sqrt(counts[used])[:, None]
            draws = np.exp(_minima(x[used], redrawn, counts[used]))
    first = group.iloc[0]
    weights = layer_weights(first["parameters"], first["matrices"])
    attention = first["flops"] / first["tokens"] - 6 * first["matrices"]
    return Curve(
        size=str(first["size"]),
        weights=weights,
        tokens=float(first["tokens"]),
        flops=non_embedding_flops(weights, first["tokens"], attention),
        column=column,
        values=np.exp(x),
        losses=np.exp(y),
        used=used,
        best=float(np.exp(best)),
        draws=draws,
        bracketed=bracketed,
    )


def _degree(used: NDArray[np.bool_]) -> int:
    return 3 if used.sum() >= 5 else 2


def _minima(x: Array, y: Array, counts: Array) -> Array:
    """Where curves are least, within the points; the lowest point where one has no minimum.

    ``y`` is [points, draws], and the result [draws].
    """
    center = x.mean()
    degree = _degree(np.ones(len(x), bool))
    *cubic, second, first, _ = np.polyfit(x - center, y, degree, w=np.sqrt(counts))
    # The root of the derivative at which the curve bends upwards; also right without a cubic term.
    inner = second**2 - 3 * (cubic[0] if cubic else 0) * first
    below = second + np.sqrt(np.maximum(inner, 0))
    curved = (inner > 0) & (below > 0)
    minima = center - first / np.where(curved, below, 1)
    return np.clip(np.where(curved, minima, x[y.argmin(axis=0)]), x[0], x[-1])


def _law(curves: list[Curve]) -> RateLaw | None:
    if len({curve.weights for curve in curves}) < FEWEST_VALUES:
        return None
    sizes = np.log([curve.weights for curve in curves])
    center = sizes.mean()
    best = np.log([curve.best for curve in curves])
    known = all(len(curve.draws) for curve in curves)
    drawn = np.log([curve.draws for curve in curves]) if known else np.empty((len(curves), 0))
    spreads = np.maximum(drawn.std(axis=1), 1e-6) if known else np.ones(len(curves))
    exponent, level = np.polyfit(sizes - center, best, 1, w=1 / spreads)
    errors = (best - level - exponent * (sizes - center)) / spreads
    wider = max(1.0, float(np.sqrt((errors**2).sum() / (len(curves) - 2)))) if known else 1.0
    draws = np.empty((0, 2))
    if known:
        slopes, levels = np.polyfit(sizes - center, drawn, 1, w=1 / spreads)
        draws = np.stack(
            [level + wider * (levels - level), exponent + wider * (slopes - exponent)], axis=1
        )
    return RateLaw(
        center=float(np.exp(center)),
        rate=float(np.exp(level)),
        exponent=float(exponent),
        draws=draws,
        held=_held(curves),
    )


def _held(curves: list[Curve]) -> str:
    tokens = np.array([curve.tokens for curve in curves])
    ratios = tokens / np.array([curve.weights for curve in curves])
    if tokens.max() < 1.02 * tokens.min():
        return "tokens"
    return "tokens a parameter" if ratios.max() < 1.25 * ratios.min() else ""


def _interval(draws: Array) -> tuple[float, float]:
    low, high = np.quantile(draws, ends(LEVEL))
    return float(low), float(high)
