"""The benchmarks of fine-tuning measure rows that the real sets could have."""

import json
from pathlib import Path

import pytest

from benchmarks import sft, sft_prepare
from sft.config import TuningData
from sft.examples import read
from tinymathreason.config import build
from tinymathreason.files import read_json


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


def test_our_side_is_a_configuration_of_ours(tmp_path) -> None:
    from sft.config import SftData
    from sft.settings import parse

    (tmp_path / "model").mkdir()
    model = sft.ours(tmp_path, sft.sources(None, 300), 512, 3, "cpu", "sdpa")
    settings = parse(tmp_path / "ours.yaml", [], SftData)
    assert settings.output / "model" == model
    assert settings.training.packing
    assert json.loads((tmp_path / "ours.yaml").read_text())["max_length"] == 512
