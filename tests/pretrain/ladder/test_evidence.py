"""The table of the ladder that was run gives the law and forecasts that docs/scaling.md shows."""

import re

import numpy as np
import pytest

from docs.ladder import PAGE, TABLE
from pretrain.ladder import law, link, table
from pretrain.ladder.forecast import accuracy_of
from pretrain.ladder.forms import FORMS, log_value
from pretrain.ladder.law import Runs
from pretrain.ladder.link import Answers

AGAIN = "run: .venv/bin/python -m docs.ladder"
RESULTS = table.read(TABLE)
NUMBER = r"([\d.e+-]+)"


def section(title: str) -> str:
    """The part of the page under a heading."""
    return PAGE.read_text().partition(f"\n### {title}\n")[2].partition("\n#")[0]


@pytest.mark.parametrize(
    ("title", "column"),
    [("Held-out loss", "loss"), ("Bits of the solutions, arithmetic", "bits/arithmetic")],
)
def test_the_table_gives_the_law_of_the_page(title, column) -> None:
    text = section(title)
    form = re.search(rf"`({'|'.join(FORMS)})`", text)[1]
    runs = Runs.of(RESULTS, column)
    fitted = np.exp(log_value(law.fit(runs, form).parameters, runs.weights, runs.tokens))
    formula = re.search(r"^`(.*/ .*D\^.*)`$", text, re.MULTILINE)[1].replace("^", "**")
    shown = eval(formula, {"N": runs.weights, "D": runs.tokens})  # noqa: S307  our own page
    # The page shows four digits of a coefficient and three decimals of an exponent.
    assert shown == pytest.approx(fitted, rel=0.02), AGAIN


def test_the_largest_size_is_foretold_as_the_page_says() -> None:
    text = section("Held-out loss")
    runs = Runs.of(RESULTS, "loss")
    if len(runs.distinct_sizes) <= law.FEWEST_SIZES:
        assert "No size could be left out" in text, AGAIN
        return
    largest = runs.distinct_sizes[-1]
    left = runs.only(largest)
    form = re.search(r"foretold without it, with\s+the form `(\w+)`", text)[1]
    fitted = law.fit(runs.without(largest), form)
    foretold = np.exp(log_value(fitted.parameters, left.weights, left.tokens))
    row = rf"^\| (law-\S+) +\| +{NUMBER} \| +{NUMBER} \|"
    shown = {name: (float(a), float(b)) for name, a, b in re.findall(row, text, re.MULTILINE)}
    assert shown.keys() == set(left.names), AGAIN
    for name, measured, value in zip(left.names, left.values, foretold, strict=True):
        assert shown[name] == pytest.approx((measured, value), rel=2e-3), AGAIN


def test_the_link_is_that_of_the_page() -> None:
    text = " ".join(section("Accuracy, arithmetic").split())
    runs = Runs.of(RESULTS, "bits/arithmetic")
    answers = Answers.of(RESULTS, "arithmetic", runs)
    found = re.search(
        rf"accuracy = {NUMBER} \+ {NUMBER} / \(1 \+ exp\({NUMBER} \(bits - {NUMBER}\)\)\)", text
    )
    floor, _, slope, middle = map(float, found.groups())
    shown = accuracy_of(np.array([floor, slope, middle]), answers.bits)
    assert accuracy_of(link.fit(answers), answers.bits) == pytest.approx(shown, abs=0.02), AGAIN
