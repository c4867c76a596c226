"""The table of the ladder that was run gives the law and forecasts that docs/scaling.md shows."""

import re
from pathlib import Path

import numpy as np
import pytest

from pretrain.ladder import law, link, table
from pretrain.ladder.forecast import accuracy_of
from pretrain.ladder.forms import FORMS, NAMES, log_value
from pretrain.ladder.law import Runs
from pretrain.ladder.link import Answers

PAGE = Path("docs/scaling.md").read_text()
RESULTS = table.read(Path("docs/scaling/law.csv"))


def section(title: str) -> str:
    """The part of the page under a heading."""
    return PAGE.partition(f"\n### {title}\n")[2].partition("\n#")[0]


def shown_form(text: str) -> str:
    return re.search(r"form `(\w+)`", text)[1]


def shown_parameters(text: str) -> dict[str, float]:
    """The parameters in the table of a law."""
    rows = re.findall(r"^\| (log \w|\w+) +\| +(-?[\d.]+) \|", text, re.MULTILINE)
    return {name.removeprefix("log ").lower(): float(value) for name, value in rows}


@pytest.mark.parametrize(
    ("title", "column"), [("Held-out loss", "loss"), ("Bits of the solutions", "bits/arithmetic")]
)
def test_the_table_gives_the_law_of_the_page(title, column) -> None:
    text = section(title)
    form, shown = shown_form(text), shown_parameters(text)
    assert shown.keys() == set(NAMES) - FORMS[form].fixed.keys()
    runs = Runs.of(RESULTS, column)
    fitted = law.fit(runs, form).parameters
    expected = np.array([shown.get(name, FORMS[form].fixed.get(name)) for name in NAMES])
    # The page has three decimals of a logarithm: as values, not as parameters.
    difference = log_value(fitted, runs.weights, runs.tokens) - log_value(
        expected, runs.weights, runs.tokens
    )
    assert np.abs(difference).max() < 0.01


def shown_runs(text: str) -> dict[str, tuple[float, float]]:
    """What the table of the largest size says was measured and foretold, by run."""
    rows = re.findall(r"^\| (law-\S+) +\| +([\d.]+)%? \| +([\d.]+)%? \|", text, re.MULTILINE)
    return {name: (float(measured), float(foretold)) for name, measured, foretold in rows}


def test_the_largest_size_is_foretold_as_the_page_says() -> None:
    text = section("Held-out loss")
    runs = Runs.of(RESULTS, "loss")
    largest = runs.distinct_sizes[-1]
    left = runs.only(largest)
    form = re.search(r"without it, form `(\w+)`", text)[1]
    fitted = law.fit(runs.without(largest), form)
    foretold = np.exp(log_value(fitted.parameters, left.weights, left.tokens))
    shown = shown_runs(text)
    assert shown.keys() == set(left.names)
    for name, measured, value in zip(left.names, left.values, foretold, strict=True):
        assert shown[name] == pytest.approx((measured, value), rel=2e-3)


def test_the_link_is_that_of_the_page() -> None:
    text = section("Accuracy")
    runs = Runs.of(RESULTS, "bits/arithmetic")
    answers = Answers.of(RESULTS, "arithmetic", runs)
    number = r"([\d.]+)"
    found = re.search(
        rf"accuracy = {number} \+ {number} / \(1 \+ exp\({number} \(bits - {number}\)\)\)", text
    )
    floor, _, slope, middle = map(float, found.groups())
    shown = accuracy_of(np.array([floor, slope, middle]), answers.bits)
    assert accuracy_of(link.fit(answers), answers.bits) == pytest.approx(shown, abs=0.02)
