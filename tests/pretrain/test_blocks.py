"""tokamax's block sizes are searched for MaxText's own calls, kept, and used."""

import contextlib
import json
import logging
from pathlib import Path

import pytest

from pretrain import blocks, isolation, overlay
from tinymathreason.cli import InputError

OVERLAY = Path("maxtext_configs/tinymathreason_1b_gpu.yml")
SMALL = [f"{key}={value}" for key, value in isolation.SIZES.items()]

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture
def config(tmp_path):
    return overlay.load(OVERLAY, [*SMALL, f"jax_cache_dir={tmp_path}"])


@contextlib.contextmanager
def gpu():
    """In the block, kernels are lowered for a GPU that is not there."""
    import jax
    from jax.sharding import AbstractDevice, use_abstract_mesh
    from tokamax.config import cross_compile

    device = AbstractDevice(device_kind="NVIDIA H100 80GB HBM3", num_cores=132, platform="gpu")
    mesh = jax.sharding.AbstractMesh((1,), ("x",), abstract_device=device)
    with use_abstract_mesh(mesh), cross_compile(True):
        yield


@pytest.fixture
def measured(config):
    """Made-up measurements, in which one candidate of each kernel is the fastest."""
    from tokamax import BenchmarkData
    from tokamax._src.autotuning.autotuner import AutotuningData

    def data(call, best):
        times = {c: 1.0 if c == best else 2.0 for c in blocks.candidates(call)}
        return AutotuningData(
            {c: BenchmarkData(1.0, 1.0, (time,), {}) for c, time in times.items()}
        )

    with gpu():
        calls = blocks.calls(config, 1, platform="cuda")
    best = [sorted(blocks.candidates(call), key=repr)[0] for call in calls]
    return [(call, data(call, one).prune()) for call, one in zip(calls, best, strict=True)], best


def test_the_calls_are_those_of_a_step_with_segments(config, measured) -> None:
    calls = [call for call, _ in measured[0]]
    assert [type(call.op).__name__ for call in calls] == [
        "PallasTritonFlashAttention",
        "PallasTritonFlashAttentionVjp",
    ]
    assert len(blocks.candidates(calls[0])) == 72
    assert len(blocks.candidates(calls[1])) == 36
    for call in calls:
        assert call.arguments["q"].shape == (1, isolation.LENGTH, 4, 64)
        assert call.arguments["k"].shape == (1, isolation.LENGTH, 1, 64)
        assert call.arguments["mask"].bool_mask.shape == (1, 1, isolation.LENGTH, isolation.LENGTH)
        assert call.arguments["mask"].is_causal


@pytest.mark.xdist_group("maxtext")
def test_kept_block_sizes_are_those_with_which_maxtext_calls_the_kernel(
    config, measured, monkeypatch, caplog
) -> None:
    """MaxText's forward pass finds them: tokamax reports no miss of its cache."""
    import jax
    from tokamax._src.ops.op import BoundArguments

    kind = jax.devices()[0].device_kind
    pairs, best = measured
    monkeypatch.setattr(blocks, "search", lambda config, devices: blocks.result(kind, pairs))
    with blocks.chosen(config, "search"):
        pass
    (path,) = (Path(config["jax_cache_dir"]) / "attention_blocks").iterdir()
    assert json.loads(path.read_text())["device_kind"] == kind
    monkeypatch.setattr(blocks, "search", None)  # found once
    used = []
    default = BoundArguments.default_config.fget
    monkeypatch.setattr(
        BoundArguments, "default_config", property(lambda ba: used.append(default(ba)) or used[-1])
    )
    with isolation.interpreted(), caplog.at_level(logging.WARNING):
        logits = isolation.forward("flash", "gpu")
        with blocks.chosen(config, "kept"):
            isolation.moved(logits)
        assert used
        assert set(used) == {best[0]}
        assert "cache miss" not in caplog.text
        with blocks.chosen(config, "heuristic"):
            isolation.moved(logits)
        assert "cache miss" in caplog.text


def test_without_a_kernel_or_a_file_nothing_changes(config, tmp_path) -> None:
    with blocks.chosen({**config, "attention": "dot_product"}, "search"):
        pass
    with blocks.chosen(config, "kept"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_wrong_input_is_one_line(config, tmp_path) -> None:
    import jax

    with (
        pytest.raises(InputError, match=r"jax_cache_dir: .* expected a local folder"),
        blocks.chosen({**config, "jax_cache_dir": ""}, "search"),
    ):
        pass
    path = blocks.kept_in(config, jax.devices()[0].device_kind, jax.device_count())
    path.parent.mkdir()
    path.write_text("{}")
    with (
        pytest.raises(InputError, match="not tokamax's block sizes"),
        blocks.chosen(config, "kept"),
    ):
        pass
