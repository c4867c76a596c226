"""The classifier learns words and their order, is stored safely, and decides a build's filter."""

import json
from pathlib import Path

import numpy as np
import pytest

from data_prep.build import build, main
from data_prep.classifier import Classifier, features, quality, train
from data_prep.recipe import Recipe
from tests.support.builds import WORDS, documents, write_jsonl, write_recipe
from tinymathreason.cli import InputError
from tinymathreason.config import load

PROSE = documents(5, 60)
SUMS = [
    f"Add {k} and {k + 3}: the equation {k} + {k + 3} = {2 * k + 3} is right." for k in range(60)
]


def test_it_tells_texts_by_their_words_and_is_reproducible() -> None:
    first, again = (train(SUMS[:40], PROSE[:40]) for _ in range(2))
    assert (first.weights == again.weights).all()
    assert first.bias == again.bias
    assert quality(first, SUMS[40:], PROSE[40:]) == {
        "precision": 1.0,
        "recall": 1.0,
        "false_alarms": 0.0,
    }
    assert quality(first, PROSE[40:], SUMS[40:]) == {
        "precision": None,
        "recall": 0.0,
        "false_alarms": 1.0,
    }
    assert quality(first, [], SUMS[40:])["precision"] is None


def test_it_tells_texts_by_the_order_of_their_words() -> None:
    one, other = WORDS[:30], WORDS[30:60]
    pairs = [[f"{a} {b}" for a, b in zip(one, other, strict=True)] for _ in range(2)]
    pairs[1] = [" ".join(reversed(pair.split())) for pair in pairs[0]]
    texts = [[". ".join(side[k : k + 5]) for k in range(25)] for side in pairs]
    found = quality(train(*texts), *texts)
    assert (found["recall"], found["false_alarms"]) == (1.0, 0.0)


def test_features_are_of_the_words_alone() -> None:
    numbers, values = features("Let x be a number; let x be 3.")
    assert np.linalg.norm(values) == pytest.approx(1)
    assert (np.diff(numbers) > 0).all()
    again, equal = features("let X be a NUMBER, let x be 3!")
    assert (again == numbers).all()
    assert (equal == values).all()
    assert len(features("")[0]) == 0
    assert 0 < train(SUMS, PROSE).probability("") < 1


def test_a_file_gives_the_same_classifier_and_a_damaged_one_is_one_line(tmp_path) -> None:
    made = train(SUMS, PROSE)
    path = tmp_path / "sums.safetensors"
    made.save(path)
    found = Classifier.load(path)
    assert [found.probability(t) for t in SUMS + PROSE] == [
        made.probability(t) for t in SUMS + PROSE
    ]
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(InputError, match="is no classifier"):
        Classifier.load(path)


@pytest.fixture
def recipe(tmp_path) -> Path:
    """A source of both kinds, which a classifier of sums filters."""
    write_jsonl(tmp_path / "mixed.jsonl", [*documents(6, 40), *SUMS[:40]])
    write_jsonl(tmp_path / "sums.jsonl", SUMS)
    write_jsonl(tmp_path / "prose.jsonl", PROSE)
    source = {"format": "jsonl", "path": f"{tmp_path}/mixed.jsonl", "weight": 1}
    examples = {
        kind: [{"format": "jsonl", "path": f"{tmp_path}/{name}.jsonl"}]
        for kind, name in (("positives", "sums"), ("negatives", "prose"))
    }
    return write_recipe(
        tmp_path,
        {"mixed": {**source, "filters": [{"classifier": {"name": "sums", "least": 0.6}}]}},
        classifiers={"sums": examples},
        near_duplicates=False,
        tokenizer={"train": {"vocab_size": 280, "sample_bytes": 50_000}},
        eval_fraction=0.2,
        output_dir=f"{tmp_path}/mixture",
        executor={"workers": 1},
    )


def test_a_build_trains_its_classifier_once_and_filters_by_it(recipe, tmp_path) -> None:
    main([str(recipe), "--plan"])
    assert not (tmp_path / "classifiers").exists()
    manifest = build(load(Recipe, recipe))
    documents = manifest.sources["mixed"].documents
    assert documents.rejected == {"not_sums": 40}
    record = manifest.classifiers["sums"]
    assert record.positives + record.held_out_positives == 60
    assert record.held_out_positives > 3
    assert (record.precision, record.recall, record.false_alarms) == (1.0, 1.0, 0.0)
    assert "| sums " in (tmp_path / "mixture" / "report.md").read_text()
    (kept,) = (tmp_path / "classifiers").iterdir()
    assert (tmp_path / "mixture/classifiers/sums.safetensors").read_bytes() == kept.read_bytes()
    # Another recipe with these examples takes the weights: here, some that accept everything.
    training = Classifier.load(kept).training
    Classifier(np.zeros(1 << 20, dtype=np.float32), 9.0, training).save(kept)
    second = build(load(Recipe, recipe, [f"output_dir={tmp_path}/second"]))
    assert second.sources["mixed"].documents.rejected == {}
    # Other examples are another classifier.
    write_jsonl(tmp_path / "prose.jsonl", PROSE[:50])
    build(load(Recipe, recipe, [f"output_dir={tmp_path}/third"]))
    assert len(list((tmp_path / "classifiers").iterdir())) == 2


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (
            ["sources.mixed.filters=[{classifier: {name: sum}}]"],
            "sources.mixed.filters: no classifier 'sum'; did you mean 'sums'",
        ),
        (["sources.mixed.filters=[classifier]"], "name must be one of the recipe's classifiers"),
        (
            ["sources.mixed.filters=[{classifier: {name: sums, least: 2}}]"],
            "least must be between 0 and 1",
        ),
        (
            ["sources.mixed.filters=[{classifier: {name: sums, most: 2}}]"],
            "unknown setting 'most'; accepted: least",
        ),
        (["classifiers.sums.negatives=[]"], "positives and negatives must each name"),
        (["classifiers.sums.positives.0.path=nowhere"], "valid list"),
        (["classifiers.Sums={positives: [], negatives: []}"], "must each name"),
    ],
)
def test_a_wrong_classifier_is_one_line(recipe, overrides: list[str], words: str) -> None:
    with pytest.raises(InputError) as error:
        load(Recipe, recipe, overrides)
    assert words in str(error.value)


def test_an_unreadable_example_names_its_file_and_row(recipe, tmp_path) -> None:
    (tmp_path / "prose.jsonl").write_text(json.dumps({"words": "x"}) + "\n")
    with pytest.raises(InputError, match=r"prose.jsonl.*row 0"):
        build(load(Recipe, recipe))
