"""The files have the bytes that the safetensors library and transformers would write."""

import json

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st

from conversion.mapping import DTYPES, hf_tensors
from conversion.safetensors_files import TensorFiles, create
from tests.support.checkpoints import SIZES
from tinymathreason.cli import InputError

names = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), min_size=1, max_size=9
)
shapes = st.dictionaries(
    names.filter(lambda name: name != "__metadata__"),
    st.lists(st.integers(1, 5), max_size=3).map(tuple),
    min_size=1,
    max_size=6,
)


@settings(max_examples=50)
@given(shapes, st.sampled_from(list(DTYPES)))
def test_bytes_equal_the_library(tmp_path_factory, shapes, dtype) -> None:
    folder = tmp_path_factory.mktemp("files")
    rng = np.random.default_rng(0)
    tensors = {name: rng.random(shape).astype(DTYPES[dtype]) for name, shape in shapes.items()}
    places = create(folder, shapes, dtype, 10**9)
    (folder / "config.json").write_text("{}")
    for name in reversed(list(tensors)):
        places[name].write(tensors[name])
    library = folder / "library.safetensors"
    safetensors.numpy.save_file(tensors, library, metadata={"format": "pt"})
    assert (folder / "model.safetensors").read_bytes() == library.read_bytes()
    result = TensorFiles(folder)
    for name, tensor in tensors.items():
        np.testing.assert_array_equal(result.read(name), tensor)
        assert result.dtypes[name] == dtype


@pytest.mark.parametrize("size", ["20KB", "100KB", "1GB"])
def test_shards_are_those_of_transformers(tmp_path, size: str) -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    from conversion.to_hf import parse_bytes

    model = LlamaForCausalLM(LlamaConfig(**SIZES.hf_config(1, 0, "float32")))
    model.save_pretrained(tmp_path / "theirs", max_shard_size=size)
    (tmp_path / "ours").mkdir()
    state = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    shapes = hf_tensors(SIZES)
    for name, place in create(tmp_path / "ours", shapes, "float32", parse_bytes(size)).items():
        place.write(state[name])
    theirs = {path.name: path for path in (tmp_path / "theirs").glob("model*")}
    ours = {path.name: path for path in (tmp_path / "ours").iterdir()}
    assert ours.keys() == theirs.keys()
    for name, path in ours.items():
        if path.suffix == ".json":
            assert json.loads(path.read_text()) == json.loads(theirs[name].read_text())
        else:
            assert path.read_bytes() == theirs[name].read_bytes(), name


def make(folder, max_bytes: int = 10**9) -> None:
    (folder / "config.json").write_text("{}")
    places = create(folder, {"a": (4, 4), "b": (8,)}, "float32", max_bytes)
    for name, place in places.items():
        place.write(np.full(place.shape, ord(name), np.float32))


def test_an_index_leads_to_every_tensor(tmp_path) -> None:
    make(tmp_path, 64)
    assert len(list(tmp_path.glob("*.safetensors"))) == 2
    result = TensorFiles(tmp_path)
    assert result.shapes == {"a": (4, 4), "b": (8,)}
    assert (result.read("b") == ord("b")).all()


def cut(folder) -> None:
    data = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(data[:-5])


DAMAGE = {
    "no model.safetensors there": lambda folder: (folder / "model.safetensors").unlink(),
    "truncated, or not a safetensors file": cut,
    "no weight_map": lambda folder: (folder / "model.safetensors.index.json").write_text("{}"),
    "does not contain tensor": lambda folder: (
        (folder / "model.safetensors").rename(folder / "a.safetensors"),
        (folder / "model.safetensors.index.json").write_text(
            '{"weight_map": {"c": "a.safetensors"}}'
        ),
    ),
}


@pytest.mark.parametrize("words", DAMAGE)
def test_damage_is_reported(tmp_path, words: str) -> None:
    make(tmp_path)
    DAMAGE[words](tmp_path)
    with pytest.raises(InputError, match=words):
        TensorFiles(tmp_path)
