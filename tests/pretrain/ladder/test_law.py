"""The law of synthetic ladders whose parameters are known is found again."""

import dataclasses

import numpy as np
import pytest

from pretrain.ladder import law, left_out
from pretrain.ladder.forms import FORMS, NAMES, log_value
from pretrain.ladder.law import Runs
from tests.support import ladders
from tinymathreason.cli import InputError

EXACT = {
    "hoffmann": ladders.LOSS,
    "shared": np.array([np.log(0.4), 3.2, 3.6, 0.3, 0.3, 1.0, 0.0]),
    "kaplan": np.array([-30.0, 20.0, 13.0, 1.3, 1.0, 0.2, 0.0]),
    "product": np.array([np.log(0.4), -30.0, 12.0, 0.0, 0.8, 1.0, 0.15]),
}


@pytest.fixture(scope="module")
def runs() -> Runs:
    return Runs.of(ladders.table(), "loss")


def exactly(runs: Runs, parameters: np.ndarray) -> Runs:
    values = np.exp(log_value(parameters, runs.weights, runs.tokens))
    return dataclasses.replace(runs, values=values)


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_recovered_from_runs_without_scatter(runs, form) -> None:
    fitted = law.fit(exactly(runs, EXACT[form]), form)
    assert fitted.parameters == pytest.approx(EXACT[form], rel=2e-3, abs=2e-3)


def test_the_derivatives_are_those_of_the_value() -> None:
    from pretrain.ladder.forms import value_and_jacobian

    p, n, d = np.array([-0.5, 1.2, 0.8, 0.4, 0.6, 1.3, 0.2]), np.array(0.7), np.array(-0.4)
    value, jacobian = value_and_jacobian(p, n, d)
    for number in range(len(NAMES)):
        moved = p.copy()
        moved[number] += 1e-6
        assert (value_and_jacobian(moved, n, d)[0] - value) / 1e-6 == pytest.approx(
            jacobian[number], abs=1e-5
        )


def test_a_wrong_run_moves_the_law_little(runs) -> None:
    """Least squares would move by ten times as much."""
    right = law.fit(runs, "shared").parameters
    values = runs.values.copy()
    values[7] *= 1.5
    wrong = law.fit(dataclasses.replace(runs, values=values), "shared").parameters
    at = (np.array(5e6), np.array(2e7))
    assert abs(log_value(wrong, *at) - log_value(right, *at)) < 0.005


def test_the_order_of_the_rows_changes_nothing() -> None:
    table = ladders.table(seeds=2)
    shuffled = table.sample(frac=1, random_state=1)
    one, two = (Runs.of(t, "loss") for t in (table, shuffled))
    assert one.names == two.names
    assert (law.fit(one, "shared").parameters == law.fit(two, "shared").parameters).all()


def test_only_finished_runs_of_the_law_are_read() -> None:
    table = ladders.table()
    table.loc[0, "status"] = "diverged"
    table.loc[0, "loss"] = np.inf
    table.loc[1, "group"] = "rates"
    table.loc[2, "loss"] = np.nan
    assert len(Runs.of(table, "loss")) == len(table) - 3
    assert len(Runs.of(table, "bits/gsm8k")) == 0
    table.loc[3, "loss"] = 0.0
    with pytest.raises(InputError, match=r"0\.3M-4x-s0: loss: expected a number above 0"):
        Runs.of(table, "loss")


def test_too_few_runs_are_refused(runs) -> None:
    two = runs.where([size in ("0.3M", "5M") for size in runs.sizes])
    with pytest.raises(InputError, match=r"needs 3 sizes and 5 finished runs \(got 2 and 8\)"):
        law.fit(two, "shared")


def test_a_resample_draws_pairs_and_then_their_seeds() -> None:
    runs = Runs.of(ladders.table(seeds=3), "loss")
    counts = law.resamples(runs, 50, seed=1, least=5)
    assert (counts.sum(axis=1) == len(runs)).all()
    by_pair = counts.reshape(50, -1, 3)
    assert (by_pair.sum(axis=2) % 3 == 0).all()  # a pair has three seeds whenever it is drawn
    drawn = by_pair[by_pair.sum(axis=2) == 3]
    assert (drawn == 0).any()  # some seed is missing
    assert (drawn.max(axis=1) == 1).any()  # and somewhere none is
    few = law.resamples(runs.where([i % 12 < 2 for i in range(len(runs))]), 20, seed=1, least=5)
    assert ((few > 0).sum(axis=1) >= 5).all()


def test_intervals_cover_new_runs_as_often_as_they_say() -> None:
    """A 90 % interval of 10 ladders' forecasts of a size that none of them has."""
    inside, widths = [], []
    beyond = np.array([5e6]), np.array([1e7])
    for seed in range(10):
        runs = Runs.of(ladders.table(seed), "loss").without("5M")
        counts = left_out.resamples(runs, "hoffmann", 25)
        spread = left_out.spread(runs, "hoffmann", counts)
        low, high = np.log(
            [getattr(spread.interval(5e6, 1e7, 0.9), end) for end in ("low", "high")]
        )
        generator = np.random.default_rng(seed)
        new = log_value(ladders.LOSS, *beyond) + 0.005 * generator.standard_normal(40)
        inside.append((low < new) & (new < high))
        widths.append(high - low)
    assert 0.8 <= np.mean(inside) <= 0.99
    # Not by being endless: the new run's own scatter has an interval of 3.3 x 0.005.
    assert 0.0165 < np.median(widths) < 0.06
