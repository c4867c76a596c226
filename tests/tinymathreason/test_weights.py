"""Weights are safetensors, and every file that a loader opens is part of our hashes."""

import json
import shutil
import sys

import pytest

from tinymathreason.cli import InputError
from tinymathreason.provenance import ASKING, asking_hash, model_hash
from tinymathreason.weights import FILE, INDEX, weight_files

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")


@pytest.fixture
def folder(model_dir, tmp_path):
    return shutil.copytree(model_dir, tmp_path / "model")


def shard(folder) -> list[str]:
    """Cut a folder's weights into shards; their names."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder)
    (folder / FILE).unlink()
    model.save_pretrained(folder, max_shard_size="40KB")
    names = sorted(path.name for path in folder.glob("*.safetensors"))
    assert len(names) > 1
    return names


def pickled(folder, name: str = "pytorch_model.bin") -> None:
    """Weights as torch pickles them, in place of ours."""
    import torch
    from safetensors.torch import load_file

    torch.save(load_file(folder / FILE), folder / name)
    (folder / FILE).unlink()


def test_the_files_are_those_that_transformers_reads(folder) -> None:
    assert weight_files(folder) == [folder / FILE]
    (folder / "pytorch_model.bin").write_bytes(b"a pickle that nobody reads")
    (folder / "consolidated.safetensors").write_bytes(b"and a file that nobody reads")
    whole = model_hash(folder)
    assert weight_files(folder) == [folder / FILE]
    (folder / "consolidated.safetensors").unlink()
    assert model_hash(folder) == whole
    names = shard(folder)
    assert weight_files(folder) == [folder / INDEX, *(folder / name for name in names)]
    # As some exporters write it: a single file and an index of it.
    shutil.copy(folder / names[0], folder / FILE)
    (folder / INDEX).write_text(json.dumps({"weight_map": {"a": FILE}}))
    assert weight_files(folder) == [folder / FILE]


def test_every_file_of_the_weights_is_in_the_hash(folder) -> None:
    hashes = [model_hash(folder)]
    for name in (INDEX, "config.json", *shard(folder)):
        hashes.append(model_hash(folder))
        before = (folder / name).read_bytes()
        space = name.endswith("json")
        (folder / name).write_bytes(
            before + b" " if space else before[:-1] + bytes([before[-1] ^ 1])
        )
    hashes.append(model_hash(folder))
    assert len(set(hashes)) == len(hashes)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (pickled, r"pytorch_model\.bin is a pickle, .* convert it \(python -c "),
        (lambda folder: pickled(folder, "adapter_model.bin"), r"adapter_model\.bin is a pickle"),
        (lambda folder: (folder / FILE).unlink(), "no model.safetensors there$"),
        (lambda folder: (folder / shard(folder)[0]).unlink(), "no model-0.* but .* names it"),
        (lambda folder: (folder / INDEX).write_text("[]"), "no weight_map in it"),
        (
            lambda folder: (folder / INDEX).write_text('{"weight_map": {"a": "../x.safetensors"}}'),
            "no weight_map in it that names files",
        ),
        (
            lambda folder: (folder / INDEX).write_text('{"weight_map": {"a": "w.bin"}}'),
            "no weight_map in it that names files",
        ),
        (
            lambda folder: shutil.copy(folder / shard(folder)[0], folder / FILE),
            "and an index of other files there; remove one of them",
        ),
        (lambda folder: (folder / "adapter_config.json").write_text("{}"), "holds an adapter"),
        (
            lambda folder: (folder / "config.json").write_text('{"transformers_weights": "a"}'),
            "without transformers_weights",
        ),
    ],
)  # fmt: skip
def test_no_room_takes_other_weights(folder, change, words) -> None:
    from evaluation import model
    from evaluation.generate import Generator
    from release.checks.weights import Tensors
    from sft.model import check_folder

    change(folder)
    rooms = (weight_files, model_hash, model.check_folder, Generator, check_folder, Tensors)
    for room in rooms:
        with pytest.raises(InputError, match=words) as error:
            room(folder)
        assert "\n" not in str(error.value)


def test_the_conversion_that_is_reported_works(folder, tmp_path, monkeypatch) -> None:
    import re
    import subprocess

    from safetensors.torch import load_file

    whole = load_file(folder / FILE)
    pickled(folder)
    with pytest.raises(InputError) as error:
        weight_files(folder)
    code = re.search(r'python -c "(.*)"\)', str(error.value))[1]
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, capture_output=True)
    result = load_file(tmp_path / "NEW" / FILE)
    assert all((result[name] == tensor).all() for name, tensor in whole.items())


def test_whatever_a_loader_opens_is_in_a_hash(folder) -> None:
    """By Python's own word; the libraries in Rust open tokenizer.json and the weights."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    (folder / "additional_chat_templates").mkdir()
    for name in ("special_tokens_map.json", "added_tokens.json", "generation_config.json"):
        (folder / name).write_text("{}")
    for name in ("chat_template.jinja", "additional_chat_templates/other.jinja"):
        (folder / name).write_text("{{ messages }}")
    opened: set[str] = set()
    names = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]

    def hook(event: str, arguments: tuple) -> None:
        if event == "open" and str(arguments[0]).startswith(f"{folder}/"):
            opened.add(str(arguments[0]).removeprefix(f"{folder}/"))

    sys.addaudithook(hook)
    AutoTokenizer.from_pretrained(folder)
    AutoModelForCausalLM.from_pretrained(folder, use_safetensors=True)
    assert {"config.json", "generation_config.json", "chat_template.jinja"} <= opened <= set(names)
    covered = {path for pattern in ASKING for path in folder.glob(pattern)}
    covered |= {folder / "config.json", *weight_files(folder)}
    assert {folder / name for name in opened} <= covered
    hashes = set()
    for path in sorted(covered - {folder / "config.json", folder / FILE}):
        hashes.add(asking_hash(folder))
        path.write_bytes(path.read_bytes() + b" ")
    assert len(hashes) == len(covered) - 2
