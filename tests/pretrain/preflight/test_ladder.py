"""Preflight prints what a ladder foretells beside days and dollars, and what speaks against it."""

import json
from pathlib import Path

import pytest

from pretrain import mixture, overlay
from pretrain.model import Model
from pretrain.preflight import ladder
from pretrain.preflight.__main__ import main
from tests.support import records
from tests.support.records import change
from tinymathreason import provenance
from tinymathreason.cli import InputError
from tinymathreason.records.mixture import Draw, Draws

GPU = "maxtext_configs/tinymathreason_1b_gpu.yml"
SMALL = "maxtext_configs/tinymathreason_20m.yml"


@pytest.fixture(scope="module")
def config() -> dict:
    return overlay.load(SMALL)


@pytest.fixture
def run(config, tmp_path) -> dict:
    """A configuration whose mixture and tokenizer are here."""
    records.mixture().write(tmp_path / "manifest.json")
    Draws({"web": Draw(path="web/*", weight=1.0)}).write(tmp_path / "mixture.json")
    (tmp_path / "tokenizer.json").write_text("{}")
    return {
        **config,
        "vocab_size": 256,
        "tokenizer_path": str(tmp_path),
        mixture.MIXTURE: str(tmp_path / "mixture.json"),
    }


def of_run(run: dict) -> ladder.LadderReport:
    """A report of the same tokenizer and mixture."""
    return change(
        records.ladder(),
        tokenizer_sha256=provenance.file_hash(Path(run["tokenizer_path"]) / "tokenizer.json"),
        mixture=mixture.record(run),
    )


def notes(report: ladder.LadderReport, config: dict) -> list[str]:
    """The notes without that of a ladder too small."""
    return [n for n in ladder.quality(report, config, 1000).notes if "too small" not in n]


def test_the_target_is_the_whole_run(run) -> None:
    found = ladder.quality(of_run(run), run, 1000).numbers["orders_of_magnitude_beyond"]
    model, tokens = Model.from_config(run), run["steps"] * 1000
    assert 10 ** found["parameters"] * 1e6 == pytest.approx(model.matrices)
    assert 10 ** found["tokens"] * 1e7 == pytest.approx(tokens)
    assert 10 ** found["FLOPs"] * 6e13 == pytest.approx(tokens * model.flops_per_token)


def test_the_same_vocabulary_and_mixture_need_no_note(run) -> None:
    assert notes(of_run(run), run) == []


def test_another_vocabulary_is_noticed(run) -> None:
    report = of_run(run)
    (Path(run["tokenizer_path"]) / "tokenizer.json").write_text("{} ")
    (note,) = notes(report, run)
    assert note.startswith("the ladder's vocabulary is not the run's (256 entries, ")
    absent = {**run, "tokenizer_path": "nowhere"}
    (note,) = notes(report, absent)
    assert note.startswith("nowhere is not here, so that the ladder's vocabulary could only be")
    (note,) = notes(report, {**absent, "vocab_size": 32_000})
    assert "is not the run's (256 entries, the run's vocab_size is 32,000)" in note
    (note,) = notes(change(report, vocab_size=None), run)
    assert "names no vocabulary" in note


def test_another_mixture_is_noticed(run, tmp_path) -> None:
    report = of_run(run)
    other = change(report.mixture, content_sha256="0" * 64)
    (note,) = notes(change(report, mixture=other), run)
    assert note == "the ladder's mixture has the run's sources and weights, but other documents"
    shares = {"web": 0.5, "books": 0.5}
    (note,) = notes(change(report, mixture=other, shares=shares), run)
    assert note.startswith("the ladder's mixture (web, books) is not the run's (web)")
    reweighted = tmp_path / "anneal.json"
    Draws({"web": Draw(path="web/*", weight=2.0)}).write(reweighted)
    (note,) = notes(change(report, shares=shares), {**run, mixture.MIXTURE: str(reweighted)})
    assert "is not the run's" in note
    (note,) = notes(report, {**run, mixture.MIXTURE: "nowhere.json"})
    assert note.startswith("the run's mixture nowhere.json is not here")
    (note,) = notes(change(report, mixture=None), run)
    assert "names no mixture" in note


def test_a_run_from_trained_weights_is_not_what_the_ladder_foretells(run) -> None:
    (note,) = notes(of_run(run), {**run, "load_parameters_path": "start/0/items"})
    assert note.startswith("the run starts from trained weights")


def test_the_command_prints_and_writes_the_forecast(tmp_path, capsys) -> None:
    records.ladder().write(tmp_path / "report.json")
    options = ["--ladder", str(tmp_path / "report.json"), "attention=flash"]
    main([GPU, "--topology", "h100", "--json", str(tmp_path / "out.json"), *options])
    out = capsys.readouterr().out
    assert out.index("estimated price") < out.index("estimated held-out loss")
    assert "no estimate: the accuracy of every run is zero" in out
    assert "the ladder is too small to believe these estimates: the run lies " in out
    quality = json.loads((tmp_path / "out.json").read_text())["quality"]
    assert quality["tasks"]["gsm8k"]["accuracy"] is None
    main([GPU, *options])
    compared = capsys.readouterr().out
    loss = next(line for line in out.splitlines() if "estimated held-out loss" in line)
    assert loss.split() == next(
        line.split() for line in compared.splitlines() if "estimated held-out loss" in line
    )
    with pytest.raises(InputError, match="a sweep ranks settings"):
        main([GPU, "--topology", "v4-32", "--sweep", *options])


def test_a_file_that_is_no_report_is_one_line(tmp_path) -> None:
    with pytest.raises(InputError, match=r"nothing\.json: no such file; it is written by pretrain"):
        main([GPU, "--ladder", str(tmp_path / "nothing.json")])
