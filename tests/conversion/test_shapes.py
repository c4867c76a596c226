"""Parity on eight unusual shapes, each trained by MaxText until every weight has changed."""

import json
import subprocess
import sys

import numpy as np
import pytest

from conversion import export
from conversion.checkpoint import Checkpoint
from conversion.safetensors_files import TensorFiles
from conversion.to_hf import convert
from conversion.verify import verify
from tests.support.checkpoints import SHAPES, overlay, rows, save_tokenizer, without_padding

pytestmark = [
    pytest.mark.processor,
    pytest.mark.xdist_group("trained"),
    pytest.mark.filterwarnings("ignore"),
]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with an overlay, a run of three steps and a tokenizer for every shape."""
    path = tmp_path_factory.mktemp("shapes")
    runs = []
    for name, (sizes, scanned) in SHAPES.items():
        (path / f"{name}.yml").write_text(overlay(sizes, scan_layers=scanned))
        save_tokenizer(rows(name), path / "tokenizers" / name)
        runs.append(
            {
                "overlay": str(path / f"{name}.yml"),
                "base_output_directory": str(path),
                "run_name": name,
                "steps": 3,
                "checkpoint_period": 1,
            }
        )
    (path / "runs.json").write_text(json.dumps(runs))
    command = [sys.executable, "-m", "tests.support.train_runs", str(path / "runs.json")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return path


@pytest.mark.parametrize("name", SHAPES)
def test_every_weight_has_moved(home, name: str) -> None:
    first = Checkpoint(home / name / "checkpoints" / "0")
    last = Checkpoint(home / name / "checkpoints" / "2")
    assert last.scanned == SHAPES[name][1]
    for path in last.entries:
        assert (first.read(path) != last.read(path)).mean() > 0.99, path


@pytest.mark.parametrize("name", SHAPES)
def test_parity(home, name: str) -> None:
    step_dir = home / name / "checkpoints" / "2"
    options = export.Export(home / "tokenizers" / name)
    convert(step_dir, home / f"{name}.yml", home / "models" / name, options)
    record = json.loads((home / "models" / name / "conversion.json").read_text())
    assert record["parity"]["max_abs_diff"] < 1e-4 * max(1, record["parity"]["scale"])
    assert record["parity"]["mean_kl"] < 1e-9
    assert record["parity"]["argmax_agreement"] == 1.0
    assert record["parameters"] == without_padding(name).parameters
    assert record["trimmed_vocabulary_rows"] == SHAPES[name][0].vocab - rows(name)


@pytest.mark.parametrize("name", ["three_to_one", "llama3_rope"])
def test_bfloat16_is_float32_rounded_to_nearest(home, name: str) -> None:
    step_dir = home / name / "checkpoints" / "2"
    tokenizer = home / "tokenizers" / name
    exact, rounded = home / "exact" / name, home / "rounded" / name
    config = home / f"{name}.yml"
    convert(step_dir, config, exact, export.Export(tokenizer), skip_parity=True)
    convert(step_dir, config, rounded, export.Export(tokenizer, "bfloat16"), skip_parity=True)
    expected, result = TensorFiles(exact), TensorFiles(rounded)
    assert set(result.dtypes.values()) == {"bfloat16"}
    for tensor in expected.shapes:
        bits = expected.read(tensor).view(np.uint32).astype(np.uint64)
        nearest = (bits + 0x7FFF + (bits >> 16 & 1)) >> 16  # ties to even
        np.testing.assert_array_equal(result.read(tensor).view(np.uint16), nearest)
    assert verify(Checkpoint(step_dir), config, rounded).argmax_agreement == 1.0
