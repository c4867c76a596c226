"""Changed inputs, a damaged mixture and a damaged working folder are refused."""

import json
import os
import shutil
from pathlib import Path

import pytest

from data_prep import inputs, mixture, tokenizer
from data_prep.build import main
from tests.support.builds import documents, write_jsonl, write_recipe
from tinymathreason.cli import InputError
from tinymathreason.files import read_json


@pytest.fixture
def recipe(tmp_path, monkeypatch) -> str:
    """A recipe with one file, and with a benchmark and a tokenizer, which are inputs too."""
    monkeypatch.chdir(tmp_path)
    write_jsonl(tmp_path / "a.jsonl", documents(0, 60))
    (tmp_path / "questions.jsonl").write_text('{"q": "Who was it that nobody knew of, ever?"}\n')
    sources = {"web": {"format": "jsonl", "path": f"{tmp_path}/a*.jsonl", "weight": 1}}
    values = {
        "decontaminate": [{"path": f"{tmp_path}/questions.jsonl", "fields": ["q"]}],
        "executor": {"workers": 1},
        "near_duplicates": False,
    }
    tokenizer.save(tokenizer.train(documents(9, 200), 320), tmp_path / "words")
    return str(write_recipe(tmp_path, sources, tokenizer={"path": "words"}, **values))


CHANGES = {
    "a shard more": (lambda: write_jsonl(Path("a-2.jsonl"), documents(1, 5)), "a-2.jsonl is new"),
    "another content": (lambda: write_jsonl(Path("a.jsonl"), documents(2, 60)), "a.jsonl had "),
    "written again": (lambda: os.utime("a.jsonl", (1, 1)), "a.jsonl was modified"),
    "a question": (
        lambda: Path("questions.jsonl").write_text('{"q": "Who knew that?"}\n'),
        "questions.jsonl had 47 bytes and has ",
    ),
    "a tokenizer": (
        lambda: os.utime("words/tokenizer.json", (1, 1)),
        "tokenizer.json was mod",
    ),
    "gone": (lambda: Path("a.jsonl").unlink(), "no file matches"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_finished_build_reports_changed_inputs(recipe, name, capsys) -> None:
    main([recipe])
    main([recipe])
    assert "mixture was already complete" in capsys.readouterr().out
    change, words = CHANGES[name]
    change()
    with pytest.raises(InputError) as error:
        main([recipe])
    assert words in str(error.value)
    assert str(error.value).endswith("to build again, remove it or set another output_dir")
    assert Path("mixture/manifest.json").is_file()


def test_an_unfinished_build_reports_changed_inputs(recipe) -> None:
    with pytest.raises(InputError, match="no document is left"):
        main([recipe, "eval_fraction=0.000001"])
    os.utime("a.jsonl", (1, 1))
    words = r"mixture\.work: its inputs have changed: .*a\.jsonl was modified; remove it"
    with pytest.raises(InputError, match=words):
        main([recipe])
    shutil.rmtree("mixture.work")
    main([recipe])


def test_inputs_that_change_during_the_build_are_an_error(recipe, monkeypatch) -> None:
    from data_prep.stages import records

    encode = records.encode

    def changing(ids):
        os.utime("a.jsonl", (1, 1))
        return encode(ids)

    monkeypatch.setattr(records, "encode", changing)
    with pytest.raises(InputError, match=r"the inputs have changed: .*a\.jsonl was modified"):
        main([recipe])
    assert not Path("mixture").exists()


def test_an_unknown_version_is_no_change() -> None:
    before = {"hf://a": [5, "one"], "b": [5, 1]}
    assert inputs.changes(before, {"hf://a": [5, None], "b": [5, 1]}) == ""
    assert inputs.changes(before, {"hf://a": [5, "two"], "b": [5, 1]}) == "hf://a was modified"
    many = {f"{k}": [0, 0] for k in range(9)}
    assert inputs.changes(before, {**before, **many}) == "0 is new; 1 is new; 2 is new and 6 more"


def flip(path: Path, place: float = 0.5) -> None:
    """Change one bit of a file, but not its size or time."""
    times = path.stat()
    content = bytearray(path.read_bytes())
    content[int(place * (len(content) - 1))] ^= 4
    path.write_bytes(content)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


DAMAGE = {
    "missing": (Path.unlink, "is missing"),
    "cut": (lambda path: os.truncate(path, path.stat().st_size - 1), "bytes, not "),
    "flipped": (flip, "has another SHA-256 than when it was written"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_build_reports_a_damaged_mixture(recipe, name) -> None:
    main([recipe])
    damage, words = DAMAGE[name]
    names = ["web/train-00000-of-00001.array_record", "tokenizer/tokenizer.json", "mixture.json"]
    for path in (Path("mixture") / name for name in names):
        whole = path.read_bytes()
        damage(path)
        with pytest.raises(InputError) as error:
            main([recipe])
        assert words in str(error.value)
        assert str(path) in str(error.value)
        assert str(error.value).endswith("remove it and build again")
        path.write_bytes(whole)
    main([recipe])


def test_files_to_read_are_compared_with_the_manifest(recipe, monkeypatch) -> None:
    main([recipe])
    here = Path.cwd()
    patterns = [f"{here}/mixture/web/train-*", f"{here}/mixture/*/eval-*.array_record"]
    for pattern, split in zip(patterns, ("train", "eval"), strict=True):
        mixture.check_read(pattern)
        path = Path("mixture", "web", f"{split}-00000-of-00001.array_record")
        for damage, words in DAMAGE.values():
            whole = path.read_bytes()
            damage(path)
            with pytest.raises(InputError, match=words):
                mixture.check_read(pattern)
            path.write_bytes(whole)
        more = path.with_name(f"{split}-00001-of-00002.array_record")
        more.write_bytes(whole)
        with pytest.raises(
            InputError, match=r"00001-of-00002\.array_record is not in its manifest"
        ):
            mixture.check_read(pattern)
        more.unlink()
        # Of a large mixture only names and sizes.
        monkeypatch.setattr(mixture, "CHEAP", 10)
        flip(path)
        mixture.check_read(pattern)
        monkeypatch.undo()
        monkeypatch.chdir(here)
        with pytest.raises(InputError, match="SHA-256"):
            mixture.check_read(pattern)
        path.write_bytes(whole)
    # A manifest that is not wholly one.
    manifest = read_json("mixture/manifest.json")
    del manifest["sources"]["web"]["shards"][0]["bytes"]
    Path("mixture/manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(InputError, match=r"sources\.web\.shards\.0\.bytes is missing"):
        mixture.check_read(patterns[0])


def test_every_file_of_an_unfinished_build_is_checked(recipe) -> None:
    with pytest.raises(InputError, match="no document is left"):
        main([recipe, "eval_fraction=0.000001"])
    folder = Path("mixture.work")
    skipped = {"logs", "hashes", "progress", "errors"}
    files = [
        path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.parent != folder and path.parts[1] not in skipped
    ]
    kinds = {path.parts[1] for path in files}
    assert kinds >= {"documents", "fingerprints", "keys", "ids", "pairs", "decisions", "train"}
    for path in files:
        if not path.stat().st_size:
            continue
        whole = path.read_bytes()
        for damage, words in DAMAGE.values():
            damage(path)
            with pytest.raises(InputError) as error:
                main([recipe, "eval_fraction=0.000001"])
            assert words in str(error.value), path
            assert str(error.value).endswith(f"{folder} is damaged: remove it to start over")
            path.write_bytes(whole)
    whole = (folder / "plan.json").read_bytes()
    (folder / "plan.json").write_bytes(whole[:-9])
    with pytest.raises(InputError, match=r"mixture\.work is damaged: remove it to start over"):
        main([recipe])


def test_a_page_damaged_during_a_build_is_an_error(recipe, monkeypatch) -> None:
    from data_prep.stages import artifacts, train_tokenizer

    make = train_tokenizer.TrainTokenizer.run

    def damaging(step, *arguments, **values):
        flip(step.work.path(artifacts.DOCUMENTS), 0.3)
        return make(step, *arguments, **values)

    monkeypatch.setattr(train_tokenizer.TrainTokenizer, "run", damaging)
    with pytest.raises(InputError, match=r"mixture\.work is damaged: .*remove it to start over"):
        main([recipe])
