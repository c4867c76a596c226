from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pretrain.ladder import rates as module
from pretrain.ladder.rates import fit, layer_weights
from pretrain.ladder.table import read
from pretrain.ladder.transfer import (
    TOKENS_EXPONENT,
    PlannedTraining,
    by_law,
    calibration,
    deepseek,
    distance,
    figure,
    lines,
    overlays,
    recommended,
    step_law,
)

SIZES = {"0.3M": 300_000, "0.6M": 600_000, "1.2M": 1_200_000}
FACTORS = (0.25, 0.5, 1.0, 2.0, 4.0)
SCATTER = 0.003


def best(weights: float) -> float:
    """The best rate of the made-up runs."""
    return 5e-3 * (weights / 600_000) ** -0.4


def table(seed: int = 0, scatter: float = SCATTER, center: float = 1.0) -> pd.DataFrame:
    """Runs whose loss over the rate is a valley around `best`, steeper above than below."""
    generator = np.random.default_rng(seed)
    made = []
    for size, weights in SIZES.items():
        for factor in FACTORS:
            rate = float(f"{center * 4e-3 * (weights / 600_000) ** -0.25 * factor:.3g}")
            x = np.log(rate / best(weights))
            loss = 1.5 * (weights / 600_000) ** -0.1 * np.exp(0.02 * x**2 + 0.003 * x**3)
            made.append(
                {
                    "name": f"rates-{size}-{rate:g}",
                    "group": "rates",
                    "status": "finished",
                    "size": size,
                    "parameters": weights + 2 * 28_672,
                    "matrices": weights + 28_672,
                    "tokens": 320_000,
                    "rate": rate,
                    "weight_decay": 0.1,
                    "seed": 0,
                    "flops": 320_000 * (6 * (weights + 28_672) + 300_000),
                    "loss": loss * np.exp(generator.normal(0, scatter)),
                }
            )
    return pd.DataFrame(made)


@pytest.fixture(scope="module")
def wanted() -> list[PlannedTraining]:
    return overlays()


def decays() -> pd.DataFrame:
    """Runs of one size at other weight decays, of which 0.2 is the best."""
    run = table().iloc[[2]]
    tried = [0.05, 0.2, 0.4, 0.8]
    level = run["loss"].iloc[0] / np.exp(0.01 * np.log(0.1 / 0.2) ** 2)
    loss = [level * np.exp(0.01 * np.log(decay / 0.2) ** 2) for decay in tried]
    return pd.concat([run.assign(weight_decay=d, loss=v) for d, v in zip(tried, loss, strict=True)])


def test_the_best_rates_and_their_law_are_found() -> None:
    found = fit(table())
    assert [curve.size for curve in found.curves] == list(SIZES)
    for curve in found.curves:
        assert curve.bracketed
        assert curve.weights == SIZES[curve.size]
        assert curve.best == pytest.approx(best(curve.weights), rel=0.25)
        low, high = curve.interval
        assert low < curve.best < high
    assert found.scatter == pytest.approx(SCATTER, rel=0.7)
    assert found.law.held == "tokens"
    assert found.law.exponent == pytest.approx(-0.4, abs=0.25)
    assert found.law.at(found.law.center) == pytest.approx(found.law.rate)
    assert found.law.at(2.4e6) == pytest.approx(best(2.4e6), rel=0.4)


def test_the_intervals_hold_the_truth_as_often_as_they_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "DRAWS", 100)
    inside = []
    for seed in range(20):
        found = fit(table(seed))
        if found.law:
            low, high = found.law.interval(2.4e6)
            inside.append(low < best(2.4e6) < high)
            low, high = found.law.exponent_interval
            inside.append(low < -0.4 < high)
    assert len(inside) >= 30
    assert 0.75 <= np.mean(inside) <= 1


def test_more_scatter_makes_wider_intervals() -> None:
    quiet, loud = (fit(table(scatter=scatter)).curves[1] for scatter in (0.001, 0.006))
    assert np.diff(np.log(quiet.interval)) < np.diff(np.log(loud.interval))


def test_repeated_seeds_tell_the_scatter() -> None:
    rows = table()
    law = rows.iloc[:1].assign(group="law", tokens=1_000_000)
    seeds = [law.assign(seed=seed, loss=2.0 * np.exp(0.2 * (-1) ** seed)) for seed in range(40)]
    found = fit(pd.concat([rows, *seeds]))
    assert found.scatter == pytest.approx(0.2, rel=0.15)


def test_a_minimum_at_the_end_of_what_was_tried_is_not_one(wanted: list[PlannedTraining]) -> None:
    found = fit(table(center=0.05))
    assert found.law is None
    assert not any(curve.bracketed for curve in found.curves)
    assert all(curve.interval is None for curve in found.curves)
    text = "\n".join(lines(found, wanted))
    assert "or more: the end of what was tried" in text
    assert "No law over sizes" in text
    assert "Calibrated" not in text


def test_diverged_runs_and_other_mixtures_have_no_part() -> None:
    rows = table()
    worst = rows.index[rows["rate"] == rows["rate"].max()]
    rows.loc[worst, "status"] = "diverged"
    rows.loc[worst, "loss"] = np.nan
    other = rows.iloc[[2]].assign(group="mixtures", loss=0.1)
    found = fit(pd.concat([rows, other]))
    assert len(found.curves[0].values) == 4
    assert found.curves[0].losses.min() > 1
    assert found.diverged == {"0.3M": [pytest.approx(rows["rate"].max())]}
    assert "Diverged at 0.3M: rates of 0.019" in "\n".join(lines(found, []))


def test_weight_decay_has_a_curve_of_its_own(wanted: list[PlannedTraining]) -> None:
    found = fit(pd.concat([table(), decays()]))
    (curve,) = found.decays
    assert curve.column == "weight_decay"
    assert curve.best == pytest.approx(0.2, rel=0.05)
    assert "best weight decay" in "\n".join(lines(found, wanted))


def test_published_laws() -> None:
    assert step_law(1, 1) == 1.79
    assert step_law(1e9, 1e11) == pytest.approx(1.79 * 10 ** (-0.713 * 9 + 0.307 * 11))
    assert deepseek(1e20) == pytest.approx(0.3118 * 10**-2.5)


def test_the_overlays_sizes(wanted: list[PlannedTraining]) -> None:
    named = {training.name: training for training in wanted}
    small, large = named["tinymathreason_20m"], named["tinymathreason_1b_v4_32"]
    assert large.tokens == pytest.approx(300e9, rel=1e-4)
    assert small.tokens == pytest.approx(20 * 20_614_400, rel=1e-3)
    assert large.weights == pytest.approx(1_123_117_056 - 2 * 32_000 * 2048, rel=1e-3)
    assert large.flops / large.tokens == pytest.approx(
        6 * large.weights + 12 * 22 * 2048 * 4096, rel=1e-6
    )
    assert layer_weights(10 + 2 * 3, 10 + 3) == 10


def test_the_report_says_how_far_the_overlays_are(wanted: list[PlannedTraining]) -> None:
    found = fit(table())
    text = "\n".join(lines(found, wanted))
    assert f"(N / 600.0 thousand)^{found.law.exponent:.2f}" in text
    assert text.splitlines()[-8].split("|")[-2].split() == ["0.5,", "3.1"]
    assert distance(found.curves, wanted[0])[1] == pytest.approx(np.log10(wanted[0].tokens / 320e3))
    ratios = [curve.best / step_law(curve.weights, curve.tokens) for curve in found.curves]
    assert calibration(found.curves) == pytest.approx(np.prod(ratios) ** (1 / 3))
    assert calibration([]) is None
    for each in wanted:
        least = min(
            calibration(found.curves) * step_law(each.weights, each.tokens), deepseek(each.flops)
        )
        assert recommended(found.curves, each) == pytest.approx(least, rel=0.05)
    assert recommended([], wanted[0]) is None
    assert len(figure(found, wanted).axes) == 2


def test_the_law_is_moved_to_other_tokens(wanted: list[PlannedTraining]) -> None:
    """Sizes with the same tokens, and with the same tokens a parameter, foretell the same."""
    rows = table(scatter=0.0)
    ratio = rows.assign(tokens=rows["parameters"] - 2 * 28_672)
    # By the law of tokens, the best rates of longer runs are higher.
    ratio["rate"] *= (ratio["tokens"] / 320_000) ** TOKENS_EXPONENT
    ratio["flops"] *= ratio["tokens"] / 320_000
    first, second = fit(rows), fit(ratio)
    assert (first.law.held, second.law.held) == ("tokens", "tokens a parameter")
    for each in wanted:
        assert by_law(first, each).split()[0] == by_law(second, each).split()[0]
    moved = first.law.at(wanted[0].weights) * (wanted[0].tokens / 320_000) ** 0.307
    assert by_law(first, wanted[0]).split()[0] == f"{moved:.1e}"


def test_the_measured_ladder_gives_the_overlays_rates(wanted: list[PlannedTraining]) -> None:
    """The runs in docs/scaling/rates.csv; the page has what the report says of them."""
    found = fit(read(Path("docs/scaling/rates.csv")))
    assert [curve.size for curve in found.curves] == ["0.3M", "0.6M", "1.2M", "2.5M"]
    assert all(curve.bracketed for curve in found.curves)
    assert found.law.exponent == pytest.approx(-0.6165, abs=0.001)
    assert calibration(found.curves) == pytest.approx(0.380, abs=0.001)
    for each in wanted:
        if "1b" not in each.name:  # the model card names the 1B model's rate
            assert each.rate == recommended(found.curves, each)
    page = " ".join(Path("docs/scaling.md").read_text().split())
    for line in lines(found, wanted):
        assert " ".join(line.split()) in page


def test_a_table_without_rates() -> None:
    found = fit(table().assign(rate=1e-3))
    assert lines(found, wanted) == ["No size was run at three rates or more."]
