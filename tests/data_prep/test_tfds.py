"""TensorFlow Datasets folders are read, and our folders open with TFDS, without TensorFlow."""

import json
import subprocess
import sys

import numpy as np
import pytest
import tensorflow_datasets as tfds

from data_prep import readers
from data_prep.build import build
from data_prep.recipe import Recipe
from data_prep.stages.records import encode, writer
from data_prep.tfds_folder import Texts, describe
from data_prep.work import plan_tasks
from tests.support.builds import documents, write_recipe
from tinymathreason.cli import InputError
from tinymathreason.config import load

TRAIN = [*documents(0, 240), "caf\u00e9", ""]
TEST = documents(1, 12)


class Prepared(tfds.core.GeneratorBasedBuilder):
    """A dataset as its users prepare it."""

    code_path = None  # there, it would look for checksums of downloads
    VERSION = tfds.core.Version("1.0.0")

    def _info(self) -> tfds.core.DatasetInfo:
        features = {"title": tfds.features.Text(), "body": tfds.features.Text(), "year": np.int64}
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples(TRAIN), "test": self._generate_examples(TEST)}

    def _generate_examples(self, texts):
        for i, text in enumerate(texts):
            yield i, {"title": f"title {i}", "body": text, "year": 1900 + i}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> str:
    builder = Prepared(data_dir=tmp_path_factory.mktemp("tfds"), file_format="array_record")
    builder.download_and_prepare()
    return str(builder.data_dir)


def test_a_prepared_dataset_is_read_whole(folder, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(readers, "DOCUMENTS_PER_TASK", 100)
    values = {"format": "tfds", "path": folder, "weight": 1, "text_field": "body"}
    sources = {"all": {**values, "id_field": "title"}, "test": {**values, "split": "test"}}
    recipe = load(Recipe, write_recipe(tmp_path, sources))
    tasks = plan_tasks(recipe)
    assert [task.source for task in tasks] == ["all"] * 3 + ["test"]
    rows = [
        row
        for task in tasks[:3]
        for row in readers.read(recipe.sources["all"], 0, task.files, task.part, task.parts)
    ]
    assert [row.number for row in rows] == list(range(len(TRAIN)))
    # TFDS shuffles when it prepares; the title tells which text it is.
    assert {row.values[1]: row.values[0] for row in rows} == {
        f"title {i}": text for i, text in enumerate(TRAIN)
    }
    found = [row.values for row in readers.read(recipe.sources["test"], 0, [])]
    assert sorted(found) == sorted((text,) for text in TEST)


def test_a_dataset_becomes_a_mixture_that_tfds_opens(folder, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    source = {"format": "tfds", "path": folder, "weight": 1, "text_field": "body"}
    recipe = write_recipe(
        tmp_path, {"Ours-1.0": source}, on_bad_input="skip", executor={"workers": 1}
    )
    manifest = build(load(Recipe, recipe)).sources["Ours-1.0"]
    assert manifest.documents.rejected == {"empty": 1}
    builder = tfds.builder_from_directory("mixture/Ours-1.0")
    assert builder.info.name == "ours_1_0"
    for split in ("train", "eval"):
        shards = [shard for shard in manifest.shards if f"/{split}-" in shard.path]
        data = builder.as_data_source(split=split)
        assert len(data) == builder.info.splits[split].num_examples > 0
        assert len(data) == sum(shard.records for shard in shards)
        tokens = [len(item["text"]) for item in data]
        assert sum(tokens) == sum(shard.tokens for shard in shards)


def test_the_items_of_several_files_are_in_order(tmp_path) -> None:
    items = [[7 * i, i + 1] for i in range(11)]
    for shard, part in enumerate((items[:4], items[4:5], items[5:])):
        to = writer(tmp_path / f"train-{shard:05}-of-00003.array_record")
        for ids in part:
            to.write(encode(ids))
        to.close()
    describe(tmp_path, "ours")
    data = tfds.builder_from_directory(tmp_path).as_data_source(split="train")
    assert len(data) == len(items)
    for place in (0, 3, 4, 5, 10):
        assert data[place]["text"].tolist() == items[place]
    (tmp_path / "train-00001-of-00003.array_record").unlink()
    with pytest.raises(ValueError, match="'train' has missing or additional files"):
        describe(tmp_path, "ours")
    (tmp_path / "odd.array_record").touch()
    with pytest.raises(ValueError, match=r"odd\.array_record: expected the name <split>"):
        describe(tmp_path, "ours")


def test_a_folder_that_is_not_a_dataset_of_text_is_refused(folder, tmp_path) -> None:
    with pytest.raises(InputError, match="not a TFDS dataset"):
        Texts(tmp_path, "train", ["body"])
    with pytest.raises(InputError, match="'boddy' is not a text feature; did you mean 'body'"):
        Texts(folder, "train", ["boddy"])
    with pytest.raises(InputError, match="'year' is not a text feature"):
        Texts(folder, "train", ["body", "year"])
    with pytest.raises(InputError, match="no split 'trian'; did you mean 'train'"):
        Texts(folder, "trian", ["body"])
    for name in ("dataset_info.json", "features.json"):
        text = (tfds.core.Path(folder) / name).read_text()
        (tmp_path / name).write_text(text.replace("array_record", "tfrecord"))
    with pytest.raises(InputError, match="expected array_record"):
        Texts(tmp_path, "train", ["body"])


def test_tensorflow_is_not_needed(folder) -> None:
    code = (
        "import json, sys\n"
        "from data_prep.tfds_folder import Texts\n"
        f"texts = Texts({folder!r}, 'test', ['body'])\n"
        "print(json.dumps([texts[i]['body'].decode() for i in range(len(texts))]))\n"
        "assert not {'tensorflow', 'torch', 'jax'} & set(sys.modules)"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert sorted(json.loads(ended.stdout)) == sorted(TEST)
