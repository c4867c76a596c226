"""The report of a model with two phases of pretraining has the data of both, as the card does."""

import json
import re

import pytest

from release import card
from release.report.__main__ import main
from tests.release.test_card import CONVERSION, make
from tests.support import records
from tests.support.padding import squeezed
from tinymathreason.cli import InputError
from tinymathreason.records.base import write_lines

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
MISSING = (
    "left out: the data of the earlier phases of pretraining: maths*1 (name their mixtures by "
    "--mixture, and that of the last phase last)"
)


@pytest.fixture
def run(tmp_path):
    """A run's records after two phases; the first one's mixture is in the folder ``first``."""
    first, last = CONVERSION["phases"]
    phases = [{**first, "recipe": "maths*1"}, last]
    run = make(tmp_path / "run", CONVERSION={**CONVERSION, "phases": phases})
    mixture = records.mixture(sources={"pages": records.source(tokens=98_765)})
    recipe = records.change(mixture.recipe, name="maths*1")
    records.change(mixture, recipe=recipe).write(run / "first/manifest.json")
    write_lines(run / "evaluation/sft/samples.jsonl", [records.sample()])
    return run


def mixtures(run, *folders: str) -> list[str]:
    return [f"--mixture={run / folder}" for folder in folders]


def test_the_data_of_both_phases_is_shown(run, capsys) -> None:
    arguments = ["--run", str(run), *mixtures(run, "first", "mixture")]
    main(arguments)
    printed = capsys.readouterr().out
    assert "left out" not in printed
    report = json.loads((run / "report.json").read_text())
    assert report["tokens"]["data"] == 98_765 + 765_432 + 23_456
    assert list(report["earlier_data"]["maths*1"]) == ["pages"]
    assert list(report["data"]) == ["sums", "web"]
    page = (run / "report.html").read_text()
    titles = ["Pretraining: maths*1", "Pretraining, last phase"]
    assert re.findall("<h3>(.*)</h3>\n<figure>", page)[:2] == titles
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    amounts = "{}: 98,765 tokens from 1 source; {}: 788,888 tokens from 2 sources".format(*titles)
    assert amounts in page
    assert amounts.replace("*", r"\*") in squeezed(printed)
    assert amounts.replace("*", r"\*") in squeezed((run / "report.md").read_text())
    card.main([*arguments, "--output", str(run)])
    of_card = re.findall(
        "### (Pretraining.*)\n", (run / "README.md").read_text().split("## Data")[1]
    )
    assert of_card == [title.replace("*", r"\*") for title in titles]


def test_a_wrong_mixture_is_refused_as_by_the_card(run) -> None:
    arguments = ["--run", str(run), *mixtures(run, "mixture", "first")]
    lines = []
    for command, output in ((main, []), (card.main, ["--output", str(run)])):
        with pytest.raises(InputError) as error:
            command([*arguments, *output])
        lines.append(str(error.value))
    assert lines[0].startswith(f"{run / 'mixture'}: no earlier phase of the model has its recipe")
    assert lines[0] == lines[1]
    assert not (run / "report.json").exists()


def test_a_phase_without_its_mixture_is_named(run, capsys) -> None:
    main(["--run", str(run)])
    assert capsys.readouterr().out.splitlines()[0] == MISSING
    report = json.loads((run / "report.json").read_text())
    assert report["earlier_data"] == {"maths*1": None}
    assert report["tokens"]["data"] == 765_432 + 23_456
    page = (run / "report.html").read_text()
    assert '<h3>Pretraining: maths*1</h3>\n<p class="note">The run holds no record of' in page
    assert "<h3>Pretraining, last phase</h3>\n<figure>" in page


def test_another_mixture_is_not_shown_as_that_of_the_last_phase(run, capsys) -> None:
    main(["--run", str(run), *mixtures(run, "first")])
    assert capsys.readouterr().out.splitlines()[:2] == [
        MISSING,
        f"left out: the data of pretraining ({run / 'first/manifest.json'} is not of the mixture "
        "that was trained on)",
    ]
    report = json.loads((run / "report.json").read_text())
    assert report["data"] == {}
    assert report["tokens"]["data"] is None
    page = (run / "report.html").read_text()
    assert '<h3>Data preparation</h3><p class="result"></p>' in page
    assert "98,765" not in page
