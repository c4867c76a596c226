"""Other weights for a built mixture."""

import json

import pytest

from data_prep.reweight import main, reweight
from tests.support import records
from tinymathreason.cli import InputError


@pytest.fixture
def folder(tmp_path):
    def shard(name, tokens, number):
        path = f"{name}/train-0.array_record"
        return records.shard(path=path, tokens=tokens, records=number)

    evaluation = records.shard(path="a/eval-0.array_record", tokens=9999, records=1)
    a = [shard("a", 1000, 100), shard("a", 3000, 100), evaluation]
    sources = {"a": records.source(shards=a), "b": records.source(shards=[shard("b", 500, 5)])}
    records.mixture(sources=sources).write(tmp_path / "manifest.json")
    return tmp_path


def test_shares_are_of_tokens_although_records_are_drawn(folder) -> None:
    mixture = reweight(folder, {"a": 0.25, "b": 0.75}).model_dump()
    assert mixture["a"]["path"] == f"{folder}/a/train-*"
    drawn = {"a": mixture["a"]["weight"] * 20, "b": mixture["b"]["weight"] * 100}
    assert drawn["a"] / sum(drawn.values()) == pytest.approx(0.25)


def test_the_command_writes_the_file(folder, capsys) -> None:
    output = folder / "anneal.json"
    main([str(folder), "b=1", "--output", str(output)])
    assert list(json.loads(output.read_text())) == ["b"]
    assert "b 100%" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("shares", "words"),
    [
        (["c=1"], "has no source 'c'"),
        (["a=0.5", "b=0.4"], "sum to 0.9"),
        (["a=-1", "b=2"], "a=-1.0: expected a share above 0"),
        (["a=nan"], "expected a share"),
        (["a"], "expected SOURCE=WEIGHT"),
        (["a=0.5", "a=1"], "a already has a weight"),
    ],
)
def test_wrong_shares_are_errors_and_nothing_is_written(folder, shares, words) -> None:
    output = folder / "anneal.json"
    with pytest.raises(InputError, match=words):
        main([str(folder), *shares, "--output", str(output)])
    assert not output.exists()


def test_a_folder_without_a_mixture(tmp_path) -> None:
    with pytest.raises(InputError, match=r"no manifest\.json; build a mixture there first"):
        reweight(tmp_path, {"a": 1.0})
