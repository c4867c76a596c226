"""Regression of a measured value on the weights of a mixture's sources.

Three forms, of which leave-one-out chooses:

- ``exponential``: c + exp(t . w), the data mixing law (Ye et al. 2024, arXiv 2403.16952), which
  Olmix finds best with few runs (arXiv 2602.12237);
- ``power``: c + exp(b + t . log w), so that a source's own loss is a power of its tokens (BiMix,
  Ge et al. 2024, arXiv 2405.14908);
- ``quadratic``: a polynomial of degree two whose second-degree terms are shrunk (ridge).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pretrain.ladder.forms import Array

Predictor = Callable[[Array], Array]
"""Weights [..., sources] -> values [...]."""

FLOORS = (0.0, 0.3, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
"""Values of c that are tried, as shares of the smallest measured value."""
SHRINKAGES = tuple(float(value) for value in np.logspace(-5, 1, 7))
"""Penalties of the second-degree terms that are tried."""


@dataclass(frozen=True, kw_only=True)
class Regression:
    """One column of the results as a function of the weights."""

    column: str
    """The column, such as ``loss/web``."""
    form: str
    """A name of `FORMS`."""
    errors: dict[str, float]
    """By form: root mean square of the errors of the proxies left out in turn."""
    left_out: Array
    """What a fit without each proxy predicts for it, [proxies]."""
    predict: Predictor
    """The fit to all proxies."""


def exponential(weights: Array, values: Array) -> Predictor:
    """Fit c + exp(t . w); an intercept is among t, because the weights sum to 1."""
    return _with_floor(lambda w: w, weights, values)


def power(weights: Array, values: Array) -> Predictor:
    """Fit c + exp(b + t . log w) to weights [proxies, sources] and values [proxies]."""

    def features(w: Array) -> Array:
        return np.concatenate([np.ones((*w.shape[:-1], 1)), np.log(w)], axis=-1)

    return _with_floor(features, weights, values)


def _with_floor(features: Predictor, weights: Array, values: Array) -> Predictor:
    """Of all c in `FLOORS`, the one with the least squares; given c, the logarithm is linear."""
    x = features(weights)
    best: tuple[float, float, Array] | None = None
    for share in FLOORS:
        floor = share * float(values.min())
        above = values - floor
        # An error of the value is one of the logarithm times what lies above the floor.
        theta = np.linalg.lstsq(x * above[:, None], np.log(above) * above, rcond=None)[0]
        squares = float(((floor + np.exp(x @ theta) - values) ** 2).sum())
        if best is None or squares < best[0]:
            best = (squares, floor, theta)
    assert best is not None
    _, floor, theta = best
    return lambda w: np.asarray(floor + np.exp(np.minimum(features(w) @ theta, 50.0)))


def quadratic(weights: Array, values: Array) -> Predictor:
    """Fit a polynomial of degree two; leave-one-out chooses the ridge of its second degree."""
    center = weights.mean(axis=0)
    sources = weights.shape[-1]
    pairs = [(i, j) for i in range(sources - 1) for j in range(i, sources - 1)]

    def features(w: Array) -> Array:
        u = w - center
        columns = [np.ones(w.shape[:-1]), *(u[..., i] for i in range(sources - 1))]
        return np.stack([*columns, *(u[..., i] * u[..., j] for i, j in pairs)], axis=-1)

    x = features(weights)
    penalised = np.diag([0.0] * sources + [1.0] * len(pairs))
    fits = []
    for shrinkage in SHRINKAGES:
        inverse = np.linalg.pinv(x.T @ x + shrinkage * penalised)
        theta = inverse @ x.T @ values
        leverage = np.einsum("ij,jk,ik->i", x, inverse, x)
        errors = (values - x @ theta) / np.maximum(1 - leverage, 1e-6)
        fits.append((float((errors**2).sum()), theta))
    theta = min(fits, key=lambda fit: fit[0])[1]
    return lambda w: np.asarray(features(w) @ theta)


FORMS: dict[str, Callable[[Array, Array], Predictor]] = {
    "exponential": exponential,
    "power": power,
    "quadratic": quadratic,
}


def regress(column: str, weights: Array, values: Array) -> Regression:
    """The form with the least leave-one-out error, fitted to all proxies.

    ``weights`` is [proxies, sources] and positive; ``values`` is [proxies] and positive.
    """
    left_out = {name: _left_out(fit, weights, values) for name, fit in FORMS.items()}
    errors = {
        name: float(np.sqrt(np.mean((predicted - values) ** 2)))
        for name, predicted in left_out.items()
    }
    form = min(errors, key=errors.__getitem__)
    return Regression(
        column=column,
        form=form,
        errors=errors,
        left_out=left_out[form],
        predict=FORMS[form](weights, values),
    )


def _left_out(fit: Callable[[Array, Array], Predictor], weights: Array, values: Array) -> Array:
    kept = ~np.eye(len(values), dtype=bool)
    return np.array([fit(weights[rows], values[rows])(weights[i]) for i, rows in enumerate(kept)])
