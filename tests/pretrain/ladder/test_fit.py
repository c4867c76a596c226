"""The report of a ladder, by the parts of its file; the runs are made up."""

from pathlib import Path

import pandas as pd
import pytest
import yaml

from data_prep.recipe import Recipe
from pretrain.ladder import __main__, blend, fit, table
from pretrain.ladder.config import MixtureGrid
from tests.pretrain.ladder import test_blend
from tinymathreason.cli import InputError
from tinymathreason.config import load

LADDER = Path("pretrain/ladder/ladders/cpu_rates.yaml")
RATES = Path("docs/scaling/rates.csv")
WEIGHTS = {name: 10 * share for name, share in test_blend.SHARES.items()}


def test_a_ladder_of_rates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setattr(table, "collect", lambda ladder: table.read(RATES))
    __main__.main(["fit", str(LADDER), f"run={tmp_path}"])
    text = (tmp_path / "report.md").read_text()
    assert text.startswith(f"# Ladder {LADDER}\n\n## Rates\n\n| size ")
    assert "![Rates](rates.png)" in text
    assert (tmp_path / "rates.png").read_bytes().startswith(b"\x89PNG")
    assert not (tmp_path / "report.json").exists()  # without a law nothing can be foretold
    pd.testing.assert_frame_equal(table.read(tmp_path / table.FILE), table.read(RATES))
    assert capsys.readouterr().out.endswith(f"{tmp_path / 'report.md'}\n")


def test_a_ladder_of_mixtures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = tmp_path / "large.yaml"
    sources = {name: {"format": "text", "path": "*", "weight": w} for name, w in WEIGHTS.items()}
    whole = {"output_dir": "runs/large", "tokenizer": {"train": {"vocab_size": 300}}}
    recipe.write_text(
        yaml.safe_dump({**whole, "token_budget": 1_000_000, "sources": sources}, sort_keys=False)
    )
    grid = MixtureGrid(
        size="0.3M", tokens=1e6, count=12, target="bits/gsm8k", recipe=recipe,
        available={"math": 150_000},
    )  # fmt: skip
    monkeypatch.setattr(blend, "DRAWS", 10)
    section = fit.mixture_section(grid, test_blend.table(), tmp_path)
    assert "At the limit of repetition: math." in section.lines
    assert load(Recipe, tmp_path / fit.RECIPE).shares["math"] == pytest.approx(0.6, abs=2e-4)
    assert list(section.figures) == ["mixture"]


def test_a_ladder_without_runs(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no finished run; begin with"):
        __main__.main(["fit", str(LADDER), f"run={tmp_path}"])
