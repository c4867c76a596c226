"""A build loses no document, is reproducible to the byte, and weights tokens, not documents."""

import json
import subprocess
import sys

import pytest
from array_record.python.array_record_data_source import ArrayRecordDataSource

from data_prep.build import build, main
from data_prep.recipe import Recipe
from data_prep.stages.records import decode
from tinymathreason.chatml import EOS, SPECIAL_TOKENS
from tinymathreason.cli import InputError
from tinymathreason.config import load

RECIPE = """
output_dir: {output}
tokenizer: {{train: {{vocab_size: 320, sample_bytes: 100_000}}}}
eval_fraction: 0.05
near_duplicates: false
on_bad_input: skip
executor: {{workers: 1}}
sources:
  problems: {{format: generator, path: word_problems, documents: 1_500, weight: 3}}
  files: {{format: jsonl, path: {files}, weight: 1}}
"""
DUPLICATES, EMPTY = 7, 5


@pytest.fixture
def recipe(tmp_path):
    rows = [f"Number {i} is a document of its own." for i in range(200)]
    rows += rows[:DUPLICATES] + [" \n"] * EMPTY + ["half \ud800"]
    files = tmp_path / "files.jsonl"
    files.write_text("".join(json.dumps({"text": row}) + "\n" for row in rows))
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE.format(output=tmp_path / "mixture", files=files))
    return path


def contents(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in ("manifest.json", "mixture.json", "report.md")
    }


def test_build(recipe, tmp_path) -> None:
    manifest = build(load(Recipe, recipe)).as_json()
    out = tmp_path / "mixture"
    for name, entry in manifest["sources"].items():
        documents = entry["documents"]
        assert documents["read"] == documents["kept"] + sum(documents["rejected"].values())
        records = [
            decode(record)
            for shard in entry["shards"]
            for record in ArrayRecordDataSource(str(out / shard["path"]))
        ]
        assert len(records) == documents["kept"] == sum(s["records"] for s in entry["shards"])
        assert sum(len(ids) for ids in records) == entry["tokens"]
        eos = SPECIAL_TOKENS.index(EOS)
        for ids in records:
            assert ids[-1] == eos
            assert (ids[:-1] != eos).all()
        assert {shard["path"].split("-")[0] for shard in entry["shards"]} == {
            f"{name}/train",
            f"{name}/eval",
        }
    rejected = manifest["sources"]["files"]["documents"]["rejected"]
    assert rejected == {"exact_duplicate": DUPLICATES, "empty": EMPTY, "invalid_unicode": 1}

    # Grain draws records by weight: weight times mean record length must be the token share.
    mixture = json.loads((out / "mixture.json").read_text())
    tokens = {}
    for name, draw in mixture.items():
        shards = [s for s in manifest["sources"][name]["shards"] if "train" in s["path"]]
        mean = sum(s["tokens"] for s in shards) / sum(s["records"] for s in shards)
        tokens[name] = draw["weight"] * mean
    assert tokens["problems"] / sum(tokens.values()) == pytest.approx(0.75)


def test_a_build_is_reproducible_and_a_finished_one_is_only_checked(
    recipe, tmp_path, capfd
) -> None:
    main([str(recipe)])
    first = contents(tmp_path / "mixture")
    main([str(recipe)])
    assert "was already complete" in capfd.readouterr().out
    main([str(recipe), f"output_dir={tmp_path / 'again'}"])
    assert contents(tmp_path / "again") == first


def test_another_recipe_for_the_same_folder_is_refused(recipe) -> None:
    main([str(recipe)])
    with pytest.raises(InputError, match="built by another recipe"):
        main([str(recipe), "seed=1"])


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["sources.problems.wieght=1"], "did you mean 'weight'"),
        (["sources.problems.weight=-1"], "weight must be above 0"),
        (["sources.problems.path=word_problem"], "did you mean 'word_problems'"),
        (["sources.problems.documents=null"], "documents must be set for a generator"),
        (
            ["sources.problems.format=csv"],
            "'parquet', 'jsonl', 'hf', 'tfds', 'text' or 'generator'",
        ),
        (["sources.problems.filters=[lenght]"], "did you mean 'length'"),
        (["sources.problems.filters=[{length: {most: 1, last: 2}}]"], "did you mean 'least'"),
        (["executor.kind=slurm"], "slurm needs a partition"),
        (["executor.wokers=3"], "did you mean 'workers'"),
        (["decontaminate=[{path: x, fields: []}]"], "at least one column"),
        (["on_bad_input=ignore"], "'fail' or 'skip'"),
        (["sources.tokenizer={format: jsonl, path: x, weight: 1}"], "cannot be named 'tokenizer'"),
        (["tokenizer.train.vocab_size=5"], "at least 272"),
        (["tokenizer.path=x"], "either train or path"),
        (["eval_fraction=2"], "between 0 and 1"),
        (["seed=-1"], "seed must be between"),
        (["seed=["], "not valid YAML"),
        (["sources.files.path=/nowhere/*"], "no file matches"),
        (["tokenizer.train.vocab_size=30_000"], "yield only"),
        (["tokenizer={path: /nowhere, train: null}"], "no tokenizer.json"),
        (["eval_fraction=0.000001"], "no document is left for its eval split"),
        (["sources.files.text_field=txt"], "none of its first documents has text in 'txt'"),
        (["sources.problems.filters=[{length: {least: many}}]"], "least must be a number"),
    ],
)
def test_bad_recipe_is_one_line_and_leaves_nothing(recipe, tmp_path, overrides, words) -> None:
    with pytest.raises(InputError) as error:
        main([str(recipe), *overrides])
    assert words in str(error.value)
    assert not (tmp_path / "mixture").exists()


def test_a_changed_tokenizer_or_weight_repeats_only_the_later_stages(recipe, tmp_path) -> None:
    with pytest.raises(InputError, match="yield only"):
        main([str(recipe), "tokenizer.train.vocab_size=30_000"])
    finished = tmp_path / "mixture.work" / "logs" / "documents" / "completions"
    times = {path: path.stat().st_mtime_ns for path in finished.iterdir()}
    with pytest.raises(InputError, match="no document is left"):
        main([str(recipe), "eval_fraction=0.000001"])
    assert {path: path.stat().st_mtime_ns for path in finished.iterdir()} == times
    main([str(recipe), "sources.problems.weight=2"])
    main([str(recipe), f"output_dir={tmp_path / 'again'}", "sources.problems.weight=2"])
    assert contents(tmp_path / "mixture") == contents(tmp_path / "again")


def test_a_plan_does_not_change_an_unfinished_build(recipe, tmp_path) -> None:
    with pytest.raises(InputError, match="no document is left"):
        main([str(recipe), "eval_fraction=0.000001"])
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "mixture.work").rglob("*")}
    main([str(recipe), "--plan"])
    found = {path: path.stat().st_mtime_ns for path in (tmp_path / "mixture.work").rglob("*")}
    assert found == before


def test_any_number_of_ranges_gives_the_same_bytes(recipe, tmp_path, monkeypatch) -> None:
    near = "near_duplicates=true"
    main([str(recipe), near])
    monkeypatch.setattr("data_prep.work.KEYS_PER_RANGE", 3000)
    with pytest.raises(InputError, match="no document is left"):
        main([str(recipe), near, f"output_dir={tmp_path / 'again'}", "eval_fraction=0.000001"])
    assert len(list((tmp_path / "again.work" / "pairs").iterdir())) > 10
    main([str(recipe), near, f"output_dir={tmp_path / 'again'}"])
    assert contents(tmp_path / "again") == contents(tmp_path / "mixture")


def test_copies_are_caught_even_if_the_first_have_a_repeated_id(recipe, tmp_path) -> None:
    # Crawls have placeholder ids: two documents with the same id need not have the same text.
    rows = [{"id": "unknown", "text": "Another text stands first under this id."}]
    rows += [{"id": "unknown", "text": "A text that comes back."}] * 5
    rows += [{"id": f"own {k}", "text": "A text that comes back."} for k in range(3)]
    rows += [{"id": f"filler {k}", "text": f"Filler {k} of {k * k}."} for k in range(60)]
    path = tmp_path / "ids.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    manifest = build(
        load(Recipe, recipe, [f"sources.files.path={path}", "sources.files.id_field=id"])
    ).as_json()
    rejected = manifest["sources"]["files"]["documents"]["rejected"]
    assert sum(rejected.values()) == 7
    assert set(rejected) == {"duplicate_id", "exact_duplicate"}


def test_other_sources_over_an_unfinished_build_are_refused(recipe) -> None:
    with pytest.raises(InputError, match="yield only"):
        main([str(recipe), "tokenizer.train.vocab_size=30_000"])
    with pytest.raises(InputError, match="unfinished build of another recipe"):
        main([str(recipe), "sources.problems.documents=1000"])


def test_the_default_recipe_is_that_of_the_1b_model(tmp_path) -> None:
    with pytest.raises(InputError, match=r"sources\.open-web-math\.path: no file matches"):
        main([f"output_dir={tmp_path}/a/b", "sources.open-web-math.path=/nowhere/*"])


def test_importing_data_prep_loads_neither_torch_nor_jax() -> None:
    code = (
        "import sys, data_prep.build, data_prep.stages.records, data_prep.tokenizer;"
        "import data_prep.readers;"
        "assert not {'torch', 'jax', 'tensorflow'} & set(sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (found.returncode, found.stderr) == (0, "")
