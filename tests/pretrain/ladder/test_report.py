"""The report of a synthetic ladder: its record, its text and its plots."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pretrain.ladder import left_out, report, sections
from pretrain.ladder.sections import Section
from tests.support import ladders, records
from tinymathreason.cli import InputError
from tinymathreason.records.ladder import LadderReport
from tinymathreason.records.mixture import Draw, Draws


@pytest.fixture(autouse=True)
def few_draws(monkeypatch) -> None:
    monkeypatch.setattr(left_out, "DRAWS", 8)
    monkeypatch.setattr(left_out, "INNER_DRAWS", 4)


def with_gsm8k(table: pd.DataFrame) -> pd.DataFrame:
    """The table with a diverged run, and a task of which no run answers anything."""
    diverged = {**table.iloc[0], "name": "5M-hot", "status": "diverged", "loss": np.nan}
    table = pd.concat([table, pd.DataFrame([diverged])], ignore_index=True)
    table["bits/gsm8k"] = 2 * table["bits/arithmetic"]
    table["correct/gsm8k"], table["problems/gsm8k"] = 0, 50
    return table


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    sizes = {name: ladders.SIZES[name] for name in ("0.3M", "0.6M", "1.2M", "5M")}
    return with_gsm8k(ladders.table(sizes=sizes, ratios=(0.5, 2.0, 4.0)))


@pytest.fixture
def mixture(tmp_path: Path) -> Path:
    folder = tmp_path / "mixture"
    records.mixture().write(folder / "manifest.json")
    Draws({"web": Draw(path="web/*", weight=1.0)}).write(folder / "mixture.json")
    (folder / "tokenizer").mkdir()
    (folder / "tokenizer" / "tokenizer.json").write_text("{}")
    return folder


def test_the_report_of_a_ladder(table, mixture, tmp_path) -> None:
    made = report.make(Path("ladder.yaml"), table, mixture)
    extra = Section(title="Rates", lines=["The best rate is 3e-3."])
    report.write(tmp_path / "out", made, table, [extra])
    assert LadderReport.load(tmp_path / "out" / "report.json") == made
    assert made.diverged == ["5M-hot"]
    assert made.range.runs == 12
    assert (made.vocab_size, made.shares) == (256, {"web": 1.0})
    assert made.tasks["arithmetic"].link is not None
    assert made.tasks["gsm8k"].link is None

    text = (tmp_path / "out" / "report.md").read_text()
    assert "Diverged, and in no fit: 5M-hot." in text
    assert "No link to the accuracy was fitted: the accuracy of every run is zero." in text
    assert "The best rate is 3e-3." in text
    assert f"`{sections.formula(made.loss)}`" in text
    assert text.count("of which the forecast knew nothing") == 4
    plots = {path.name for path in (tmp_path / "out").glob("*.png")}
    assert plots == {"loss.png", "bits-arithmetic.png", "accuracy-arithmetic.png", "bits-gsm8k.png"}
    assert all(f"]({name})" in text for name in plots)
    assert not [path for path in (tmp_path / "out").iterdir() if path.name.startswith(".")]


def test_the_order_of_the_rows_changes_nothing(table) -> None:
    loss = table[["name", "group", "status", "size", "matrices", "tokens", "flops", "loss"]]
    one, two = (
        report.make(Path("ladder.yaml"), rows, None)
        for rows in (loss, loss.sample(frac=1, random_state=2))
    )
    assert records.change(one, provenance=two.provenance) == two
    assert one.mixture is None


def test_the_formula_is_printed_with_its_numbers() -> None:
    assert sections.formula(records.scaling_law()) == "1 + 100 / N^0.500 + 100 / D^0.500"
    kaplan = records.change(
        records.scaling_law(), form="kaplan", parameters=[-30.0, 0.0, 0.0, 0.5, 1.0, 0.25, 0.0]
    )
    assert sections.formula(kaplan) == "(1 / N^0.500 + 1 / D^1.000)^0.250"


def test_a_table_without_enough_runs_is_refused(mixture) -> None:
    few = ladders.table(sizes={"0.3M": 3e5, "5M": 5e6})
    with pytest.raises(InputError, match=r"runs of 3 sizes and 5 pairs .* \(got 2 and 8\)"):
        report.make(Path("ladder.yaml"), few, mixture)


def test_the_formula_of_a_product() -> None:
    law = records.change(
        records.scaling_law(),
        form="product",
        parameters=[0.0, -30.0, np.log(3), 0.0, 0.8, 1.0, 0.15],
    )
    assert sections.formula(law) == "1 + 3 / (N^0.150 * D^0.800)"
