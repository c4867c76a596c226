"""The law of a column of the table, proven by foretelling sizes that were left out.

The form of the law is the one that foretells the left-out sizes best. Nothing of the largest size
enters its own forecast: neither its runs, nor the choice of the form, nor the widening.
"""

import dataclasses
import math

import numpy as np

from pretrain.ladder import law
from pretrain.ladder.forecast import LawSpread
from pretrain.ladder.forms import FORMS, Array, log_value
from pretrain.ladder.law import Fit, Runs
from tinymathreason.cli import InputError
from tinymathreason.records.ladder import HeldOutRun, ScalingLaw

DRAWS = 200
"""Resamples of the runs for the intervals of a law."""
INNER_DRAWS = 60
"""Resamples for each size that is left out; their intervals only decide the widening."""
DEFAULT_FORM = "shared"
"""The form where too few sizes are left to compare forms: the one of fewest parameters with E."""
SEED = 0
"""Of the resamples."""


def foretold_sizes(runs: Runs) -> list[str]:
    """The sizes that can be left out: all but the smallest, which no ladder has to foretell."""
    return runs.distinct_sizes[1:] if len(runs.distinct_sizes) > law.FEWEST_SIZES else []


def errors(runs: Runs) -> dict[str, float]:
    """By form, the root mean square of the left-out sizes' relative errors.

    A form for which too few runs are left is missing.
    """
    result = {}
    for form in FORMS:
        squares: list[float] = []
        try:
            for size in foretold_sizes(runs):
                fitted = law.fit(runs.without(size), form)
                squares += (_log_error(fitted, runs.only(size)) ** 2).tolist()
        except InputError:
            continue
        if squares:
            result[form] = math.sqrt(float(np.mean(squares)))
    return result


def _log_error(fitted: Fit, runs: Runs) -> Array:
    return log_value(fitted.parameters, runs.weights, runs.tokens) - np.log(runs.values)


def best_form(found: dict[str, float]) -> str:
    """The form of the least error."""
    return min(found, key=lambda form: found[form], default=DEFAULT_FORM)


def spread(runs: Runs, form: str, counts: Array, widening: float = 1.0) -> LawSpread:
    """The law of a form with its bootstrap; ``counts`` are the resamples, [draws, runs]."""
    fitted = law.fit(runs, form)
    freedom = len(runs) - len(FORMS[form].free)
    return LawSpread(
        parameters=fitted.parameters,
        bootstrap=np.array([law.refit(runs, fitted, row) for row in counts]),
        residuals=-_log_error(fitted, runs) * math.sqrt(len(runs) / freedom),
        widening=widening,
    )


def resamples(runs: Runs, form: str, draws: int) -> Array:
    """Resamples to which the form can be fitted, [draws, runs]."""
    return law.resamples(runs, draws, SEED, len(FORMS[form].free) + 1)


def widening(runs: Runs, form: str, draws: int = INNER_DRAWS) -> float:
    """By how much the intervals must grow to fit the errors of the sizes that were left out.

    The root mean square of the errors in units of the standard deviation that each forecast states
    for itself; at least 1.
    """
    squares: list[float] = []
    for size in foretold_sizes(runs):
        rest, left = runs.without(size), runs.only(size)
        of_rest = spread(rest, form, resamples(rest, form, draws))
        for weights, tokens, value in zip(left.weights, left.tokens, left.values, strict=True):
            error = math.log(value) - of_rest.log_value(weights, tokens)
            squares.append(error**2 / float(of_rest.log_draws(weights, tokens).var()))
    return max(1.0, math.sqrt(float(np.mean(squares)))) if squares else 1.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Resampled:
    """A law with the resamples that its bootstrap came from."""

    form: str
    spread: LawSpread
    counts: Array
    """How often each run counts in each resample, [draws, runs]."""
    errors: dict[str, float]
    """Of the forms, as `errors` gives them; empty where the form was given."""


def resampled(runs: Runs, form: str | None = None, widened: bool = True) -> Resampled:
    """The law of some runs, of the best form unless it is given, with its intervals."""
    found = {} if form else errors(runs)
    form = form or best_form(found)
    counts = resamples(runs, form, DRAWS)
    factor = widening(runs, form) if widened else 1.0
    return Resampled(
        form=form, spread=spread(runs, form, counts, factor), counts=counts, errors=found
    )


def without_each(runs: Runs, form: str) -> dict[str, Resampled]:
    """The laws without each size that can be left out, by that size.

    Without the largest one, the form is chosen anew. The others have ``form``, and intervals that
    are not widened, because they are what the widening is made of.
    """
    sizes = foretold_sizes(runs)
    return {
        size: resampled(runs.without(size))
        if size == sizes[-1]
        else resampled(runs.without(size), form, widened=False)
        for size in sizes
    }


def scaling_law(
    runs: Runs, whole: Resampled, without: dict[str, Resampled], target: str, unit: str,
    level: float,
) -> ScalingLaw:  # fmt: skip
    """The record of a law of the column ``target``, with every run foretold without its size."""
    held_out = [
        HeldOutRun(
            name=name,
            size=size,
            measured=float(value),
            foretold=rest.spread.interval(weights, tokens, level),
        )
        for size, rest in without.items()
        for left in [runs.only(size)]
        for name, weights, tokens, value in zip(
            left.names, left.weights, left.tokens, left.values, strict=True
        )
    ]
    return ScalingLaw(
        target=target,
        unit=unit,
        form=whole.form,
        parameters=whole.spread.parameters.tolist(),
        bootstrap=whole.spread.bootstrap.tolist(),
        residuals=whole.spread.residuals.tolist(),
        errors=whole.errors,
        widening=whole.spread.widening,
        held_out=held_out,
    )
