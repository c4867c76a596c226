"""The table of artifacts is true: who writes each, who reads it, and what its columns are."""

import dataclasses
import hashlib
import itertools
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
import pydantic
import pytest
import safetensors.numpy
from array_record.python.array_record_data_source import ArrayRecordDataSource
from maxtext.input_pipeline.protos import example_pb2

from data_prep import report
from data_prep.executors import stages
from data_prep.recipe import BenchmarkQuestions, ClassifierTraining, ExampleTexts, Recipe
from data_prep.stages.artifacts import ARTIFACTS, Artifact
from data_prep.string_store import StringStore
from data_prep.work import STAGES, Work, begin, open_work
from tests.support.builds import documents, write_jsonl
from tests.support.planted import recipe
from tinymathreason.files import read_json, read_json_lines

PRIVATE = ("estimates.json", "plan.json", "started.json", "errors/", "hashes/", "progress/")
"""Other files of a working folder."""


def run(work: Work, stage: str) -> None:
    """Run all tasks of a stage in this process."""
    steps, tasks = stages(work)[stage]
    for rank in range(tasks):
        stream: Any = None
        for step in steps:
            stream = step.run(stream, rank, tasks)
        assert list(stream) == []


def files(folder: Path) -> dict[str, str]:
    """The hash of every file of a folder, by its path."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Recipe:
    """Two sources with every kind of rejected document."""
    folder = tmp_path_factory.mktemp("corpus")
    texts = documents(0, 40)
    rows = [{"id": str(k), "text": text} for k, text in enumerate(texts)]
    near = texts[3].replace(" ", " now ", 1)
    copies = [{"id": "exact", "text": texts[2]}, {"id": "near", "text": near}]
    copies += [{"id": "1", "text": "The id of another document."}, {"id": "empty", "text": " "}]
    copies += [{"id": "asked", "text": f"{texts[4]} What is the sum of all odd primes?"}]
    write_jsonl(folder / "prose.jsonl", documents(2, 30))
    write_jsonl(folder / "sums.jsonl", [f"{k} + {k} = {2 * k} " * 3 for k in range(30)])
    kinds = {"positives": "prose", "negatives": "sums"}
    prose = ClassifierTraining(
        **{k: [ExampleTexts(format="jsonl", path=f"{folder}/{v}.jsonl")] for k, v in kinds.items()}
    )
    (folder / "questions").mkdir()
    question = json.dumps({"question": "What is the sum of all odd primes?"})
    (folder / "questions" / "a.jsonl").write_text(question)
    more = [{"id": f"more {k}", "text": text} for k, text in enumerate(documents(1, 40))]
    sums = {"id": "sum", "text": "12 + 12 = 24 " * 3}
    made = recipe(
        folder,
        {"first": [rows, copies], "second": [[*copies[:2], *more, sums]]},
        classifiers={"prose": prose},
        on_bad_input="skip",
        eval_fraction=0.3,
        decontaminate=[BenchmarkQuestions(path=f"{folder}/questions/*", fields=["question"])],
    )
    made.sources["second"].filters.append({"classifier": {"name": "prose"}})
    return made


@pytest.fixture(scope="module")
def before(corpus, tmp_path_factory) -> dict[str, Path]:
    """A copy of the working folder before each stage."""
    folder = tmp_path_factory.mktemp("work")
    work = open_work(corpus, folder / "work")
    begin(work, {"first": 1.0, "second": 1.0}, 100)
    for stage in STAGES:
        shutil.copytree(work.folder, folder / stage)
        if stage != "publish":
            run(work, stage)
    return {stage: folder / stage for stage in STAGES}


def test_every_file_is_written_by_the_stage_that_the_table_names(before) -> None:
    for stage, after in itertools.pairwise(STAGES):
        written = files(before[after]).keys() - files(before[stage]).keys()
        expected = set()
        for artifact in ARTIFACTS:
            if artifact.writer == stage:
                paths = artifact.files(before[after])
                assert paths, artifact.name
                expected |= {path.relative_to(before[after]).as_posix() for path in paths}
        assert {name for name in written if not name.startswith(PRIVATE)} == expected


@pytest.mark.parametrize("artifact", ARTIFACTS, ids=lambda artifact: artifact.name)
def test_every_file_has_the_columns_of_the_table(before, artifact: Artifact) -> None:
    contents = [check_columns(path, artifact.columns) for path in artifact.files(before["publish"])]
    assert any(contents), "nothing was checked"


def check_columns(path: Path, columns: Any) -> int:
    """Check the columns of a file; returns the number of its rows."""
    if path.suffix == ".parquet":
        assert pyarrow.parquet.read_schema(path).equals(columns)
        return pyarrow.parquet.read_metadata(path).num_rows
    if path.suffix == ".npy":
        array = np.load(path)
        assert array.dtype == columns
        return len(array)
    if path.suffix == ".safetensors":
        tensors = safetensors.numpy.load_file(path)
        assert {name: tensor.dtype for name, tensor in tensors.items()} == dict(columns)
        return len(tensors)
    if path.suffix == ".bin":
        ends = np.load(path.with_suffix(".npy"))
        strings = [StringStore(path)[k] for k in range(len(ends))]
        assert all(isinstance(string, columns) for string in strings)
        assert "".join(strings).encode() == path.read_bytes()
        return len(strings)
    if path.suffix == ".array_record":
        records = ArrayRecordDataSource(str(path))
        for k in range(len(records)):
            features = example_pb2.Example.FromString(records[k]).features.feature
            assert set(features) == set(columns.names)
            assert all(value.WhichOneof("kind") == "int64_list" for value in features.values())
        return len(records)
    values = list(read_json_lines(path)) if path.suffix == ".jsonl" else [read_json(path)]
    for value in values:
        # Validation drops fields that the type does not have.
        assert pydantic.TypeAdapter(columns).validate_python(value, strict=True) == value
    return len(values)


def result(recipe: Recipe, folder: Path, stage: str) -> object:
    """The result of a stage in a working folder: its files, or its error."""
    earlier = files(folder)
    published = recipe.output_dir
    if recipe.on_bad_input == "fail":
        # The working folder was begun with the other recipe.
        work = open_work(dataclasses.replace(recipe, on_bad_input="skip"), folder)
        work.recipe = recipe
    else:
        work = open_work(recipe, folder)
    try:
        run(work, stage)
    except Exception as error:
        return str(error).replace(str(folder), "work")
    found = {name: digest for name, digest in files(folder).items() if name not in earlier}
    found = {name: digest for name, digest in found.items() if not name.startswith(PRIVATE)}
    if stage == "publish":
        found |= files(published)
        del found["manifest.json"]  # it contains the time
        shutil.rmtree(published)
    return found


@pytest.mark.parametrize("stage", STAGES[1:])
def test_a_stage_depends_on_what_it_reads_and_on_nothing_else(
    corpus, before, tmp_path, monkeypatch, stage: str
) -> None:
    """Removing an artifact changes the result of a stage if and only if the stage reads it."""
    monkeypatch.setattr(report, "write", lambda *_: None)
    recipes = [corpus]
    if stage == "decisions":
        # Then a repeated id is an error, which names the places of both documents.
        recipes.append(dataclasses.replace(corpus, on_bad_input="fail"))
    earlier = [a for a in ARTIFACTS if STAGES.index(a.writer) < STAGES.index(stage)]
    results = {}
    for number, artifact in enumerate([None, *earlier]):
        results[artifact] = []
        for each in recipes:
            folder = tmp_path / f"{number}-{each.on_bad_input}"
            shutil.copytree(before[stage], folder)
            for path in artifact.files(folder) if artifact else ():
                path.unlink()
            results[artifact].append(result(each, folder, stage))
    if stage == "decisions":
        assert "has the same id as" in str(results[None][1])
    else:
        assert isinstance(results[None][0], dict), results[None]
    readers = {artifact for artifact in earlier if results[artifact] != results[None]}
    assert readers == {artifact for artifact in earlier if stage in artifact.readers}
