"""The link from likelihood to accuracy, on counts whose curve is known."""

import numpy as np
import pytest

from pretrain.ladder import link
from pretrain.ladder.forecast import accuracy_of, scattered
from pretrain.ladder.law import Runs
from pretrain.ladder.link import Answers
from tests.support import ladders

TRUE = np.array([0.02, 8.0, 0.7])


def answers(seed: int = 0, problems: int = 1000, scatter: float = 0.0, runs: int = 16) -> Answers:
    generator = np.random.default_rng(seed)
    bits = np.linspace(0.2, 1.4, runs)
    moved = bits + scatter * generator.standard_normal(runs)
    correct = generator.binomial(problems, accuracy_of(TRUE, moved)).astype(float)
    return Answers(bits=bits, correct=correct, problems=np.full(runs, float(problems)))


def test_the_curve_by_hand() -> None:
    assert accuracy_of(TRUE, np.array(0.7)) == pytest.approx(0.51)
    assert accuracy_of(TRUE, np.array(100.0)) == pytest.approx(0.02)
    assert accuracy_of(TRUE, np.array(0.2)) == pytest.approx(0.02 + 0.98 / (1 + np.exp(-4)))


def test_the_curve_is_recovered() -> None:
    assert link.fit(answers(problems=10**6)) == pytest.approx(TRUE, rel=0.02)
    floor, slope, middle = link.fit(answers())
    assert (slope, middle) == pytest.approx((8.0, 0.7), rel=0.1)
    assert floor == pytest.approx(0.02, abs=0.01)


def test_runs_that_are_not_drawn_do_not_count() -> None:
    whole = answers()
    wrong = whole.correct.copy()
    wrong[3] = 0
    spoiled = Answers(bits=whole.bits, correct=wrong, problems=whole.problems)
    counts = np.ones(16)
    counts[3] = 0
    kept = whole.where(counts > 0)
    assert link.fit(spoiled, counts) == pytest.approx(link.fit(kept), rel=1e-4)
    twice = Answers(
        bits=np.repeat(whole.bits, 2),
        correct=np.repeat(whole.correct, 2),
        problems=np.repeat(whole.problems, 2),
    )
    assert link.fit(whole, np.full(16, 2.0)) == pytest.approx(link.fit(twice), rel=1e-4)


def test_what_cannot_be_fitted_is_refused_in_words() -> None:
    good = answers()
    assert good.refusal() == ""
    zeros = np.zeros(16)
    assert "was measured" in Answers(bits=good.bits, correct=zeros, problems=zeros).refusal()
    nothing = Answers(bits=good.bits, correct=zeros, problems=good.problems)
    assert nothing.refusal() == "the accuracy of every run is zero"
    few = zeros.copy()
    few[:3], few[3:6] = 300, 3
    few[6:9] = 1000
    refusal = Answers(bits=good.bits, correct=few, problems=good.problems).refusal()
    assert refusal == "3 runs have an accuracy between 1% and 99%, needed are 4"


def test_the_dispersion_is_the_scatter_beyond_the_binomial() -> None:
    binomial = [link.dispersion(a, link.fit(a)) for a in map(answers, range(8))]
    assert np.mean(binomial) < 1.4
    wide = [link.dispersion(a, link.fit(a)) for a in (answers(s, scatter=0.03) for s in range(4))]
    assert min(wide) > 2


def test_drawn_accuracies_have_the_binomial_variance_times_the_dispersion() -> None:
    generator = np.random.default_rng(0)
    record = link.record(answers(scatter=0.03), np.ones((2, 16)))
    drawn = scattered(np.full(40_000, 0.3), record.problems, record, generator)
    assert drawn.mean() == pytest.approx(0.3, abs=0.003)
    expected = record.dispersion * 0.3 * 0.7 / record.problems
    assert drawn.var() == pytest.approx(expected, rel=0.05)


def test_answers_are_those_of_the_runs_in_their_order() -> None:
    table = ladders.table().sample(frac=1, random_state=3)
    table.loc[table["name"] == "5M-4x-s0", ["correct/arithmetic", "problems/arithmetic"]] = np.nan
    runs = Runs.of(table, "bits/arithmetic")
    found = Answers.of(table, "arithmetic", runs)
    row = table[table["name"] == runs.names[5]].iloc[0]
    assert (found.bits[5], found.correct[5]) == (row["bits/arithmetic"], row["correct/arithmetic"])
    assert found.problems[-1] == 0
    assert not Answers.of(table, "gsm8k", runs).problems.any()
