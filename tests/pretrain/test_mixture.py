"""An incomplete mixture is refused before MaxText is imported, and unusual paths are escaped."""

import hashlib
import os
import shutil
from pathlib import Path

import pytest

from pretrain import mixture, overlay
from pretrain.train import main
from tests.support import records
from tinymathreason.cli import InputError
from tinymathreason.files import write_json

OVERLAY = "maxtext_configs/quickstart.yml"


def make(folder: Path) -> list[str]:
    """Write a mixture of one source to ``folder``; the arguments of a training on it."""
    (folder / "facts").mkdir(parents=True)
    shards = []
    for split in ("train", "eval"):
        for k in range(2):
            path = f"facts/{split}-{k:05}-of-00002.array_record"
            (folder / path).write_text(f"{split} {k}")
            digest = hashlib.sha256((folder / path).read_bytes()).hexdigest()
            size = (folder / path).stat().st_size
            shards.append(records.shard(path=path, bytes=size, sha256=digest))
    sources = {"facts": records.source(shards=shards)}
    records.mixture(sources=sources).write(folder / "manifest.json")
    write_json(folder / "mixture.json", {"facts": {"path": f"{folder}/facts/train-*", "weight": 1}})
    vocabulary = {str(i): i for i in range(448)}
    write_json(folder / "tokenizer.json", {"model": {"vocab": vocabulary}, "added_tokens": []})
    return [
        OVERLAY,
        mixture.argument(mixture.MIXTURE, f"{folder}/mixture.json"),
        mixture.argument("grain_eval_files", f"{folder}/*/eval-*.array_record"),
        mixture.argument("base_output_directory", f"{folder}/runs"),
        mixture.argument("tokenizer_path", str(folder)),
        "run_name=run",
    ]


DAMAGE = {
    "missing": (Path.unlink, "is missing"),
    "cut": (lambda path: os.truncate(path, 3), "has 3 bytes, not "),
    "flipped": (lambda path: path.write_text(path.read_text().swapcase()), "another SHA-256"),
    "more": (
        lambda path: shutil.copy(path, path.with_suffix(".2.array_record")),
        "is not in its man",
    ),
}


@pytest.mark.parametrize("split", ["train", "eval"])
@pytest.mark.parametrize("name", DAMAGE)
def test_a_mixture_that_is_not_whole_is_refused(tmp_path, split, name) -> None:
    words = make(tmp_path / "mixture")
    mixture.check(overlay.load(words[0], words[1:]))
    damage, message = DAMAGE[name]
    damage(tmp_path / "mixture" / "facts" / f"{split}-00001-of-00002.array_record")
    with pytest.raises(InputError) as error:
        main(words)
    assert f"{tmp_path}/mixture is not complete: " in str(error.value)
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    if split == "eval":
        # Held-out records that are never read do not prevent a training.
        mixture.check(overlay.load(words[0], [*words[1:], "eval_interval=-1"]))


def test_a_mixture_that_was_moved_is_refused(tmp_path) -> None:
    words = make(tmp_path / "mixture")
    (tmp_path / "mixture").rename(tmp_path / "moved")
    words += [f"{mixture.MIXTURE}={tmp_path}/moved/mixture.json"]
    words += [f"tokenizer_path={tmp_path}/moved"]
    with pytest.raises(InputError, match=f"{mixture.MIXTURE}: facts: no file matches"):
        main(words)
    write_json(tmp_path / "moved" / "mixture.json", ["facts"])
    with pytest.raises(InputError, match=r"mixture\.json: not a mixture"):
        main(words)


def test_ordinary_folders_need_no_arguments_and_a_semicolon_is_refused(tmp_path) -> None:
    words = make(tmp_path / "mixture")
    assert mixture.arguments(overlay.load(words[0], words[1:]), tmp_path) == []
    words = make(tmp_path / "d[1]")
    arguments = mixture.arguments(overlay.load(words[0], words[1:]), tmp_path)
    assert [word.split("=")[0] for word in arguments] == [mixture.MIXTURE, "grain_eval_files"]
    words = make(tmp_path / "a;b[1]")
    config = overlay.load(words[0], words[1:])
    mixture.check(config)
    with pytest.raises(InputError, match="grain_eval_files: MaxText treats the ';' in"):
        mixture.arguments(config, tmp_path)


@pytest.mark.parametrize("value", ["~", "a: b", "a #b", "{a}", "[1]", "${x}", '"', "\\", "\u00e9"])
def test_an_argument_is_the_text_itself(value) -> None:
    assert overlay.load(OVERLAY, [mixture.argument("run_name", value)])["run_name"] == value
