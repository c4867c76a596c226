"""What a report foretells of a run, and how it says that it should not be believed."""

import math

import numpy as np
import pytest

from pretrain.ladder import forecast
from pretrain.ladder.forecast import LawSpread, Target
from tests.support import records
from tests.support.records import change

NEAR = Target(weights=2e6, tokens=2e7, flops=2.4e14)


def test_the_law_by_hand() -> None:
    spread = LawSpread.of(records.scaling_law())
    expected = 1 + 100 / math.sqrt(4e6) + 100 / math.sqrt(1e8)
    found = spread.interval(4e6, 1e8, 0.9)
    assert (found.value, found.low, found.high) == pytest.approx((expected,) * 3)


def test_the_interval_has_the_scatter_of_the_runs_and_is_widened() -> None:
    residuals = np.random.default_rng(0).normal(0, 0.01, 2000).tolist()
    law = change(records.scaling_law(), residuals=residuals)
    narrow = LawSpread.of(law).interval(1e6, 1e7, 0.9)
    assert math.log(narrow.high / narrow.low) == pytest.approx(2 * 1.645 * 0.01, rel=0.05)
    wide = LawSpread.of(change(law, widening=3.0)).interval(1e6, 1e7, 0.9)
    assert wide.value == narrow.value
    assert math.log(wide.high / wide.low) == pytest.approx(
        3 * math.log(narrow.high / narrow.low), rel=0.01
    )


def test_an_accuracy_is_less_certain_on_fewer_problems() -> None:
    task = records.ladder().tasks["arithmetic"]
    spread = LawSpread.of(change(task.bits, residuals=[0.0]))
    bits = spread.interval(1e6, 1e7, 0.9).value
    mean = 1 / (1 + math.exp(4 * (bits - 1.2)))
    for problems in (100, 1000):
        found = forecast.accuracy(spread, task.link, 1e6, 1e7, 0.9, problems)
        assert found.value == pytest.approx(mean)
        width = 2 * 1.645 * math.sqrt(mean * (1 - mean) / problems)
        assert found.high - found.low == pytest.approx(width, rel=0.1)


def test_orders_of_magnitude_beyond_the_largest_run() -> None:
    target = Target(weights=1e8, tokens=1e9, flops=6e17)
    assert forecast.orders(records.ladder(), target) == pytest.approx(
        {"parameters": 2, "tokens": 2, "FLOPs": 4}
    )
    assert dict(forecast.rows(records.ladder(), target))["beyond the ladder"] == (
        "parameters 2.0, tokens 2.0, FLOPs 4.0 orders of magnitude"
    )
    inside = Target(weights=1e5, tokens=1e6, flops=6e11)
    words = dict(forecast.rows(records.ladder(), inside))["beyond the ladder"]
    assert words.startswith("parameters 0 (inside), tokens 0 (inside)")


def test_a_ladder_that_is_large_enough_is_believed() -> None:
    assert forecast.doubts(records.ladder(), NEAR) == []


def test_every_reason_for_doubt_names_its_limit() -> None:
    report = records.ladder()
    far = Target(weights=1e9, tokens=1e11, flops=6e20)
    assert forecast.doubts(report, far) == [
        "the run lies 7.0 orders of magnitude of FLOPs beyond its largest run, believed are 2"
    ]
    small = change(report, range=change(report.range, sizes=["1M", "2M", "5M"]))
    assert forecast.doubts(small, NEAR) == ["it has 3 sizes, needed are 4"]
    untested = change(report, loss=change(report.loss, held_out=[]))
    assert forecast.doubts(untested, NEAR) == [
        "its largest size could not be left out and foretold"
    ]
    run = change(report.loss.held_out[0], measured=2.1)
    wrong = change(report, loss=change(report.loss, held_out=[run]))
    (reason,) = forecast.doubts(wrong, NEAR)
    assert reason.endswith("with an error of 4.8%, accepted are 2%")


def test_estimates_are_called_estimates_and_a_missing_link_is_named() -> None:
    rows = dict(forecast.rows(records.ladder(), NEAR))
    assert rows["estimated held-out loss"] == "1.093 (90%: 1.093 to 1.093) nats a token"
    assert rows["estimated accuracy, arithmetic"].startswith("60.5% (90%: 58.0% to 63.0%)")
    assert rows["accuracy, gsm8k"] == "no estimate: the accuracy of every run is zero"
    assert "estimated accuracy, gsm8k" not in rows
    unmeasured = change(records.ladder(), tasks={})
    assert dict(forecast.rows(unmeasured, NEAR))["accuracy, gsm8k"] == (
        "no estimate: the ladder did not measure it"
    )
    numbers = forecast.numbers(records.ladder(), NEAR)
    assert numbers["tasks"]["gsm8k"]["accuracy"] is None
    assert numbers["tasks"]["arithmetic"]["accuracy"]["value"] == pytest.approx(0.605, abs=0.001)
