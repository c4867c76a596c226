"""The benchmarks of fine-tuning measure rows that the real sets could have."""

import json
from pathlib import Path

import pytest

from benchmarks import sft, sft_prepare, sft_sides
from sft import attention
from sft.config import TuningData
from sft.examples import read
from tests.support import varlen
from tinymathreason.cli import InputError
from tinymathreason.config import build
from tinymathreason.files import read_json, write_json


def test_made_sets_are_read_whole_and_repeat_questions(tmp_path, capsys) -> None:
    sft_prepare.write_sets("1181", str(tmp_path / "sets"))
    size = int(capsys.readouterr().out)
    config = read_json(tmp_path / "sets" / "sft.yaml")
    examples = list(read(build(TuningData, {"sources": config["sources"]}, "made")))
    by_source = {name: [e for e in examples if e.source == name] for name in sft_prepare.SETS}
    assert {name: len(result) for name, result in by_source.items()} == {
        "MetaMathQA": 790, "MathInstruct": 376, "gsm8k": 15,
    }  # fmt: skip
    assert not any(example.reason for example in examples)
    texts = sum(len(e.question) + len(e.solution.rpartition("\n")[0]) for e in examples)
    assert texts == size
    assert 450 < size / 1181 < 650
    first = {example.question for example in by_source["MetaMathQA"]}
    repeated = sum(example.question in first for example in by_source["MathInstruct"])
    assert 376 / 20 < repeated < 376 / 5


@pytest.mark.parametrize("data", [None, Path("data")])
def test_both_sides_read_the_same_sets(data) -> None:
    result = sft.sources(data, 900)
    build(TuningData, {"sources": result}, "made")
    assert sum(source["examples"] for source in result.values()) == 900


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_both_train_on_the_same_and_a_text_may_yield_fewer_entries(
    tmp_path, capfd, monkeypatch
) -> None:
    varlen.install()
    monkeypatch.setattr(attention, "choose", lambda *_: attention.Choice(attention.VARLEN))
    config = sft.configuration(tmp_path, sft.sources(None, 150), 3, "cpu")
    config |= {"max_length": 256, "per_device_train_batch_size": 2, "logging_steps": 1}
    config |= {"compile_layers": False}
    write_json(tmp_path / "ours.yaml", config)
    sft_sides.make_inputs(str(tmp_path), "maxtext_configs/quickstart.yml", "2000")
    assert read_json(tmp_path / "model" / "config.json")["vocab_size"] == 2_000
    assert len(read_json(tmp_path / "model" / "tokenizer.json")["model"]["vocab"]) < 1_000

    capfd.readouterr()
    sft_sides.ours(str(tmp_path), "100")
    ours = json.loads(capfd.readouterr().out.splitlines()[-1])
    sft_sides.write_steps(str(tmp_path))
    capfd.readouterr()
    sft_sides.peer(str(tmp_path), "cpu", str(sft.LEARNING_RATE), "100")
    theirs = json.loads(capfd.readouterr().out.splitlines()[-1])
    assert (ours["attention"], ours["rows_of_a_micro_batch"]) == ("varlen", 2)
    assert theirs["attention"] == "sdpa"
    assert ours["steps"] == theirs["steps"] == 3
    assert ours["tokens"] == theirs["tokens"] > 1_000
    assert ours["steady_tokens"] == theirs["steady_tokens"] > 600
    assert not ours["stopped"]
    assert ours["held_out_loss"] == pytest.approx(theirs["held_out_loss"], rel=1e-5)


def test_a_comparison_needs_the_same_steps() -> None:
    ours = {"useful_tokens_per_second": 8.0, "steps": 3, "tokens": 90, "held_out_loss": 2.0}
    theirs = {"useful_tokens_per_second": 2.0, "steps": 3, "tokens": 90, "held_out_loss": 4.0}
    assert sft.compare(ours, theirs) == {"times_trl": 4.0, "same_tokens": True, "loss_ratio": 0.5}
    cut = sft.compare(ours, {**theirs, "steps": 2, "tokens": 60})
    assert cut == {"times_trl": 4.0, "same_tokens": False, "loss_ratio": None}


def test_a_side_that_fails_is_a_line_of_its_own() -> None:
    assert sft.train("no_such_side", 1.0).keys() == {"error"}
    with pytest.raises(InputError, match="cannot import name 'no_such_side'"):
        sft.run("no_such_side", 60.0)
