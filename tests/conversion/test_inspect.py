"""The list names every tensor of either kind of folder, and what is missing or extra."""

import numpy as np
import pytest
import safetensors.numpy

from conversion.export import Export
from conversion.inspect import main
from conversion.mapping import hf_tensors, stored
from conversion.to_hf import convert
from tests.support.checkpoints import SIZES, make_home, random_arrays, save
from tinymathreason.cli import InputError

pytestmark = [pytest.mark.xdist_group("maxtext"), pytest.mark.filterwarnings("ignore")]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    path = make_home(tmp_path_factory.mktemp("inspect"))
    options = Export(path / "tokenizer", "bfloat16")
    convert(path / "7", path / "overlay.yml", path / "model", options, skip_parity=True)
    return path


def rows(text: str) -> dict[str, list[str]]:
    return {line.split()[0]: line.split()[1:] for line in text.splitlines() if "." in line}


def test_a_checkpoint(home, capsys) -> None:
    main([str(home / "7"), "--config", str(home / "overlay.yml")])
    out = capsys.readouterr().out
    assert out.startswith("MaxText checkpoint, layers stacked\n")
    result = rows(out)
    assert stored(SIZES, True).keys() <= result.keys()
    *shape, dtype, nbytes, norm = result["decoder.layers.mlp.wi_0.kernel"]
    assert (" ".join(shape), dtype, nbytes) == ("48 x 3 x 80", "float32", "46,080")
    array = random_arrays(True)["decoder.layers.mlp.wi_0.kernel"]
    assert float(norm) == pytest.approx(np.linalg.norm(array.astype(float)), rel=1e-5)
    assert f"{SIZES.parameters:,} parameters in 12 tensors" in out
    assert "nothing is missing, nothing is extra" in out


def test_a_model(home, capsys) -> None:
    main([str(home / "model")])
    out = capsys.readouterr().out
    assert out.startswith("Hugging Face model\n")
    assert hf_tensors(SIZES).keys() <= rows(out).keys()
    assert rows(out)["model.norm.weight"][:3] == ["48", "bfloat16", "96"]
    assert f"{2 * SIZES.parameters:,} bytes" in out


def test_what_is_missing_or_extra_is_named(home, tmp_path, capsys) -> None:
    arrays = random_arrays(True)
    del arrays["decoder.layers.mlp.wo.kernel"]
    arrays["decoder.bias"] = np.zeros(3, np.float32)
    save(tmp_path / "7", arrays, True)
    with pytest.raises(InputError) as error:
        main([str(tmp_path / "7")])
    assert "decoder.bias expected none found (3,)" in str(error.value)
    assert "decoder.layers.mlp.wo.kernel expected (80, 3, 48) found none" in str(error.value)
    assert "wi_1" in capsys.readouterr().out  # the list comes first

    tensors = safetensors.numpy.load_file(home / "model" / "model.safetensors")
    tensors["model.norm.weight"] = tensors.pop("model.norm.weight")[:5].astype(np.int8)
    (tmp_path / "config.json").write_bytes((home / "model" / "config.json").read_bytes())
    safetensors.numpy.save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(InputError, match=r"model.norm.weight expected \(48,\) found \(5,\)"):
        main([str(tmp_path)])
    assert "not read" in capsys.readouterr().out


def test_neither_kind(tmp_path) -> None:
    with pytest.raises(InputError, match="not a MaxText checkpoint"):
        main([str(tmp_path)])
