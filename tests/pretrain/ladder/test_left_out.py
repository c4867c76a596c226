"""Sizes are left out and foretold, and nothing of them is in their forecast."""

import dataclasses

import numpy as np
import pytest

from pretrain.ladder import left_out
from pretrain.ladder.forms import log_value
from pretrain.ladder.law import Runs
from pretrain.ladder.left_out import Resampled
from tests.support import ladders


@pytest.fixture(autouse=True)
def few_draws(monkeypatch) -> None:
    monkeypatch.setattr(left_out, "DRAWS", 10)
    monkeypatch.setattr(left_out, "INNER_DRAWS", 5)


@pytest.fixture(scope="module")
def runs() -> Runs:
    return Runs.of(ladders.table(scatter=0.003), "loss")


def largest(runs: Runs) -> Resampled:
    return left_out.resampled(runs.without("5M"))


def test_the_largest_size_is_foretold_without_its_runs(runs) -> None:
    changed = dataclasses.replace(
        runs, values=np.where(np.array(runs.sizes) == "5M", 2 * runs.values, runs.values)
    )
    one, two = (left_out.without_each(r, "shared")["5M"] for r in (runs, changed))
    assert one.form == two.form
    assert (one.spread.log_draws(5e6, 1e7) == two.spread.log_draws(5e6, 1e7)).all()
    record = left_out.scaling_law(changed, one, {"5M": two}, "loss", "nats a token", 0.9)
    assert [run.size for run in record.held_out] == ["5M"] * 4
    assert not any(run.inside for run in record.held_out)
    assert all(run.relative_error == pytest.approx(-0.5, abs=0.02) for run in record.held_out)


def test_the_form_is_the_one_that_foretells_best(runs) -> None:
    assert left_out.best_form({"shared": 0.02, "kaplan": 0.01}) == "kaplan"
    kaplan = np.array([-30.0, 20.0, 13.0, 1.3, 1.0, 0.2, 0.0])
    values = np.exp(log_value(kaplan, runs.weights, runs.tokens))
    found = left_out.errors(dataclasses.replace(runs, values=values))
    assert left_out.best_form(found) == "kaplan"
    assert found["kaplan"] < 1e-4 < found["hoffmann"]


def test_a_law_that_bends_away_widens_the_intervals(runs) -> None:
    """A smaller loss of large models than any form allows: the sizes left out give it away."""
    bent = dataclasses.replace(
        runs, values=runs.values * np.exp(-0.05 * (np.log(runs.weights / 3e5) / 2) ** 2)
    )
    assert left_out.widening(bent, "shared") > left_out.widening(runs, "shared") + 0.3


def test_three_sizes_are_not_left_out(runs) -> None:
    three = runs.where([size in ("0.3M", "1.2M", "5M") for size in runs.sizes])
    assert left_out.foretold_sizes(three) == []
    assert left_out.errors(three) == {}
    assert left_out.resampled(three).form == left_out.DEFAULT_FORM
    assert left_out.without_each(three, "shared") == {}
